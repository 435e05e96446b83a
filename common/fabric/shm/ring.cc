#include "common/fabric/shm/ring.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "common/base/check.h"

namespace ashlar::fabric::shm {
namespace {

// Direction d has its own page of counters: 0 flows to the listener, 1 to the connector. The lines are 128 bytes apart,
// since processors fetch them in pairs.
constexpr std::size_t kTail = 0;     // u64, by the producer
constexpr std::size_t kHead = 128;   // u64, by the consumer
constexpr std::size_t kSleep = 256;  // u32, of the consumer; the producer may take it to 0
constexpr std::size_t PageOf(std::size_t direction) { return 4096 * (1 + direction); }

using Word64 = std::atomic_ref<std::uint64_t>;
using Word32 = std::atomic_ref<std::uint32_t>;

// Calls `copy(ring bytes, at, size)` for each stretch of the parts that is in one piece on both sides.
template <typename Function>
void ForEachStretch(std::span<const iovec> parts, std::uint64_t position, std::size_t bytes, Function copy) {
  for (const iovec& part : parts) {
    auto* at = static_cast<std::byte*>(part.iov_base);
    std::size_t left = std::min(part.iov_len, bytes);
    bytes -= left;
    while (left > 0) {
      const std::size_t offset = position % kRingBytes;
      const std::size_t size = std::min(left, kRingBytes - offset);
      copy(offset, at, size);
      at += size;
      position += size;
      left -= size;
    }
  }
}

}  // namespace

RingPair::RingPair(std::span<std::byte> memory, End end) : memory_(memory.data()) {
  ASHLAR_CHECK(memory.size() == kMemoryBytes, "rings in {} bytes", memory.size());
  const std::size_t in = end == End::kListener ? 0 : 1;
  const std::size_t out = 1 - in;
  in_ = memory_ + kRingsOffset + in * kRingBytes;
  out_ = memory_ + kRingsOffset + out * kRingBytes;
  in_tail_ = Word(PageOf(in) + kTail);
  in_head_ = Word(PageOf(in) + kHead);
  out_tail_ = Word(PageOf(out) + kTail);
  out_head_ = Word(PageOf(out) + kHead);
  own_sleep_ = reinterpret_cast<std::uint32_t*>(memory_ + PageOf(in) + kSleep);
  peer_sleep_ = reinterpret_cast<std::uint32_t*>(memory_ + PageOf(out) + kSleep);
}

void RingPair::Format(std::span<std::byte> memory) { std::memcpy(memory.data(), &kMemoryMagic, sizeof(kMemoryMagic)); }

bool RingPair::IsFormatted(std::span<const std::byte> memory) {
  std::uint64_t magic = 0;
  std::memcpy(&magic, memory.data(), sizeof(magic));
  return magic == kMemoryMagic;
}

bool RingPair::Available(std::size_t* bytes) {
  const std::uint64_t waiting = Word64(*in_tail_).load(std::memory_order_acquire) - read_;
  *bytes = waiting;
  return waiting <= kRingBytes;
}

bool RingPair::Room(std::size_t* bytes) {
  const std::uint64_t head = Word64(*out_head_).load(std::memory_order_acquire);
  // Neither before what it said last nor beyond what was put.
  if (head - seen_head_ > written_ - seen_head_) return false;
  seen_head_ = head;
  *bytes = kRingBytes - (written_ - head);
  return true;
}

bool RingPair::Take(std::span<const iovec> parts, std::size_t bytes) {
  ForEachStretch(parts, read_, bytes, [this](std::size_t offset, std::byte* at, std::size_t size) { std::memcpy(at, in_ + offset, size); });
  read_ += bytes;
  Word64(*in_head_).store(read_, std::memory_order_release);
  return PeerIsToBeWoken(kWantsBytesOrRoom & ~kWantsBytes);
}

bool RingPair::Put(std::span<const iovec> parts, std::size_t bytes) {
  ForEachStretch(parts, written_, bytes, [this](std::size_t offset, std::byte* at, std::size_t size) { std::memcpy(out_ + offset, at, size); });
  written_ += bytes;
  Word64(*out_tail_).store(written_, std::memory_order_release);
  return PeerIsToBeWoken(kWantsBytes);
}

// The fence stands against the one in SaySleep: either this side sees the word, or the other sees the position.
bool RingPair::PeerIsToBeWoken(std::uint32_t wants) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  Word32 word(*peer_sleep_);
  return (word.load(std::memory_order_relaxed) & wants) != 0 && (word.exchange(kAwake, std::memory_order_relaxed) & wants) != 0;
}

void RingPair::SaySleep(Sleep sleep) {
  Word32(*own_sleep_).store(sleep, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

bool RingPair::SayAwake() { return Word32(*own_sleep_).exchange(kAwake, std::memory_order_relaxed) != kAwake; }

}  // namespace ashlar::fabric::shm
