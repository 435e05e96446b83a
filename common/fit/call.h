// What a FIT call is to its caller: how it ends, in which code, and what it may look at then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "common/fabric/contract.h"
#include "common/fit/messages.h"

namespace ashlar::fit {

// How a server answers; also per page inside a reply. The numbers are the wire's.
enum class Code : std::uint16_t {
  kOk = 0,
  kStaleEpoch = 1,      // FailedPrecondition: rejoin
  kExhausted = 2,       // ResourceExhausted: retry after hints.retry_after_ms
  kDataLoss = 3,        // DataLoss: stop and tell a person
  kOutcomeUnknown = 4,  // Aborted: an at-most-once call whose server is gone
  kMalformed = 5,       // InvalidArgument
  kUnknownOpcode = 6,   // Unimplemented
  kNotFound = 7,        // NotFound
  kUnavailable = 8,     // Unavailable: everything about the wire, or the server says later
  kAlready = 9,         // OK: a repeat of what is there (per page)
  kSuperseded = 10,     // OK: something newer is there (per page)
};
// The one table from codes to absl codes. `words` is put in front.
absl::Status ToStatus(Code code, std::string_view words);

// A=naturally idempotent, or recognised by version: resent until the deadline, also to a restarted server. B: to the same
// server incarnation only. One table says which opcode is which.
enum class RetryClass : std::uint8_t { kIdempotent, kAtMostOnce };
RetryClass RetryClassOf(wire::Opcode opcode);

struct Hints {  // from the reply's header
  bool degraded = false, drain = false, pool_low = false;
  bool ask_state = false;            // there is news: ask SpaceState
  std::uint8_t write_batches = 0;    // that the caller may have in flight; 0 = no change
  std::uint16_t retry_after_ms = 0;
};

struct CallResult {
  // Wire or deadline errors (DeadlineExceeded, Unavailable, Aborted), or ToStatus(code) of the server's answer.
  absl::Status status;
  Code code = Code::kUnavailable;
  std::span<const std::byte> payload;  // valid only inside OnDone; also there when the code is an error
  std::span<const std::byte> bulk;     // same
  Hints hints;
  std::uint32_t server_time_us = 0;
};

// One call under way. Owned by the caller, who keeps it alive until OnReleased. Both run exactly once, on the shard's
// thread, OnDone first; both may start new calls.
class PendingCall {
 public:
  virtual ~PendingCall() = default;
  virtual void OnDone(const CallResult& result) = 0;
  // No work request names the lent memory (bulk of a call, targets of a READ) any more: only now may its bytes change.
  // A reply, or a deadline, may come earlier than that. Usually follows OnDone at once. The last touch of this object.
  virtual void OnReleased() = 0;
};

// A point on the monotone clock (MonotonicNs).
struct Deadline {
  std::uint64_t at_ns = 0;
};

// One 4 KiB-or-so piece of a one-sided READ: remote window + offset to a local slice of the same size.
struct RemoteCopy {
  fabric::RemoteWindow window;
  std::uint64_t offset = 0;
  fabric::Slice local;
};

}  // namespace ashlar::fit
