#include "common/fabric/queue.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/fabric/endpoint.h"

namespace ashlar::fabric {

QueueBase::QueueBase(int depth, std::shared_ptr<FabricStats> stats)
    : stats_(std::move(stats)), ring_(static_cast<std::size_t>(std::max(depth, 1))) {
  stats_->Add(&counters_);
}

QueueBase::~QueueBase() {
  ASHLAR_CHECK(reserved_ == 0, "a completion queue must outlive its endpoints; reserved={}", reserved_);
  stats_->Remove(&counters_);
}

int QueueBase::Poll(std::span<Completion> out) {
  after_arm_ = std::exchange(armed_, false);
  if (end_ - begin_ < out.size()) Progress();
  const std::size_t count = std::min(out.size(), end_ - begin_);
  for (std::size_t i = 0; i < count; ++i) {
    Item& item = At(begin_++);
    out[i] = item.completion;
    if (item.endpoint != nullptr) {
      item.endpoint->Polled(item.side);
    } else {
      --orphans_;
    }
  }
  return static_cast<int>(count);
}

absl::Status QueueBase::Arm() {
  armed_ = true;
  PrepareSleep();
  if (begin_ != end_) Wake();
  return absl::OkStatus();
}

absl::Status QueueBase::CheckRoom(std::size_t depth) const {
  if (reserved_ + orphans_ + depth <= ring_.size()) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("fabric: completion queue of depth ", ring_.size(), " holds endpoints for ",
                                                   reserved_ + orphans_, " completions, no room for ", depth,
                                                   " more; open it deeper"));
}

void QueueBase::Join(std::size_t depth) { reserved_ += depth; }

void QueueBase::Leave(const CheckedEndpoint& endpoint, std::size_t depth) {
  reserved_ -= depth;
  for (std::size_t position = begin_; position != end_; ++position) {
    if (At(position).endpoint != &endpoint) continue;
    At(position).endpoint = nullptr;
    ++orphans_;
  }
}

void QueueBase::Deliver(const Completion& completion, CheckedEndpoint& endpoint, Ledger::Side side) {
  ASHLAR_CHECK(end_ - begin_ < ring_.size(), "completion queue overflow; depth={}", ring_.size());
  At(end_++) = Item{.completion = completion, .endpoint = &endpoint, .side = side};
  if (const auto* failed = std::get_if<Failed>(&completion)) {
    endpoint.counters().failed[static_cast<std::size_t>(failed->status)].Add();
  }
  if (armed_) Wake();
}

}  // namespace ashlar::fabric
