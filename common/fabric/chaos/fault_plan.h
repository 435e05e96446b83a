// What is to break, and when: drawn from a seed or named by occasion, the same in every run.
//
// An occasion is one moment at which a fault could happen (a batch posted, a completion polled, a connection made); Fires is
// asked at each, in order, and says yes or no.
//
// Threads: thread-safe. With one thread the answers are the same in every run.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <set>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace ashlar::fabric::chaos {

enum class FaultPoint : std::uint8_t {
  kPostAgain,       // Post says there is no room; nothing was posted
  kPostDrop,        // the batch is taken and goes nowhere
  kPostDelay,       // the batch goes out some polls later; later ones wait behind it
  kPostDuplicate,   // it goes out twice
  kPostTruncate,    // the last request of it is cut short
  kFlipPayload,     // one bit of what is sent, header of FIT or body
  kFlipImm,         // one bit of a received immediate
  kWrongGeneration, // the generation in a received immediate is another one
  kStaleEpoch,      // a connection is asked for with the seed of another epoch
  kCompletionStatus,  // a success becomes a failure of any status, with a vendor code that means nothing; all others flush
  kCompletionLost,
  kCompletionLate,  // some polls later, those behind it too
  kCompletionTwice,
  kQueueOverrun,    // the completion queue has no room for one more endpoint
  kFatalWithoutCompletion,  // the endpoint is dead, and no completion says so
  kPeerReset,       // the connection breaks
  kPeerBlackhole,   // from now on nothing goes out and nothing comes in, and nobody says so
  kKeyRevoked,      // a window dies right after it was granted
};
constexpr std::size_t kFaultPoints = 18;
std::string_view Name(FaultPoint point);  // "post.drop"

class FaultPlan {
 public:
  explicit FaultPlan(std::uint64_t seed) : random_(seed) {}

  // At the nth occasion of that kind, counted from 1. May be said several times.
  FaultPlan& At(FaultPoint point, std::uint64_t occasion) ABSL_LOCKS_EXCLUDED(mutex_);
  // At one of `every` occasions, by chance; 0 = never.
  FaultPlan& Sometimes(FaultPoint point, std::uint64_t every) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends all chance and all that was named; what is broken stays so.
  void Calm() ABSL_LOCKS_EXCLUDED(mutex_);

  bool Fires(FaultPoint point) ABSL_LOCKS_EXCLUDED(mutex_);
  std::uint64_t Draw(std::uint64_t below) ABSL_LOCKS_EXCLUDED(mutex_);  // 0 … below - 1
  std::uint64_t fired(FaultPoint point) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Point {
    std::uint64_t every = 0;
    std::uint64_t asked = 0;
    std::uint64_t fired = 0;
    std::set<std::uint64_t> occasions;
  };
  mutable absl::Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::array<Point, kFaultPoints> points_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ashlar::fabric::chaos
