// The life of one slot at the client. A slot is a credit: it is used again only when nothing on either side can touch it.
#pragma once

#include <cstdint>
#include <optional>

namespace ashlar::fit {

enum class SlotState : std::uint8_t {
  kFree,
  kSent,         // a call is in it; also while it waits to be resent over a new endpoint
  kQuarantined,  // its caller was told DeadlineExceeded or Cancelled; the answer may still arrive
  kAnswered,     // nothing will arrive; work requests still name its out-buffer
};
enum class SlotEvent : std::uint8_t {
  kPost,       // a call takes it
  kReply,
  kExpire,     // deadline or Cancel
  kCancelAck,  // the server never began it
  kRetired,    // no work request names the out-buffer
  kGone,       // the endpoint is destroyed, and the call is not to be resent in this slot
};

// nullopt: that event in that state is a bug in the caller.
constexpr std::optional<SlotState> Next(SlotState state, SlotEvent event) {
  using enum SlotState;
  using enum SlotEvent;
  switch (state) {
    case kFree:
      if (event == kPost) return kSent;
      break;
    case kSent:
      if (event == kReply) return kAnswered;
      if (event == kExpire) return kQuarantined;
      if (event == kGone) return kFree;
      break;
    case kQuarantined:
      if (event == kReply || event == kCancelAck) return kAnswered;
      if (event == kGone) return kFree;
      break;
    case kAnswered:
      if (event == kRetired || event == kGone) return kFree;
      break;
  }
  return std::nullopt;
}

}  // namespace ashlar::fit
