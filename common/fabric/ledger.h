// What one endpoint has posted and not ended yet: one fixed-size entry per request, with a counted reference on each
// region it uses. It knows no transport: backends tell it what succeeded or failed, it tells which completions that makes.
//
// Sends (kSend … kRead, kRevoke) and receives are two rings, each retired in the order of posting. A token is a position
// that only grows: position mod capacity is the slot, the rest is its generation. A token that is not current finds
// nothing, so a late or invented one can't touch the entry that took the slot since.
//
// Threads: one at a time. Nothing is allocated after construction.
// Invariant: entries + completions not polled yet <= capacity, for each ring; so a queue sized for both never overflows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "common/fabric/contract.h"
#include "common/fabric/region.h"

namespace ashlar::fabric {

constexpr std::size_t kMaxSlices = 16;

using LedgerToken = StrongId<struct LedgerTokenTag>;

struct LocalBytes {
  CountedRegion* region = nullptr;
  std::byte* data = nullptr;
  std::uint32_t bytes = 0;
};

struct LedgerEntry {
  WrId wr_id;
  Op op = Op::kSend;
  bool signalled = false;
  bool solicited = false;
  bool fence = false;
  bool done = false;  // succeeded, waits for an older one
  RemoteKey key;      // kWrite, kWriteWithImm, kRead; kRevoke: the window
  std::uint64_t remote_address = 0;
  std::uint64_t wire_mark = 0;  // the backend's own note on a started request; 0 = not started
  std::uint32_t imm = 0;
  std::uint32_t bytes = 0;  // sum of the slices
  std::uint32_t slice_count = 0;
  std::array<LocalBytes, kMaxSlices> slices;

  std::span<const LocalBytes> local() const { return std::span(slices).first(slice_count); }
};

// One direction: entries [begin, end) in the order of posting.
class RequestRing {
 public:
  explicit RequestRing(std::uint32_t capacity) : entries_(capacity) {}

  std::uint64_t begin() const { return begin_; }
  std::uint64_t end() const { return end_; }
  bool empty() const { return begin_ == end_; }
  std::size_t size() const { return end_ - begin_; }
  std::size_t capacity() const { return entries_.size(); }
  std::size_t unpolled() const { return unpolled_; }
  std::size_t room() const { return capacity() - size() - unpolled_; }

  LedgerEntry& At(std::uint64_t position) { return entries_[position % entries_.size()]; }
  LedgerEntry* Find(LedgerToken token);  // nullptr: not current

  // A blank entry to fill; the caller has seen room().
  LedgerEntry& Add();
  // Drops the oldest and its references. `reported`: a completion goes out, which holds the place until it is polled.
  void RetireOldest(bool reported);
  void Polled() { --unpolled_; }

 private:
  std::vector<LedgerEntry> entries_;
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
  std::size_t unpolled_ = 0;
};

class Ledger {
 public:
  enum class Side : std::uint8_t { kSend, kReceive };
  using Sink = absl::FunctionRef<void(const Completion&, Side)>;

  Ledger(EndpointId endpoint, std::uint32_t send_depth, std::uint32_t receive_depth)
      : endpoint_(endpoint), sends_(send_depth), receives_(receive_depth) {}
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  RequestRing& sends() { return sends_; }
  RequestRing& receives() { return receives_; }
  std::size_t outstanding() const {
    return sends_.size() + sends_.unpolled() + receives_.size() + receives_.unpolled();
  }

  // The request of `token` has succeeded, and with it the unsignalled writes and sends posted right before it. Nothing is
  // reported yet: RetireDone does that. False: the token is not current, nothing happened.
  bool Succeed(LedgerToken token);
  // Retires what is done from the oldest on, so completions come in the order of posting. `revoked` answers whether the
  // window of a kRevoke entry is out of reach.
  void RetireDone(absl::FunctionRef<bool(RemoteKey)> revoked, Sink sink);
  // The oldest receive was used. There is one: the caller has looked.
  void SucceedReceive(Op op, std::uint32_t byte_len, std::uint32_t imm, Sink sink);
  // Everything fails: first the cause if it is named and current, then the rest of both rings as kFlushed.
  struct Cause {
    Side side = Side::kSend;
    LedgerToken token;
    Status status = Status::kFatal;
    std::uint32_t vendor = 0;
  };
  void FailAll(const std::optional<Cause>& cause, Sink sink);
  void Polled(Side side) { (side == Side::kSend ? sends_ : receives_).Polled(); }

 private:
  EndpointId endpoint_;
  RequestRing sends_;
  RequestRing receives_;
};

}  // namespace ashlar::fabric
