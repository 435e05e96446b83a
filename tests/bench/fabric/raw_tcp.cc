#include "tests/bench/fabric/raw_tcp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/base/check.h"

namespace ashlar::bench {

void PinToCpu(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu % std::max(1u, std::thread::hardware_concurrency()), &set);
  ::sched_setaffinity(0, sizeof(set), &set);
}

RawTcp::RawTcp(Wait wait, unsigned server_cpu, std::span<const std::byte> pages, std::size_t answer_bytes)
    : wait_(wait), pages_(pages), answer_bytes_(answer_bytes) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  ASHLAR_CHECK(::bind(listener, plain, size) == 0 && ::listen(listener, 1) == 0 && ::getsockname(listener, plain, &size) == 0);
  client_ = ::socket(AF_INET, SOCK_STREAM, 0);
  ASHLAR_CHECK(::connect(client_, plain, size) == 0);
  const int server = ::accept(listener, nullptr, nullptr);
  ::close(listener);
  const int on = 1;
  for (const int fd : {client_, server}) ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  server_ = std::thread([this, server, server_cpu] { Serve(server, server_cpu); });
}

RawTcp::~RawTcp() {
  stop_ = true;
  ::shutdown(client_, SHUT_RDWR);
  server_.join();
  ::close(client_);
}

void RawTcp::Serve(int fd, unsigned cpu) {
  PinToCpu(cpu);
  std::array<std::byte, kRequestBytes> request;
  bool ended = false;
  while (true) {
    ReceiveAll(fd, request.data(), request.size(), &ended);
    if (ended) break;
    std::uint64_t page = 0;
    std::memcpy(&page, request.data(), sizeof(page));
    SendAll(fd, pages_.data() + page * 4096, answer_bytes_);
  }
  ::close(fd);
}

void RawTcp::Ask(std::uint64_t page) {
  std::array<std::byte, kRequestBytes> request{};
  std::memcpy(request.data(), &page, sizeof(page));
  SendAll(client_, request.data(), request.size());
}

void RawTcp::TakeAnswer(std::byte* to) {
  bool ended = false;
  ReceiveAll(client_, to, answer_bytes_, &ended);
  ASHLAR_CHECK(!ended, "the raw server left");
}

void RawTcp::ReceiveAll(int fd, std::byte* to, std::size_t bytes, bool* ended) {
  const int flags = wait_ == Wait::kSpinning ? MSG_DONTWAIT : 0;
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t n = ::recv(fd, to + done, bytes - done, flags);
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR) || stop_) {
      *ended = true;
      return;
    }
  }
}

void RawTcp::SendAll(int fd, const std::byte* from, std::size_t bytes) {
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t n = ::send(fd, from + done, bytes - done, MSG_NOSIGNAL);
    if (n > 0) done += static_cast<std::size_t>(n);
    if (n < 0 && errno != EINTR) return;
  }
}

}  // namespace ashlar::bench
