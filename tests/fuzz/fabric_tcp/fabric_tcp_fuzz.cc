// A peer that writes anything into an open connection: the stream behind its HELLO is the input. Checksums and sequences
// are made right before each frame goes in, unless the input's first byte says otherwise: else everything would end at the
// checksum. Claims: no crash, no byte outside the window and the receive, each request ends exactly once.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "common/base/check.h"
#include "common/fabric/region.h"
#include "common/fabric/tcp/endpoint.h"

namespace ashlar::fabric::tcp {
namespace {

constexpr std::uint32_t kSeed = 77;
constexpr std::uint64_t kWindowBase = 0x5000000000;
constexpr std::size_t kArea = 8192;     // the receive, the READ's target and the window, with canaries around
constexpr std::size_t kMaxInput = 1u << 16;  // what a socket pair takes without blocking

// Makes the headers of the stream right where they stand, following the lengths they claim.
void Repair(std::vector<std::byte>& stream) {
  std::uint32_t sequence = 2;
  for (std::size_t at = 0; at + sizeof(FrameHeader) <= stream.size();) {
    FrameHeader header;
    std::memcpy(&header, stream.data() + at, sizeof(header));
    header.magic = kFrameMagic;
    header.version = kFrameVersion;
    header.sequence = sequence++;
    Seal(header, kSeed);
    std::memcpy(stream.data() + at, &header, sizeof(header));
    at += sizeof(header) + std::min<std::size_t>(PayloadBytes(header), stream.size());
  }
}

struct World {
  World() : memory(kArea, std::byte{0xC5}) {}

  void Run(std::span<const std::byte> stream) {
    int pair[2];
    ASHLAR_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    UniqueFd peer(pair[1]);
    auto queue = *TcpQueue::Create(64, stats);
    const auto region = *domain.Register(memory);
    const CheckedEndpoint::Setup setup{.caps = &kCaps, .domain = &domain, .queue = queue.get(),
                                       .options = {.send_depth = 8, .receive_depth = 8, .max_windows = 4, .epoch_seed = kSeed},
                                       .window_base = kWindowBase};
    auto endpoint = *TcpEndpoint::Accepted(setup, *queue, MakeSocketCarrier(UniqueFd(pair[0])), "fuzz", {}, {});
    ASHLAR_CHECK(endpoint->Grant({.region = region.get(), .offset = 4096, .bytes = 64}, Access::kRemoteReadWrite).ok());
    const Slice receive{.region = region.get(), .offset = 1024, .bytes = 64};
    const WorkRequest buffer{.wr_id = WrId(1), .op = Op::kReceive, .local = {&receive, 1}};
    ASHLAR_CHECK(endpoint->Receive({&buffer, 1}).ok());
    const Slice target{.region = region.get(), .offset = 2048, .bytes = 64};
    const WorkRequest read{.wr_id = WrId(2), .op = Op::kRead, .signalled = true, .local = {&target, 1}, .window = {.key = RemoteKey(1), .bytes = 64}};
    ASHLAR_CHECK(endpoint->Post({&read, 1}).ok());

    const ssize_t sent = stream.empty() ? 0 : ::write(peer.get(), stream.data(), stream.size());
    ASHLAR_CHECK(sent >= 0);
    std::array<Completion, 16> completions;
    int ended = 0;
    for (int turn = 0; turn < 4; ++turn) ended += queue->Poll(completions);
    peer.Reset();
    for (int turn = 0; turn < 4; ++turn) ended += queue->Poll(completions);
    endpoint.reset();
    ended += queue->Poll(completions);
    ASHLAR_CHECK(ended == 2, "two requests were posted, {} ended", ended);
    for (std::size_t i = 0; i < memory.size(); ++i) {
      const bool open = (i >= 1024 && i < 1088) || (i >= 2048 && i < 2112) || (i >= 4096 && i < 4160);
      ASHLAR_CHECK(open || memory[i] == std::byte{0xC5}, "byte {} was written", i);
    }
  }

  PlainDomain domain;
  std::shared_ptr<FabricStats> stats = std::make_shared<FabricStats>();
  std::vector<std::byte> memory;
};

}  // namespace
}  // namespace ashlar::fabric::tcp

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ashlar::fabric::tcp;
  if (size > kMaxInput) return 0;
  std::vector<std::byte> stream(size);
  if (size > 0) std::memcpy(stream.data(), data, size);
  const bool as_it_is = size > 0 && data[0] == 0xFF;
  if (!as_it_is) Repair(stream);
  World().Run(stream);
  return 0;
}
