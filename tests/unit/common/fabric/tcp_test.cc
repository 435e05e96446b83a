// What only tcp has: a stream that a stranger can write into at any byte, and processes that die.
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "common/base/unique_fd.h"
#include "common/fabric/tcp/device.h"
#include "common/fabric/tcp/frame.h"
#include "tests/unit/common/fabric/pair.h"

namespace ashlar::fabric::testing {
namespace {

using tcp::FrameHeader;
using tcp::FrameOp;

constexpr std::uint32_t kSeed = 77;

std::uint64_t StatOf(const Device& device, std::string_view name) {
  StatList stats;
  device.CollectStats(stats);
  for (const Stat& stat : stats.values) {
    if (stat.name == name) return stat.value;
  }
  return ~std::uint64_t{0};
}

// A peer that writes what the test wants, byte by byte if need be.
class HandMadePeer {
 public:
  explicit HandMadePeer(const std::string& address) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  }
  void Bytes(const void* data, std::size_t size) { EXPECT_EQ(::send(fd_.get(), data, size, MSG_NOSIGNAL), static_cast<ssize_t>(size)); }
  void Frame(FrameHeader header, std::uint32_t seed) {
    tcp::Seal(header, seed);
    Bytes(&header, sizeof(header));
  }
  // The next whole header; false: the connection ended.
  bool Take(FrameHeader* header) { return ::recv(fd_.get(), header, sizeof(*header), MSG_WAITALL) == sizeof(*header); }
  bool TakePayload(std::size_t size) {
    std::vector<std::byte> bytes(size);
    return size == 0 || ::recv(fd_.get(), bytes.data(), size, MSG_WAITALL) == static_cast<ssize_t>(size);
  }
  void Reset() {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    fd_.Reset();
  }
  void Close() { fd_.Reset(); }

 private:
  UniqueFd fd_;
};

class TcpStream : public ::testing::Test {
 protected:
  void SetUp() override {
    device_ = OpenTcpDevice();
    listener_ = *device_->Listen("127.0.0.1:0");
    server_ = std::make_unique<Side>(*device_, 1024);
    peer_ = std::make_unique<HandMadePeer>(listener_->address());
    peer_->Frame({.op = FrameOp::kHello, .sequence = 1}, 0);
    std::unique_ptr<PendingPeer> pending;
    ASSERT_TRUE(StepUntil({}, [&] { return (pending = listener_->Accept()) != nullptr; }));
    server_->endpoint = *pending->Accept(*server_->domain, *server_->queue, {.epoch_seed = kSeed}, Pattern(5));
    window_ = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteReadWrite);
    const Slice slice = server_->slice(8192, 64);
    for (std::uint64_t i = 0; i < 3; ++i) {
      const WorkRequest receive{.wr_id = WrId(i), .op = Op::kReceive, .local = {&slice, 1}};
      ASSERT_TRUE(server_->endpoint->Receive({&receive, 1}).ok());
    }
    FrameHeader ack;
    ASSERT_TRUE(peer_->Take(&ack) && peer_->TakePayload(5));
    EXPECT_EQ(ack.op, FrameOp::kHelloAck);
    EXPECT_EQ(tcp::CheckHeader(ack, kSeed, 1), tcp::FrameFault::kNone);
    EXPECT_EQ(ack.ack, 1u);
  }
  void TearDown() override { server_->endpoint.reset(); }

  FrameHeader Write(std::uint32_t sequence, std::uint32_t length) const {
    return {.op = FrameOp::kWrite, .length = length, .key = window_.key.value(), .address = window_.base, .sequence = sequence, .ack = 1};
  }
  void ExpectFailed(const std::string& reason_part) {
    ASSERT_TRUE(StepUntil({server_.get()}, [&] { return server_->completions.size() == 3; }));
    EXPECT_EQ(server_->endpoint->state(), EndpointState::kError);
    EXPECT_NE(std::string(server_->endpoint->reason().message()).find(reason_part), std::string::npos) << server_->endpoint->reason();
    EXPECT_NE(std::string(server_->endpoint->reason().message()).find("127.0.0.1:"), std::string::npos) << "names the peer";
    for (int i = 0; i < 5; ++i) server_->Poll();
    EXPECT_EQ(server_->completions.size(), 3u) << "each request ends once";
  }
  void ExpectNak(Status status, std::uint32_t sequence) {
    FrameHeader nak;
    ASSERT_TRUE(peer_->Take(&nak));
    ASSERT_EQ(nak.op, FrameOp::kNak);
    EXPECT_EQ(nak.key, static_cast<std::uint32_t>(status));
    EXPECT_EQ(nak.imm, sequence);
    EXPECT_EQ(tcp::CheckHeader(nak, kSeed, nak.sequence), tcp::FrameFault::kNone);
    FrameHeader more;
    EXPECT_FALSE(peer_->Take(&more)) << "NAK is the last word";
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<Side> server_;
  std::unique_ptr<HandMadePeer> peer_;
  RemoteWindow window_;
};

TEST_F(TcpStream, AFrameMayArriveByteByByte) {
  FrameHeader header = Write(2, 3);
  tcp::Seal(header, kSeed);
  unsigned char bytes[43];
  std::memcpy(bytes, &header, 40);
  bytes[40] = 'a', bytes[41] = 'b', bytes[42] = 'c';
  for (const unsigned char byte : bytes) {
    peer_->Bytes(&byte, 1);
    server_->Poll();
  }
  ASSERT_TRUE(StepUntil({server_.get()}, [&] { return *server_->at(2) == std::byte{'c'}; }));
  EXPECT_EQ(server_->endpoint->state(), EndpointState::kReady);
}

TEST_F(TcpStream, ALoneWriteIsAcknowledgedWithinMilliseconds) {
  peer_->Frame(Write(2, 0), kSeed);
  FrameHeader ack;
  std::uint64_t polled_until = MonotonicNs() + 20'000'000;
  ASSERT_TRUE(StepUntil({server_.get()}, [&] { return MonotonicNs() > polled_until; }));
  ASSERT_TRUE(peer_->Take(&ack));
  EXPECT_EQ(ack.op, FrameOp::kAck);
  EXPECT_EQ(ack.ack, 2u);
}

TEST_F(TcpStream, ASleeperIsWokenToAcknowledge) {
  peer_->Frame(Write(2, 0), kSeed);
  bool acknowledged = false;
  for (int i = 0; i < 10 && !acknowledged; ++i) {
    ASSERT_TRUE(server_->queue->Arm().ok());
    server_->Poll();
    pollfd waiting{.fd = server_->queue->event_fd(), .events = POLLIN, .revents = 0};
    acknowledged = ::poll(&waiting, 1, 200) == 0;  // nothing left to wake for
    server_->Poll();
  }
  EXPECT_TRUE(acknowledged);
  FrameHeader ack;
  ASSERT_TRUE(peer_->Take(&ack));
  EXPECT_EQ(ack.ack, 2u);
}

TEST_F(TcpStream, WrongMagic) {
  FrameHeader header = Write(2, 0);
  header.magic = 0;
  peer_->Frame(header, kSeed);
  ExpectFailed("wrong magic");
  ExpectNak(Status::kFatal, 2);
}

TEST_F(TcpStream, WrongEpoch) {
  peer_->Frame(Write(2, 0), kSeed + 1);
  ExpectFailed("wrong checksum");
  ExpectNak(Status::kFatal, 2);
}

TEST_F(TcpStream, WrongSequence) {
  peer_->Frame(Write(3, 0), kSeed);
  ExpectFailed("sequence out of order");
  ExpectNak(Status::kFatal, 2);
}

TEST_F(TcpStream, AcknowledgesWhatWasNeverSent) {
  FrameHeader header = Write(2, 0);
  header.ack = 2;
  peer_->Frame(header, kSeed);
  ExpectFailed("acknowledged sequence 2 of 1 sent");
}

TEST_F(TcpStream, AcknowledgesBackwards) {
  peer_->Frame(Write(2, 0), kSeed);
  FrameHeader header = Write(3, 0);
  header.ack = 0;
  peer_->Frame(header, kSeed);
  ExpectFailed("acknowledged");
}

TEST_F(TcpStream, UnknownKey) {
  FrameHeader header = Write(2, 8);
  header.key += 1;
  peer_->Frame(header, kSeed);
  ExpectFailed("unknown or revoked key");
  ExpectNak(Status::kRemoteAccess, 2);
}

TEST_F(TcpStream, HelloTwice) {
  peer_->Frame({.op = FrameOp::kHello, .sequence = 2, .ack = 1}, kSeed);
  ExpectFailed("HELLO twice");
}

TEST_F(TcpStream, HelloAckToTheServer) {
  peer_->Frame({.op = FrameOp::kHelloAck, .sequence = 2, .ack = 1}, kSeed);
  ExpectFailed("HELLO_ACK where it has no place");
}

TEST_F(TcpStream, AnswerToAReadNobodyAskedFor) {
  peer_->Frame({.op = FrameOp::kReadResponse, .imm = 1, .sequence = 2, .ack = 1}, kSeed);
  ExpectFailed("nobody asked for");
}

TEST_F(TcpStream, AnswerOfAnotherLength) {
  const Slice slice = server_->slice(0, 100);
  const WorkRequest read{.wr_id = WrId(9), .op = Op::kRead, .signalled = true, .local = {&slice, 1}, .window = {.key = RemoteKey(1), .bytes = 100}};
  ASSERT_TRUE(server_->endpoint->Post({&read, 1}).ok());
  peer_->Frame({.op = FrameOp::kReadResponse, .length = 101, .imm = 2, .sequence = 2, .ack = 2}, kSeed);
  ASSERT_TRUE(StepUntil({server_.get()}, [&] { return server_->completions.size() == 4; }));
  EXPECT_NE(std::string(server_->endpoint->reason().message()).find("answered READ"), std::string::npos);
}

TEST_F(TcpStream, TooManyReadsInFlight) {
  // The peer does not read, the answers are large: they queue until the bound.
  server_->endpoint.reset();
  server_->completions.clear();
  SetUp();
  const RemoteWindow big = *server_->endpoint->Grant(server_->slice(0, 1u << 20), Access::kRemoteRead);
  for (std::uint32_t i = 0; i < 200; ++i) {
    peer_->Frame({.op = FrameOp::kRead, .length = 1u << 20, .key = big.key.value(), .address = big.base, .sequence = 2 + i, .ack = 1}, kSeed);
  }
  ExpectFailed("READs in flight");
}

TEST_F(TcpStream, EndsInTheMiddleOfAHeader) {
  peer_->Bytes("ASHF", 4);
  server_->Poll();
  peer_->Close();
  ExpectFailed("in the middle of a frame");
}

TEST_F(TcpStream, EndsInTheMiddleOfAPayload) {
  peer_->Frame(Write(2, 100), kSeed);
  peer_->Bytes("0123456789", 10);
  server_->Poll();
  peer_->Close();
  ExpectFailed("in the middle of a frame");
}

TEST_F(TcpStream, IsReset) {
  peer_->Reset();
  ExpectFailed("closed the connection without a word");
}

TEST_F(TcpStream, SaysGoodBye) {
  peer_->Frame({.op = FrameOp::kBye, .sequence = 2, .ack = 1}, kSeed);
  ExpectFailed("closed the connection");
}

TEST_F(TcpStream, RandomBytesAfterAGoodStart) {
  std::mt19937 random(5);
  for (int round = 0; round < 50; ++round) {
    if (round > 0) {
      server_->endpoint.reset();
      server_->completions.clear();
      SetUp();
    }
    std::vector<std::uint32_t> junk(1 + random() % 200);
    for (auto& word : junk) word = static_cast<std::uint32_t>(random());
    peer_->Bytes(junk.data(), junk.size() * 4);
    server_->Poll();
    peer_->Close();
    ExpectFailed("");
  }
}

class TcpListening : public ::testing::Test {
 protected:
  bool NobodyComesUntilDropped(std::uint64_t strangers) {
    bool somebody = false;
    const bool dropped = StepUntil({}, [&] {
      somebody |= listener_->Accept() != nullptr;
      return StatOf(*device_, "fabric_stranger_total") == strangers;
    });
    return dropped && !somebody;
  }
  std::unique_ptr<Device> device_ = OpenTcpDevice();
  std::unique_ptr<Listener> listener_ = *device_->Listen("127.0.0.1:0");
};

TEST_F(TcpListening, RandomBytesAreClosedAndCounted) {
  std::mt19937 random(9);
  for (std::uint64_t i = 1; i <= 20; ++i) {
    HandMadePeer peer(listener_->address());
    std::vector<std::uint32_t> junk(25);
    for (auto& word : junk) word = static_cast<std::uint32_t>(random());
    peer.Bytes(junk.data(), junk.size() * 4);
    ASSERT_TRUE(NobodyComesUntilDropped(i));
    FrameHeader header;
    EXPECT_FALSE(peer.Take(&header)) << "closed";
  }
}

TEST_F(TcpListening, OnlyARightHelloPasses) {
  const std::pair<const char*, FrameHeader> wrong[] = {
      {"sequence", {.op = FrameOp::kHello, .sequence = 2}},
      {"ack", {.op = FrameOp::kHello, .sequence = 1, .ack = 1}},
      {"op", {.op = FrameOp::kSend, .sequence = 1}},
      {"length", {.op = FrameOp::kHello, .length = kMaxHelloBytes + 1, .sequence = 1}}};
  std::uint64_t dropped = 0;
  for (const auto& [name, header] : wrong) {
    SCOPED_TRACE(name);
    HandMadePeer peer(listener_->address());
    peer.Frame(header, 0);
    ASSERT_TRUE(NobodyComesUntilDropped(++dropped));
  }
}

TEST_F(TcpListening, TheSilentAreDroppedAfterASecondAndKeepNobodyOut) {
  std::vector<std::unique_ptr<HandMadePeer>> silent;
  for (int i = 0; i < 64; ++i) silent.push_back(std::make_unique<HandMadePeer>(listener_->address()));
  HandMadePeer honest(listener_->address());
  honest.Frame({.op = FrameOp::kHello, .sequence = 1}, 0);
  std::unique_ptr<PendingPeer> peer;
  while (peer == nullptr) {
    pollfd waiting{.fd = listener_->event_fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&waiting, 1, 3000), 1) << "the listener wakes by itself when the silent have had their second";
    peer = listener_->Accept();
  }
  EXPECT_GT(StatOf(*device_, "fabric_stranger_total"), 0u);
}

TEST_F(TcpListening, WrongAddressesSayHowToWriteThem) {
  for (const char* address : {"", "localhost:1", "127.0.0.1", ":1", "1.2.3.4:", "127.0.0.1:99999x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(device_->Listen(address).status())) << address;
  }
  EXPECT_FALSE(device_->Listen(listener_->address()).ok()) << "taken";
}

// E3: a peer that is killed is noticed at once, whatever it was doing.
TEST(TcpPeer, KilledInTheMiddleOfItsWorkEndsEveryRequestOnce) {
  for (int round = 0; round < 5; ++round) {
    auto device = OpenTcpDevice();
    auto listener = *device->Listen("127.0.0.1:0");
    const pid_t child = ::fork();
    if (child == 0) {  // connects, grants a window, and answers READs for as long as it lives
      auto own_device = OpenTcpDevice();
      Side side(*own_device, 1024);
      side.endpoint = *own_device->Connect(listener->address(), *side.domain, *side.queue, {}, {}, 5'000'000'000);
      StepUntil({&side}, [&] { return side.endpoint->state() == EndpointState::kReady; });
      const RemoteWindow window = *side.endpoint->Grant(side.slice(0, 1u << 20), Access::kRemoteReadWrite);
      std::memcpy(side.at(0), &window, sizeof(window));
      const Slice slice = side.slice(0, sizeof(window));
      const WorkRequest send{.wr_id = WrId(1), .op = Op::kSend, .local = {&slice, 1}};
      if (!side.endpoint->Post({&send, 1}).ok()) ::_exit(1);
      while (true) side.Poll();
    }
    Side side(*device, 1024);
    std::unique_ptr<PendingPeer> pending;
    ASSERT_TRUE(StepUntil({}, [&] { return (pending = listener->Accept()) != nullptr; }));
    side.endpoint = *pending->Accept(*side.domain, *side.queue, {}, {});
    const Slice slice = side.slice(0, 64);
    const WorkRequest receive{.wr_id = WrId(1), .op = Op::kReceive, .local = {&slice, 1}};
    ASSERT_TRUE(side.endpoint->Receive({&receive, 1}).ok());
    ASSERT_TRUE(StepUntil({&side}, [&] { return side.completions.size() == 1; }));
    RemoteWindow window;
    std::memcpy(&window, side.at(0), sizeof(window));
    side.completions.clear();
    const Slice target = side.slice(0, 65536);
    for (std::uint64_t i = 0; i < 100; ++i) {
      const WorkRequest request{.wr_id = WrId(i), .op = i % 2 == 0 ? Op::kRead : Op::kWrite, .signalled = true,
                                .local = {&target, 1}, .window = window};
      ASSERT_TRUE(side.endpoint->Post({&request, 1}).ok());
    }
    for (int i = 0; i < round * 3; ++i) side.Poll();
    ::kill(child, SIGKILL);
    const std::uint64_t killed_ns = MonotonicNs();
    ASSERT_TRUE(StepUntil({&side}, [&] { return side.completions.size() == 100; }));
    EXPECT_LT(MonotonicNs() - killed_ns, 2'000'000'000u);
    bool failed = false;
    for (std::uint64_t i = 0; i < 100; ++i) {
      EXPECT_EQ(WrIdOf(side.completions[i]), WrId(i));
      EXPECT_FALSE(failed && Ok(side.completions[i]));
      if (Ok(side.completions[i])) continue;
      EXPECT_EQ(Failure(side.completions[i]).status, failed ? Status::kFlushed : Status::kRetryExceeded);
      failed = true;
    }
    ASSERT_TRUE(StepUntil({&side}, [&] { return side.endpoint->state() == EndpointState::kError; }));
    side.endpoint.reset();
    ::waitpid(child, nullptr, 0);
  }
}

std::size_t OpenDescriptors() {
  std::size_t count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

TEST(TcpPeer, AThousandReconnectsLeaveNoDescriptorBehind) {
  auto device = OpenTcpDevice();
  auto listener = *device->Listen("127.0.0.1:0");
  Side client(*device, 64), server(*device, 64);
  const EndpointOptions options{.send_depth = 8, .receive_depth = 8};
  std::size_t descriptors = 0;
  for (int round = 0; round < 1000; ++round) {
    client.endpoint = *device->Connect(listener->address(), *client.domain, *client.queue, options, {}, 5'000'000'000);
    std::unique_ptr<PendingPeer> pending;
    ASSERT_TRUE(StepUntil({&client}, [&] { return (pending = listener->Accept()) != nullptr; }));
    server.endpoint = *pending->Accept(*server.domain, *server.queue, options, {});
    const RemoteWindow window = *server.endpoint->Grant(server.slice(0, 4096), Access::kRemoteWrite);
    ASSERT_TRUE(StepUntil({&client}, [&] { return client.endpoint->state() == EndpointState::kReady; }));
    const Slice slice = client.slice(0, 4096);
    const WorkRequest write{.wr_id = WrId(1), .op = Op::kWrite, .signalled = true, .local = {&slice, 1}, .window = window};
    ASSERT_TRUE(client.endpoint->Post({&write, 1}).ok());
    if (round % 2 == 0) {
      server.Poll();
      client.endpoint.reset();
      server.endpoint.reset();
    } else {
      server.endpoint.reset();
      ASSERT_TRUE(StepUntil({&client}, [&] { return client.endpoint->state() == EndpointState::kError; }));
      client.endpoint.reset();
    }
    client.Poll();
    server.Poll();
    if (round == 10) descriptors = OpenDescriptors();
  }
  EXPECT_EQ(OpenDescriptors(), descriptors);
  EXPECT_EQ(StatOf(*device, "fabric_endpoint_state"), 0u);
  EXPECT_EQ(StatOf(*device, "fabric_outstanding"), 0u);
}

}  // namespace
}  // namespace ashlar::fabric::testing
