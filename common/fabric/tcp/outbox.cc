#include "common/fabric/tcp/outbox.h"

#include "common/base/check.h"

namespace ashlar::fabric::tcp {

Outbox::Frame& Outbox::AddFrame(const FrameHeader& header, std::size_t slices) {
  ASHLAR_CHECK(count_ < kMaxFrames && parts_ + 1 + slices <= kMaxParts, "the caller asks Fits first");
  Frame& frame = frames_[(first_ + count_) % kMaxFrames];
  frame.header = header;
  frame.bytes = sizeof(FrameHeader) + PayloadBytes(header);
  ++count_;
  parts_ += 1 + slices;
  bytes_ += frame.bytes;
  return frame;
}

void Outbox::Add(const FrameHeader& header, std::span<const LocalBytes> slices) {
  Frame& frame = AddFrame(header, slices.size());
  frame.slices = slices;
  frame.answer = false;
}

void Outbox::AddAnswer(const FrameHeader& header, const LocalBytes& answer, RemoteKey window) {
  Frame& frame = AddFrame(header, 1);
  frame.answer_bytes = answer;
  frame.window = window;
  frame.answer = true;
}

std::span<const iovec> Outbox::Parts() {
  std::size_t skip = written_;
  std::size_t used = 0;
  const auto add = [&](const void* data, std::size_t bytes) {
    if (skip >= bytes) {
      skip -= bytes;
      return;
    }
    iovecs_[used++] = {.iov_base = const_cast<char*>(static_cast<const char*>(data)) + skip, .iov_len = bytes - skip};
    skip = 0;
  };
  for (std::size_t i = 0; i < count_; ++i) {
    const Frame& frame = frames_[(first_ + i) % kMaxFrames];
    add(&frame.header, sizeof(FrameHeader));
    for (const LocalBytes& slice : frame.payload()) {
      if (slice.bytes > 0) add(slice.data, slice.bytes);
    }
  }
  return std::span(iovecs_).first(used);
}

Outbox::Gone Outbox::DropOldest() {
  const Frame& frame = frames_[first_];
  parts_ -= 1 + frame.payload().size();
  first_ = (first_ + 1) % kMaxFrames;
  --count_;
  return {.sequence = frame.header.sequence, .answer = frame.answer, .window = frame.window};
}

}  // namespace ashlar::fabric::tcp
