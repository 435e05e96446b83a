#include "common/fabric/tcp/carrier.h"

#include <sys/socket.h>

#include "common/fabric/tcp/socket.h"

namespace ashlar::fabric::tcp {
namespace {

class SocketCarrier final : public Carrier {
 public:
  explicit SocketCarrier(UniqueFd fd) : fd_(std::move(fd)) {}

  int fd() const override { return fd_.get(); }
  bool polled() const override { return false; }

  ssize_t Read(std::span<const iovec> parts, FabricCounters& counters) override {
    counters.syscalls.Add();
    return parts.size() == 1 ? ::recv(fd_.get(), parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT)
                             : ::readv(fd_.get(), parts.data(), static_cast<int>(parts.size()));
  }

  // What writev would do, without SIGPIPE. A lone header, most often a READ, is cheaper by send.
  ssize_t Write(std::span<const iovec> parts, FabricCounters& counters) override {
    constexpr int kFlags = MSG_NOSIGNAL | MSG_DONTWAIT;
    counters.syscalls.Add();
    if (parts.size() == 1) return ::send(fd_.get(), parts[0].iov_base, parts[0].iov_len, kFlags);
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts.data());
    message.msg_iovlen = parts.size();
    return ::sendmsg(fd_.get(), &message, kFlags);
  }

  void EndWriting() override { ::shutdown(fd_.get(), SHUT_WR); }
  int ConnectError() override { return SocketError(fd_.get()); }
  void Tune(std::uint64_t silence_ns) override { TuneConnection(fd_.get(), silence_ns); }

 private:
  const UniqueFd fd_;
};

}  // namespace

std::unique_ptr<Carrier> MakeSocketCarrier(UniqueFd fd) { return std::make_unique<SocketCarrier>(std::move(fd)); }

}  // namespace ashlar::fabric::tcp
