// The log's outcomes in the words of the wire, for every call of a snode.
#pragma once

#include <cstdint>

#include "common/fit/message.h"
#include "common/fit/server.h"
#include "daemons/snode/replica_log/replica_log.h"

namespace ashlar::snode {

constexpr std::uint64_t kMaxPageNumber = std::uint64_t{1} << 52;  // a byte address of 64 bits

inline fit::Code CodeOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kTaken:
      return fit::Code::kOk;
    case Outcome::kAlready:
      return fit::Code::kAlready;
    case Outcome::kSuperseded:
      return fit::Code::kSuperseded;
    case Outcome::kStaleEpoch:
    case Outcome::kStaleView:
      return fit::Code::kStaleEpoch;
    case Outcome::kFutureEpoch:  // open or fence it under that epoch first
    case Outcome::kUnknownSpace:
    case Outcome::kEnded:
      return fit::Code::kNotFound;
    case Outcome::kBadCrc:
    case Outcome::kTwoVersions:
      return fit::Code::kDataLoss;
  }
  return fit::Code::kUnavailable;
}

inline void SendFenceReply(fit::ReplyWriter reply, const SpaceAnswer& answer) {
  fit::MessageWriter out(reply.payload());
  out.Put(fit::wire::FenceReply{.epoch = answer.epoch.value(),
                                .era = answer.era,
                                .view = answer.view,
                                .durable_batch_seq = answer.durable_batch_seq});
  reply.Send(CodeOf(answer.outcome), out.size());
}

}  // namespace ashlar::snode
