// One end of the two byte rings that a pair of processes shares. The layout stands in common/fabric/README.md; a ring has
// one producer and one consumer, each in its own process.
//
// Everything in the shared memory but what this side last wrote there is the peer's word. Positions of this side are kept
// in private memory and never read back; the peer's are copied once and checked against them. Bytes are copied out of the
// ring before anybody looks at them, so that the peer can't change them afterwards.
//
// Threads: one at a time on each side. Does no I/O and never blocks.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace ashlar::fabric::shm {

constexpr std::uint64_t kMemoryMagic = 0x314D48534C485341;  // "ASHLSHM1"
constexpr std::size_t kRingBytes = 256u << 10;              // of each direction
constexpr std::size_t kRingsOffset = 3 * 4096;
constexpr std::size_t kMemoryBytes = kRingsOffset + 2 * kRingBytes;

// What a side says of itself in its sleep word. The other side that has news for it takes the word (to 0) and rings.
enum Sleep : std::uint32_t { kAwake = 0, kWantsBytes = 1, kWantsBytesOrRoom = 3 };

// Which end of the memory: the side that listened made it.
enum class End : std::uint8_t { kListener = 0, kConnector = 1 };

class RingPair {
 public:
  // `memory`: kMemoryBytes, shared, of a file that can't shrink.
  RingPair(std::span<std::byte> memory, End end);

  // Once, by the side that made the memory, and by the other before it uses it: is this what a listener makes?
  static void Format(std::span<std::byte> memory);
  static bool IsFormatted(std::span<const std::byte> memory);

  // Bytes to read, or room to write. False: the peer's position can't be; the connection is over.
  [[nodiscard]] bool Available(std::size_t* bytes);
  [[nodiscard]] bool Room(std::size_t* bytes);
  // At most what Available or Room said. True: the peer sleeps and is to be woken.
  [[nodiscard]] bool Take(std::span<const iovec> parts, std::size_t bytes);
  [[nodiscard]] bool Put(std::span<const iovec> parts, std::size_t bytes);

  // This side is about to sleep: whoever calls looks at Available (and Room) once more before it does.
  void SaySleep(Sleep sleep);
  // False: the peer has taken the word, so it rings, or has rung.
  bool SayAwake();

 private:
  std::uint64_t* Word(std::size_t offset) const { return reinterpret_cast<std::uint64_t*>(memory_ + offset); }
  bool PeerIsToBeWoken(std::uint32_t wants);

  std::byte* memory_;
  std::byte* in_;   // the ring this side reads
  std::byte* out_;  // the ring this side writes
  std::uint64_t* in_tail_;   // peer's
  std::uint64_t* in_head_;   // ours
  std::uint64_t* out_tail_;  // ours
  std::uint64_t* out_head_;  // peer's
  std::uint32_t* own_sleep_;
  std::uint32_t* peer_sleep_;
  std::uint64_t read_ = 0;     // bytes taken
  std::uint64_t written_ = 0;  // bytes put
  std::uint64_t seen_head_ = 0;  // of the peer, checked: how much of what was put it had taken
};

}  // namespace ashlar::fabric::shm
