// Calls of one connection before and after they have a slot: pooled records and the queues they wait in.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "common/fit/call.h"
#include "common/fit/opcodes.h"
#include "common/fit/timer_wheel.h"

namespace ashlar::fit {

// What kind of slot a call needs. Each kind has its queue, so that none waits behind another's shortage.
enum class CallLane : std::uint8_t {
  kPlain,  // any slot
  kBulk,   // a bulk slot
  kWrite,  // held back: at most B−2 bulk slots and S−8 slots; a bulk slot if it has bulk
};
constexpr std::size_t kLanes = 3;
constexpr std::uint16_t kNoSlot = 0xFFFF;

// One call under way. It stands in a queue, or in a slot, or is done and waits only for work requests that name its bulk.
struct Call {
  explicit Call(absl::AnyInvocable<void()> on_deadline) : deadline(std::move(on_deadline)) {}
  PendingCall* user = nullptr;
  const OpcodeInfo* info = nullptr;
  std::vector<std::byte> payload;   // keeps its capacity
  std::vector<fabric::Slice> bulk;  // same
  std::uint32_t bulk_bytes = 0;
  std::uint64_t deadline_ns = 0;
  std::uint64_t started_ns = 0;
  std::uint16_t slot = kNoSlot;
  CallLane lane = CallLane::kPlain;
  bool queued = false;
  bool done = false;
  bool resent = false;
  std::uint32_t work_requests = 0;  // that name the bulk
  Timer deadline;
  Call* previous = nullptr;
  Call* next = nullptr;

  bool NeedsBulkSlot() const { return lane == CallLane::kBulk || bulk_bytes > 0; }
};

// First in, first out; a call leaves from anywhere.
class CallQueue {
 public:
  bool empty() const { return first_ == nullptr; }
  Call* front() const { return first_; }
  void PushBack(Call& call) { Insert(call, last_, nullptr); }
  void PushFront(Call& call) { Insert(call, nullptr, first_); }
  void Remove(Call& call) {
    (call.previous != nullptr ? call.previous->next : first_) = call.next;
    (call.next != nullptr ? call.next->previous : last_) = call.previous;
    call.previous = call.next = nullptr;
    call.queued = false;
  }

 private:
  void Insert(Call& call, Call* before, Call* behind) {
    call.previous = before;
    call.next = behind;
    (before != nullptr ? before->next : first_) = &call;
    (behind != nullptr ? behind->previous : last_) = &call;
    call.queued = true;
  }
  Call* first_ = nullptr;
  Call* last_ = nullptr;
};

// One one-sided READ of several pieces.
struct ReadCall {
  explicit ReadCall(absl::AnyInvocable<void()> on_deadline) : deadline(std::move(on_deadline)) {}
  PendingCall* user = nullptr;
  std::vector<RemoteCopy> pieces;  // keeps its capacity
  std::size_t posted = 0;          // of pieces
  std::uint32_t work_requests = 0;
  std::uint64_t started_ns = 0;
  bool done = false;
  Timer deadline;
};

// Records that are used again; their addresses stay.
template <typename T>
class Pool {
 public:
  template <typename Make>
  T& Take(Make make) {
    if (free_.empty()) {
      all_.push_back(make());
      return *all_.back();
    }
    T& item = *free_.back();
    free_.pop_back();
    return item;
  }
  void Return(T& item) { free_.push_back(&item); }
  const std::deque<std::unique_ptr<T>>& all() const { return all_; }
  std::size_t in_use() const { return all_.size() - free_.size(); }

 private:
  std::deque<std::unique_ptr<T>> all_;
  std::vector<T*> free_;
};

}  // namespace ashlar::fit
