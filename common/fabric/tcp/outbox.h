// Frames with their headers made, waiting for the socket: at most what one writev takes (64 parts, 256 KiB, or one larger
// frame). Payload is written from where it lies; whoever adds a frame keeps it there until the frame is gone.
//
// Threads: one at a time. Nothing is allocated.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <span>

#include "common/fabric/ledger.h"
#include "common/fabric/tcp/frame.h"

namespace ashlar::fabric::tcp {

class Outbox {
 public:
  static constexpr std::size_t kMaxParts = 64;
  static constexpr std::size_t kMaxBytes = 256u << 10;
  static constexpr std::size_t kMaxFrames = kMaxParts;

  bool empty() const { return count_ == 0; }
  bool torn() const { return count_ > 0 && written_ > 0; }  // a part of the oldest frame is on the wire
  // Is there room for one more frame with that many slices?
  bool Fits(std::size_t slices) const { return count_ < kMaxFrames && bytes_ < kMaxBytes && parts_ + 1 + slices <= kMaxParts; }

  // The header is sealed. The payload is gathered from `slices`, or is `answer` with the window it comes from pinned.
  void Add(const FrameHeader& header, std::span<const LocalBytes> slices);
  void AddAnswer(const FrameHeader& header, const LocalBytes& answer, RemoteKey window);

  // What is left to write, oldest first.
  std::span<const iovec> Parts();
  std::size_t bytes() const { return bytes_; }

  struct Gone {
    std::uint32_t sequence = 0;
    bool answer = false;
    RemoteKey window;  // of an answer: to unpin
  };
  // `bytes` were written: calls `gone(Gone)` for each frame that is out completely.
  template <typename Function>
  void Written(std::size_t bytes, Function gone) {
    bytes_ -= bytes;
    written_ += bytes;
    while (count_ > 0 && written_ >= frames_[first_].bytes) {
      written_ -= frames_[first_].bytes;
      gone(DropOldest());
    }
  }
  // Forgets everything; calls `gone` for each.
  template <typename Function>
  void Clear(Function gone) {
    while (count_ > 0) gone(DropOldest());
    bytes_ = written_ = 0;
  }

 private:
  struct Frame {
    FrameHeader header;
    std::span<const LocalBytes> slices;
    LocalBytes answer_bytes;
    RemoteKey window;
    bool answer = false;
    std::size_t bytes = 0;  // header and payload
    std::span<const LocalBytes> payload() const { return answer ? std::span(&answer_bytes, 1) : slices; }
  };
  Frame& AddFrame(const FrameHeader& header, std::size_t slices);
  Gone DropOldest();

  std::array<Frame, kMaxFrames> frames_;
  std::array<iovec, kMaxParts> iovecs_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::size_t parts_ = 0;
  std::size_t bytes_ = 0;    // left to write
  std::size_t written_ = 0;  // of the oldest frame
};

}  // namespace ashlar::fabric::tcp
