#include "common/fit/timer_wheel.h"

#include <algorithm>

namespace ashlar::fit {

void Timer::Cancel() {
  if (wheel_ == nullptr) return;
  TimerWheel::Unlink(*this);
  --wheel_->size_;
  wheel_ = nullptr;
}

TimerWheel::~TimerWheel() {
  auto empty = [](Timer& head) {
    while (head.next_ != &head) head.next_->Cancel();
  };
  for (Timer& head : fine_) empty(head);
  for (Timer& head : coarse_) empty(head);
}

void TimerWheel::Link(Timer& head, Timer& timer) {
  timer.previous_ = head.previous_;
  timer.next_ = &head;
  head.previous_->next_ = &timer;
  head.previous_ = &timer;
}

void TimerWheel::Unlink(Timer& timer) {
  timer.previous_->next_ = timer.next_;
  timer.next_->previous_ = timer.previous_;
  timer.previous_ = timer.next_ = &timer;
}

void TimerWheel::Arm(Timer& timer, std::uint64_t at_ns) {
  timer.Cancel();
  timer.tick_ = std::max(at_ns / kTickNs + (at_ns % kTickNs != 0), current_ + 1);
  timer.wheel_ = this;
  ++size_;
  Insert(timer);
}

void TimerWheel::Insert(Timer& timer) {
  if (timer.tick_ - current_ < kFine) return Link(fine_[timer.tick_ % kFine], timer);
  std::uint64_t turn = std::min(timer.tick_ >> kFineBits, (current_ >> kFineBits) + kCoarse - 1);
  Link(coarse_[turn % kCoarse], timer);
}

// Spreads the coarse slot that begins at current_ over the fine ones.
void TimerWheel::Cascade() {
  Timer waiting;
  Timer& head = coarse_[(current_ >> kFineBits) % kCoarse];
  while (head.next_ != &head) {
    Timer& timer = *head.next_;
    Unlink(timer);
    Link(waiting, timer);
  }
  while (waiting.next_ != &waiting) {
    Timer& timer = *waiting.next_;
    Unlink(timer);
    Insert(timer);
  }
}

int TimerWheel::Fire(Timer& head) {
  int fired = 0;
  while (head.next_ != &head) {  // nothing armed meanwhile can land here: it is at least a tick away, at most 511
    Timer& timer = *head.next_;
    timer.Cancel();
    ++fired;
    timer.on_fire_();
  }
  return fired;
}

int TimerWheel::Advance(std::uint64_t now_ns) {
  std::uint64_t now = now_ns / kTickNs;
  int fired = 0;
  while (current_ < now) {
    if (size_ == 0) {
      current_ = now;
      break;
    }
    ++current_;
    if (current_ % kFine == 0) Cascade();
    fired += Fire(fine_[current_ % kFine]);
  }
  return fired;
}

std::uint64_t TimerWheel::NextNs() const {
  if (size_ == 0) return 0;
  for (std::uint64_t tick = current_ + 1; tick < current_ + kFine; ++tick) {
    // A coarse slot that is spread out on the way may hold something earlier than what comes behind it.
    if (tick % kFine == 0 && coarse_[(tick >> kFineBits) % kCoarse].next_ != &coarse_[(tick >> kFineBits) % kCoarse])
      return tick * kTickNs;
    if (fine_[tick % kFine].next_ != &fine_[tick % kFine]) return tick * kTickNs;
  }
  for (std::uint64_t turn = (current_ >> kFineBits) + 1; turn < (current_ >> kFineBits) + kCoarse; ++turn)
    if (coarse_[turn % kCoarse].next_ != &coarse_[turn % kCoarse]) return (turn << kFineBits) * kTickNs;
  return 0;
}

}  // namespace ashlar::fit
