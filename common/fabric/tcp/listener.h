// Accepts connections and reads their HELLO; the rest is decided by whoever takes the PendingPeer.
//
// A stranger gets nothing but a socket and 96 bytes: at most 64 wait at a time, each for a second; further ones stay in the
// kernel's backlog. Anything but a right HELLO closes the connection and is counted.
//
// Threads: one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "common/fabric/contract.h"
#include "common/fabric/counters.h"
#include "common/fabric/tcp/carrier.h"
#include "common/fabric/tcp/device.h"
#include "common/fabric/tcp/frame.h"
#include "common/telemetry/log.h"

namespace ashlar::fabric::tcp {

// What differs from one kind of stream socket to the other.
struct Doorkeeper {
  absl::Status (*check)(int fd) = nullptr;      // of who has just connected; refused: closed without a word
  std::string (*name)(int fd) = nullptr;        // of the peer, for logs
  absl::StatusOr<std::unique_ptr<Carrier>> (*carrier)(UniqueFd fd, std::uint64_t silence_ns) = nullptr;  // for one that is accepted
  CarrierKind kind = CarrierKind::kSocket;
};

class TcpListener final : public Listener {
 public:
  // `socket` listens already; `address` says where.
  static absl::StatusOr<std::unique_ptr<TcpListener>> Create(UniqueFd socket, std::string address, const Doorkeeper& doorkeeper,
                                                             std::shared_ptr<FabricStats> stats);
  ~TcpListener() override;

  std::string address() const override { return address_; }
  int event_fd() const override { return epoll_.get(); }
  std::unique_ptr<PendingPeer> Accept() override;

 private:
  struct Stranger {
    UniqueFd fd;
    std::uint64_t until_ns = 0;
    std::size_t have = 0;
    std::array<std::byte, sizeof(FrameHeader) + kMaxHelloBytes> bytes;
  };
  enum class Progress : std::uint8_t { kWaiting, kComplete, kBad };

  TcpListener(const Doorkeeper& doorkeeper, std::shared_ptr<FabricStats> stats)
      : doorkeeper_(doorkeeper), stats_(std::move(stats)) {
    stats_->Add(&counters_);
  }
  void TakeNew();
  void Listen(bool wanted);
  void ReadHello(Stranger& stranger);
  Progress Read(Stranger& stranger, std::string_view* fault);
  void Drop(const Stranger& stranger, std::string_view why);
  void DropSilent();
  void SetTimer();
  void Forget(const Stranger& stranger);

  const Doorkeeper doorkeeper_;
  std::shared_ptr<FabricStats> stats_;
  FabricCounters counters_;
  std::string address_;
  UniqueFd socket_;
  UniqueFd epoll_;
  UniqueFd timer_;  // when the oldest stranger has been silent for too long
  bool listening_ = false;
  std::vector<std::unique_ptr<Stranger>> strangers_;      // oldest first
  std::deque<std::unique_ptr<PendingPeer>> complete_;
  log::RateLimit log_limit_;
};

}  // namespace ashlar::fabric::tcp
