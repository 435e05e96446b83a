#include "common/fabric/chaos/fault_plan.h"

namespace ashlar::fabric::chaos {

std::string_view Name(FaultPoint point) {
  switch (point) {
    case FaultPoint::kPostAgain: return "post.again";
    case FaultPoint::kPostDrop: return "post.drop";
    case FaultPoint::kPostDelay: return "post.delay";
    case FaultPoint::kPostDuplicate: return "post.duplicate";
    case FaultPoint::kPostTruncate: return "post.truncate";
    case FaultPoint::kFlipPayload: return "wire.flip.payload";
    case FaultPoint::kFlipImm: return "wire.flip.imm";
    case FaultPoint::kWrongGeneration: return "wire.wrong_generation";
    case FaultPoint::kStaleEpoch: return "wire.stale_epoch";
    case FaultPoint::kCompletionStatus: return "completion.status";
    case FaultPoint::kCompletionLost: return "completion.lost";
    case FaultPoint::kCompletionLate: return "completion.late";
    case FaultPoint::kCompletionTwice: return "completion.twice";
    case FaultPoint::kQueueOverrun: return "queue.overrun";
    case FaultPoint::kFatalWithoutCompletion: return "async.fatal_without_completion";
    case FaultPoint::kPeerReset: return "peer.rst";
    case FaultPoint::kPeerBlackhole: return "peer.blackhole";
    case FaultPoint::kKeyRevoked: return "key.revoked_in_flight";
  }
  return "unknown";
}

FaultPlan& FaultPlan::At(FaultPoint point, std::uint64_t occasion) {
  absl::MutexLock lock(&mutex_);
  points_[static_cast<std::size_t>(point)].occasions.insert(occasion);
  return *this;
}

FaultPlan& FaultPlan::Sometimes(FaultPoint point, std::uint64_t every) {
  absl::MutexLock lock(&mutex_);
  points_[static_cast<std::size_t>(point)].every = every;
  return *this;
}

void FaultPlan::Calm() {
  absl::MutexLock lock(&mutex_);
  for (Point& point : points_) {
    point.every = 0;
    point.occasions.clear();
  }
}

bool FaultPlan::Fires(FaultPoint which) {
  absl::MutexLock lock(&mutex_);
  Point& point = points_[static_cast<std::size_t>(which)];
  ++point.asked;
  const bool fires = point.occasions.contains(point.asked) || (point.every > 0 && random_() % point.every == 0);
  point.fired += fires ? 1 : 0;
  return fires;
}

std::uint64_t FaultPlan::Draw(std::uint64_t below) {
  absl::MutexLock lock(&mutex_);
  return random_() % below;
}

std::uint64_t FaultPlan::fired(FaultPoint point) const {
  absl::MutexLock lock(&mutex_);
  return points_[static_cast<std::size_t>(point)].fired;
}

}  // namespace ashlar::fabric::chaos
