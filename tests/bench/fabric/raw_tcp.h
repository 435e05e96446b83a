// The yardstick of the fabric benchmark: a TCP connection with nothing on top. The client asks with 40 bytes that begin
// with a page number, the server answers with that page.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>

namespace ashlar::bench {

enum class Wait { kSpinning, kBlocking };

constexpr std::size_t kRequestBytes = 40;  // what a READ frame of ours has

void PinToCpu(unsigned cpu);

class RawTcp {
 public:
  // The server thread runs on `server_cpu` and answers with `answer_bytes` from pages[number].
  RawTcp(Wait wait, unsigned server_cpu, std::span<const std::byte> pages, std::size_t answer_bytes);
  ~RawTcp();

  void Ask(std::uint64_t page);
  void TakeAnswer(std::byte* to);

 private:
  void Serve(int fd, unsigned cpu);
  void ReceiveAll(int fd, std::byte* to, std::size_t bytes, bool* ended);
  void SendAll(int fd, const std::byte* from, std::size_t bytes);

  const Wait wait_;
  const std::span<const std::byte> pages_;
  const std::size_t answer_bytes_;
  int client_ = -1;
  std::atomic<bool> stop_{false};
  std::thread server_;
};

}  // namespace ashlar::bench
