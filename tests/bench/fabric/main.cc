// The fabric against the transport it stands on, in one run and by turns: a one-sided READ of 4 KiB over the tcp fabric,
// beside a ping-pong of 40 bytes against 4 KiB over a bare socket with the same CPUs and the same way of waiting.
//
// Estimate: a READ is a frame of 40 bytes there, 40 + 4096 back; one system call to send and one to receive on each side,
// as in the raw ping-pong; two checksums of 36 bytes, the ledger and the window check are some 0.2 us of 8.
#include <poll.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/fabric/tcp/device.h"
#include "tests/bench/fabric/raw_tcp.h"
#include "tests/bench/fabric/rpc.h"
#include "tests/bench/harness.h"

namespace ashlar::bench {
namespace {

constexpr std::size_t kPages = 1024;
constexpr std::size_t kPage = 4096;
constexpr unsigned kClientCpu = 0;

// Each page begins and ends with its number, so that a wrong or half answer shows.
std::vector<std::byte> MakePages() {
  std::vector<std::byte> pages(kPages * kPage);
  for (std::uint64_t i = 0; i < kPages; ++i) {
    std::memcpy(pages.data() + i * kPage, &i, sizeof(i));
    std::memcpy(pages.data() + (i + 1) * kPage - sizeof(i), &i, sizeof(i));
  }
  return pages;
}

void CheckPage(const std::byte* page, std::uint64_t number) {
  ASHLAR_CHECK(std::memcmp(page, &number, sizeof(number)) == 0 &&
                   std::memcmp(page + kPage - sizeof(number), &number, sizeof(number)) == 0,
               "page {} came back wrong", number);
}

std::uint64_t PageOf(std::uint64_t turn) { return turn * 2654435761u % kPages; }

// A client and a server of the tcp fabric; the server's thread only polls.
class FabricPair {
 public:
  FabricPair(Wait wait, unsigned server_cpu, std::span<std::byte> pages) : wait_(wait), target_(32 * kPage) {
    device_ = fabric::OpenTcpDevice();
    server_domain_ = *device_->OpenDomain();
    server_queue_ = *device_->OpenQueue(1024);
    pages_ = *server_domain_->Register(pages);
    domain_ = *device_->OpenDomain();
    queue_ = *device_->OpenQueue(1024);
    region_ = *domain_->Register(target_);
    auto listener = *device_->Listen("127.0.0.1:0");
    endpoint_ = *device_->Connect(listener->address(), *domain_, *queue_, {}, {}, 5'000'000'000);
    std::unique_ptr<fabric::PendingPeer> peer;
    while ((peer = listener->Accept()) == nullptr) Poll();
    server_endpoint_ = *peer->Accept(*server_domain_, *server_queue_, {}, {});
    window_ = *server_endpoint_->Grant({.region = pages_.get(), .bytes = static_cast<std::uint32_t>(pages.size())}, fabric::Access::kRemoteRead);
    while (endpoint_->state() != fabric::EndpointState::kReady) Poll();
    server_ = std::thread([this, server_cpu] { Serve(server_cpu); });
  }
  ~FabricPair() {
    stop_ = true;
    endpoint_.reset();  // its good-bye wakes the server
    server_.join();
    server_endpoint_.reset();
  }

  // READ of `page` into target number `slot`.
  void Read(std::uint64_t page, std::size_t slot) {
    const fabric::Slice slice{.region = region_.get(), .offset = slot * kPage, .bytes = kPage};
    const fabric::WorkRequest read{.wr_id = fabric::WrId(slot), .op = fabric::Op::kRead, .signalled = true, .local = {&slice, 1},
                                   .window = window_, .offset = page * kPage};
    const absl::Status posted = endpoint_->Post({&read, 1});
    ASHLAR_CHECK(posted.ok(), "{}", std::string(posted.message()));
  }
  // Waits for completions; calls `ended(slot)` for each.
  template <typename Function>
  void Take(Function ended) {
    fabric::Completion batch[32];
    int count = 0;
    while (count == 0) {
      if (wait_ == Wait::kBlocking) Sleep(*queue_, [&] { return (count = queue_->Poll(batch)) > 0; });
      if (count == 0) count = queue_->Poll(batch);
    }
    for (int i = 0; i < count; ++i) ended(std::get<fabric::Succeeded>(batch[i]).wr_id.value());
  }
  const std::byte* target(std::size_t slot) const { return target_.data() + slot * kPage; }

 private:
  void Poll() {
    fabric::Completion batch[8];
    queue_->Poll(batch);
  }
  template <typename Function>
  void Sleep(fabric::CompletionQueue& queue, Function poll) {
    queue.Arm().IgnoreError();
    if (poll()) return;
    pollfd waiting{.fd = queue.event_fd(), .events = POLLIN, .revents = 0};
    ::poll(&waiting, 1, 100);
  }
  void Serve(unsigned cpu) {
    PinToCpu(cpu);
    fabric::Completion batch[8];
    while (!stop_) {
      server_queue_->Poll(batch);
      if (wait_ == Wait::kBlocking) Sleep(*server_queue_, [&] { return server_queue_->Poll(batch) > 0; });
    }
  }

  const Wait wait_;
  std::vector<std::byte> target_;
  std::unique_ptr<fabric::Device> device_;
  std::unique_ptr<fabric::Domain> server_domain_, domain_;
  std::unique_ptr<fabric::Region> pages_, region_;
  std::unique_ptr<fabric::CompletionQueue> server_queue_, queue_;
  std::unique_ptr<fabric::Endpoint> server_endpoint_, endpoint_;
  fabric::RemoteWindow window_;
  std::atomic<bool> stop_{false};
  std::thread server_;
};

double Microseconds(std::uint64_t from_ns) { return static_cast<double>(MonotonicNs() - from_ns) / 1000; }

void RunReads(Harness& harness, const char* metric, Wait wait, unsigned server_cpu, std::span<std::byte> pages) {
  if (!harness.Wants(metric)) return;
  const std::uint64_t turns = harness.quick() ? 5'000 : 30'000;
  FabricPair ours(wait, server_cpu, pages);
  RawTcp raw(wait, server_cpu, pages, kPage);
  std::vector<std::byte> page(kPage);
  harness.Compare({.metric = metric, .fabric = "tcp", .unit = "us", .floor = "raw tcp 40 B / 4 KiB",
                   .fair = "raw checks no key, bound or checksum"},
                  [&] {
                    std::vector<double> times;
                    for (std::uint64_t turn = 0; turn < turns; ++turn) {
                      const std::uint64_t from_ns = MonotonicNs();
                      ours.Read(PageOf(turn), 0);
                      ours.Take([](std::uint64_t) {});
                      times.push_back(Microseconds(from_ns));
                      CheckPage(ours.target(0), PageOf(turn));
                    }
                    return times;
                  },
                  [&] {
                    std::vector<double> times;
                    for (std::uint64_t turn = 0; turn < turns; ++turn) {
                      const std::uint64_t from_ns = MonotonicNs();
                      raw.Ask(PageOf(turn));
                      raw.TakeAnswer(page.data());
                      times.push_back(Microseconds(from_ns));
                      CheckPage(page.data(), PageOf(turn));
                    }
                    return times;
                  });
}

void RunPipelinedReads(Harness& harness, std::span<std::byte> pages) {
  constexpr const char* kMetric = "tcp_read_4k_d8";
  constexpr std::uint64_t kDepth = 8;
  if (!harness.Wants(kMetric)) return;
  const std::uint64_t turns = harness.quick() ? 30'000 : 200'000;
  FabricPair ours(Wait::kSpinning, 1, pages);
  RawTcp raw(Wait::kSpinning, 1, pages, kPage);
  std::vector<std::byte> page(kPage);
  const auto rate = [&](std::uint64_t from_ns) { return std::vector<double>{static_cast<double>(turns) * 1e6 / Microseconds(from_ns)}; };
  harness.Compare({.metric = kMetric, .fabric = "tcp", .unit = "per_s", .floor = "raw tcp 40 B / 4 KiB, 8 in flight",
                   .fair = "raw makes one system call per request and answer"},
                  [&] {
                    std::vector<std::uint64_t> page_in(kDepth);
                    std::uint64_t asked = 0, taken = 0;
                    const std::uint64_t from_ns = MonotonicNs();
                    for (; asked < kDepth; ++asked) ours.Read(page_in[asked] = PageOf(asked), asked);
                    while (taken < turns) {
                      ours.Take([&](std::uint64_t slot) {
                        CheckPage(ours.target(slot), page_in[slot]);
                        ++taken;
                        if (asked < turns) ours.Read(page_in[slot] = PageOf(asked++), slot);
                      });
                    }
                    return rate(from_ns);
                  },
                  [&] {
                    std::uint64_t asked = 0;
                    const std::uint64_t from_ns = MonotonicNs();
                    for (; asked < kDepth; ++asked) raw.Ask(PageOf(asked));
                    for (std::uint64_t taken = 0; taken < turns; ++taken) {
                      raw.TakeAnswer(page.data());
                      CheckPage(page.data(), PageOf(taken));
                      if (asked < turns) raw.Ask(PageOf(asked++));
                    }
                    return rate(from_ns);
                  });
}

int Main(int argc, char** argv) {
  Harness harness("fabric", argc, argv);
  PinToCpu(kClientCpu);
  std::vector<std::byte> pages = MakePages();
  RunReads(harness, "tcp_read_4k", Wait::kSpinning, kClientCpu + 1, pages);
  RunReads(harness, "tcp_read_4k_blocking", Wait::kBlocking, kClientCpu, pages);
  RunPipelinedReads(harness, pages);
  RunCalls(harness, pages);
  return 0;
}

}  // namespace
}  // namespace ashlar::bench

int main(int argc, char** argv) { return ashlar::bench::Main(argc, argv); }
