// Memory as a file descriptor: making it, sending it, and mapping what a peer sent without trusting it.
//
// Threads: functions are thread-safe; a SharedMapping is one thread's at a time.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace ashlar::fabric::shm {

class SharedMapping {
 public:
  enum class Access { kRead, kReadWrite };

  SharedMapping() = default;
  SharedMapping(SharedMapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  SharedMapping& operator=(SharedMapping&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~SharedMapping();

  static absl::StatusOr<SharedMapping> Map(const UniqueFd& fd, std::size_t bytes, Access access);
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

// A memfd of zeros that can neither shrink nor grow.
absl::StatusOr<UniqueFd> MakeMemoryFd(const char* name, std::size_t bytes);

// One byte with the descriptor attached.
absl::Status SendFd(int socket, int fd);
// Invalid: none has come yet. An error: something else came. `*gone`: the other side has closed, nothing will come.
absl::StatusOr<UniqueFd> ReceiveFd(int socket, bool* gone);

// Maps what a peer sent: refused unless it is memory of exactly that size that can't shrink under us. Huge pages are
// refused too: touching one that the system has not got kills the process.
absl::StatusOr<SharedMapping> MapPeerMemory(const UniqueFd& fd, std::size_t bytes, SharedMapping::Access access);

}  // namespace ashlar::fabric::shm
