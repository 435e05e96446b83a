// The life of one slot of a caller record at the server. A newer request can stand behind an older one: over a new
// endpoint while the old handler still runs, or while the old answer's work requests have not retired.
#pragma once

#include <cstdint>
#include <optional>

namespace ashlar::fit {

enum class ServerSlotState : std::uint8_t {
  kIdle,            // the last answer, if any, is the reply cache
  kRunning,         // a handler has it
  kReplying,        // the answer is posted; the out-slot's bytes belong to the wire
  kRunningQueued,   // as kRunning, and a newer request waits, not begun
  kReplyingQueued,  // as kReplying, and the same
};
enum class ServerSlotEvent : std::uint8_t {
  kRequest,       // one with a higher sequence, or a repeat that is to run again
  kReplay,        // a repeat that the cache answers
  kAnswer,        // the handler's answer was posted
  kAnswerUnsent,  // the handler answered and nobody waits: only the cache has it
  kRetired,       // the answer's work requests are done
  kCancel,        // the waiting request is taken back
  kEndpointGone,
};

// nullopt: that event in that state is a bug in the caller.
constexpr std::optional<ServerSlotState> Next(ServerSlotState state, ServerSlotEvent event) {
  using enum ServerSlotState;
  using enum ServerSlotEvent;
  switch (state) {
    case kIdle:
      if (event == kRequest) return kRunning;
      if (event == kReplay) return kReplying;
      if (event == kEndpointGone) return kIdle;
      break;
    case kRunning:
      if (event == kRequest) return kRunningQueued;
      if (event == kAnswer) return kReplying;
      if (event == kAnswerUnsent) return kIdle;
      if (event == kEndpointGone) return kRunning;
      break;
    case kReplying:
      if (event == kRequest) return kReplyingQueued;
      if (event == kRetired || event == kEndpointGone) return kIdle;
      break;
    case kRunningQueued:
      if (event == kAnswerUnsent) return kRunning;  // the newer one begins
      if (event == kCancel || event == kEndpointGone) return kRunning;
      break;
    case kReplyingQueued:
      if (event == kRetired) return kRunning;
      if (event == kCancel) return kReplying;
      if (event == kEndpointGone) return kIdle;
      break;
  }
  return std::nullopt;
}

}  // namespace ashlar::fit
