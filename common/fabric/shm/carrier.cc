#include "common/fabric/shm/carrier.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "common/base/status.h"
#include "common/fabric/shm/memory_fd.h"
#include "common/fabric/shm/ring.h"

namespace ashlar::fabric::shm {
namespace {

// A side that never sleeps looks at its socket once in so many Reads that found nothing: the peer may have died.
constexpr int kReadsPerLook = 1024;

class ShmCarrier final : public tcp::Carrier {
 public:
  explicit ShmCarrier(UniqueFd socket) : socket_(std::move(socket)) {}

  void Open(SharedMapping memory, End end) {
    memory_ = std::move(memory);
    rings_.emplace(memory_.bytes(), end);
  }

  int fd() const override { return socket_.get(); }
  bool polled() const override { return true; }
  int ConnectError() override { return 0; }        // connect() of a UNIX socket never waits
  void Tune(std::uint64_t) override {}             // the kernel says at once that the peer is gone
  void EndWriting() override { ::shutdown(socket_.get(), SHUT_WR); }

  ssize_t Read(std::span<const iovec> parts, FabricCounters& counters) override {
    if (!rings_.has_value() && !TakeMemory(counters)) return gone_ ? 0 : -1;
    std::size_t available = 0;
    if (!rings_->Available(&available)) return Broken();
    if (available == 0) {
      if (!look_ && ++idle_reads_ < kReadsPerLook) return Nothing();
      LookAtSocket(counters);
      if (!rings_->Available(&available)) return Broken();  // it may have written right before it went
      if (available == 0) return gone_ ? 0 : Nothing();
    }
    idle_reads_ = 0;
    const std::size_t bytes = std::min(available, SizeOf(parts));
    if (rings_->Take(parts, bytes)) Ring(counters);
    return static_cast<ssize_t>(bytes);
  }

  ssize_t Write(std::span<const iovec> parts, FabricCounters& counters) override {
    if (!rings_.has_value()) return WriteHello(parts, counters);
    std::size_t room = 0;
    if (!rings_->Room(&room)) return Broken();
    const std::size_t bytes = std::min(room, SizeOf(parts));
    if (bytes == 0) return Nothing();
    if (rings_->Put(parts, bytes)) Ring(counters);
    return static_cast<ssize_t>(bytes);
  }

  bool HasRoom() override {
    std::size_t room = 0;
    return rings_.has_value() && (!rings_->Room(&room) || room > 0);  // a broken ring shows in Write
  }

  void PrepareSleep(bool wants_room) override {
    asleep_ = true;
    if (rings_.has_value()) rings_->SaySleep(wants_room ? kWantsBytesOrRoom : kWantsBytes);
  }

  void Awake(FabricCounters&) override {
    if (!std::exchange(asleep_, false)) return;
    look_ = true;  // for the byte that woke us, if one did, or the end
    if (rings_.has_value()) rings_->SayAwake();
  }

 private:
  static std::size_t SizeOf(std::span<const iovec> parts) {
    std::size_t bytes = 0;
    for (const iovec& part : parts) bytes += part.iov_len;
    return bytes;
  }
  static ssize_t Nothing() {
    errno = EAGAIN;
    return -1;
  }
  static ssize_t Broken() {
    errno = EPROTO;
    return -1;
  }

  // Before the memory is there, what is written is the HELLO: it goes through the socket, where the listener reads it.
  ssize_t WriteHello(std::span<const iovec> parts, FabricCounters& counters) {
    counters.syscalls.Add();
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts.data());
    message.msg_iovlen = parts.size();
    return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  // False with errno: not here yet, or not what it should be.
  bool TakeMemory(FabricCounters& counters) {
    counters.syscalls.Add();
    absl::StatusOr<UniqueFd> fd = ReceiveFd(socket_.get(), &gone_);
    if (!fd.ok()) return errno = EPROTO, false;
    if (!fd->valid()) return errno = EAGAIN, false;
    absl::StatusOr<SharedMapping> memory = MapPeerMemory(*fd, kMemoryBytes, SharedMapping::Access::kReadWrite);
    if (!memory.ok() || !RingPair::IsFormatted(memory->bytes())) return errno = EPROTO, false;
    Open(*std::move(memory), End::kConnector);
    return true;
  }

  void LookAtSocket(FabricCounters& counters) {
    idle_reads_ = 0;
    look_ = false;
    std::array<std::byte, 64> ignored;
    counters.syscalls.Add();
    const ssize_t n = ::recv(socket_.get(), ignored.data(), ignored.size(), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) gone_ = true;
    if (n == static_cast<ssize_t>(ignored.size())) look_ = true;  // more than a peer of ours ever rings
  }

  // What is lost here (a full socket) wakes the peer as well.
  void Ring(FabricCounters& counters) {
    const std::byte bell{1};
    counters.syscalls.Add();
    [[maybe_unused]] const ssize_t n = ::send(socket_.get(), &bell, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  const UniqueFd socket_;
  SharedMapping memory_;
  std::optional<RingPair> rings_;  // empty: the memory has not come yet
  bool asleep_ = false;
  bool look_ = false;  // at the socket, as soon as the ring is empty
  bool gone_ = false;  // the peer has closed the socket
  int idle_reads_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<tcp::Carrier>> MakeListenerCarrier(UniqueFd socket) {
  ASHLAR_ASSIGN_OR_RETURN(const UniqueFd fd, MakeMemoryFd("ashlar-rings", kMemoryBytes));
  ASHLAR_ASSIGN_OR_RETURN(SharedMapping memory, SharedMapping::Map(fd, kMemoryBytes, SharedMapping::Access::kReadWrite));
  RingPair::Format(memory.bytes());
  ASHLAR_RETURN_IF_ERROR(SendFd(socket.get(), fd.get()));
  auto carrier = std::make_unique<ShmCarrier>(std::move(socket));
  carrier->Open(std::move(memory), End::kListener);
  return carrier;
}

std::unique_ptr<tcp::Carrier> MakeConnectorCarrier(UniqueFd socket) { return std::make_unique<ShmCarrier>(std::move(socket)); }

}  // namespace ashlar::fabric::shm
