// What only shared memory has: a peer that can write into it at any moment, and memory that could be taken away.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "common/base/unique_fd.h"
#include "common/fabric/shm/device.h"
#include "common/fabric/shm/memory_fd.h"
#include "common/fabric/shm/ring.h"
#include "common/fabric/tcp/frame.h"
#include "tests/unit/common/fabric/pair.h"

namespace ashlar::fabric::testing {
namespace {

using shm::SharedMapping;
using tcp::FrameHeader;
using tcp::FrameOp;

constexpr std::uint32_t kSeed = 77;

UniqueFd UnixSocket(const std::string& address, bool listen) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::string text = address.substr(4);
  std::memcpy(name.sun_path + 1, text.data(), text.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  const auto* to = reinterpret_cast<const sockaddr*>(&name);
  EXPECT_EQ(listen ? ::bind(fd.get(), to, size) : ::connect(fd.get(), to, size), 0);
  if (listen) {
    EXPECT_EQ(::listen(fd.get(), 4), 0);
  }
  return fd;
}

// A connector that has the memory in its hands and does with it what the test wants.
class ShmStream : public ::testing::Test {
 protected:
  void SetUp() override {
    listener_ = *device_->Listen("shm:");
    server_ = std::make_unique<Side>(*device_, 1024);
    socket_ = UnixSocket(listener_->address(), false);
    FrameHeader hello{.op = FrameOp::kHello, .sequence = 1};
    tcp::Seal(hello, 0);
    ASSERT_EQ(::send(socket_.get(), &hello, sizeof(hello), 0), static_cast<ssize_t>(sizeof(hello)));
    std::unique_ptr<PendingPeer> pending;
    ASSERT_TRUE(StepUntil({}, [&] { return (pending = listener_->Accept()) != nullptr; }));
    EXPECT_EQ(pending->address(), "shm:" + std::to_string(::getpid()));
    server_->endpoint = *pending->Accept(*server_->domain, *server_->queue, {.epoch_seed = kSeed}, Pattern(5));
    window_ = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteReadWrite);
    const Slice slice = server_->slice(8192, 64);
    for (std::uint64_t i = 0; i < 3; ++i) {
      const WorkRequest receive{.wr_id = WrId(i), .op = Op::kReceive, .local = {&slice, 1}};
      ASSERT_TRUE(server_->endpoint->Receive({&receive, 1}).ok());
    }
    bool gone = false;
    const UniqueFd fd = *shm::ReceiveFd(socket_.get(), &gone);
    ASSERT_TRUE(fd.valid());
    memory_ = *shm::MapPeerMemory(fd, shm::kMemoryBytes, SharedMapping::Access::kReadWrite);
    rings_.emplace(memory_.bytes(), shm::End::kConnector);
    FrameHeader ack;
    Take(&ack, sizeof(ack));
    EXPECT_EQ(tcp::CheckHeader(ack, kSeed, 1), tcp::FrameFault::kNone);
    std::byte rest[5];
    Take(rest, sizeof(rest));
  }
  void TearDown() override { server_->endpoint.reset(); }

  void Take(void* to, std::size_t bytes) {
    std::size_t available = 0;
    ASSERT_TRUE(rings_->Available(&available));
    ASSERT_GE(available, bytes);
    const iovec part{.iov_base = to, .iov_len = bytes};
    (void)rings_->Take({&part, 1}, bytes);
  }
  bool Put(const void* from, std::size_t bytes) {
    const iovec part{.iov_base = const_cast<void*>(from), .iov_len = bytes};
    return rings_->Put({&part, 1}, bytes);
  }
  FrameHeader Write(std::uint32_t sequence, std::uint32_t length) const {
    FrameHeader header{.op = FrameOp::kWrite, .length = length, .key = window_.key.value(), .address = window_.base, .sequence = sequence, .ack = 1};
    tcp::Seal(header, kSeed);
    return header;
  }
  std::uint64_t* Word(std::size_t offset) { return reinterpret_cast<std::uint64_t*>(memory_.bytes().data() + offset); }
  void ExpectFailedOnce() {
    ASSERT_TRUE(StepUntil({server_.get()}, [&] { return server_->completions.size() == 3; }));
    EXPECT_EQ(server_->endpoint->state(), EndpointState::kError);
    for (int i = 0; i < 5; ++i) server_->Poll();
    EXPECT_EQ(server_->completions.size(), 3u) << "each request ends once";
  }

  // Where the producer of bytes for the listener says how far it is, and the connector how far it has read.
  static constexpr std::size_t kTailToListener = 4096;
  static constexpr std::size_t kHeadOfConnector = 2 * 4096 + 128;

  std::unique_ptr<Device> device_ = OpenHostDevice();
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<Side> server_;
  UniqueFd socket_;
  SharedMapping memory_;
  std::optional<shm::RingPair> rings_;
  RemoteWindow window_;
};

TEST_F(ShmStream, AWriteLandsAndASleeperIsWoken) {
  ASSERT_TRUE(server_->queue->Arm().ok());
  server_->Poll();
  const FrameHeader header = Write(2, 100);
  const auto body = Pattern(100);
  EXPECT_TRUE(Put(&header, sizeof(header))) << "it said that it sleeps";
  EXPECT_FALSE(Put(body.data(), body.size())) << "it is being woken";
  ASSERT_EQ(::send(socket_.get(), "", 1, 0), 1);
  pollfd waiting{.fd = server_->queue->event_fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&waiting, 1, 2000), 1);
  ASSERT_TRUE(StepUntil({server_.get()}, [&] { return server_->Holds(0, body); }));
  server_->Poll();
  ASSERT_TRUE(server_->queue->Arm().ok());
  server_->Poll();
  EXPECT_EQ(::poll(&waiting, 1, 0), 0) << "the byte that woke it is read";
}

TEST_F(ShmStream, TailBeyondTheRingEndsTheConnection) {
  *Word(kTailToListener) += shm::kRingBytes + 1;
  ExpectFailedOnce();
}

TEST_F(ShmStream, TailThatGoesBackEndsTheConnection) {
  const FrameHeader header = Write(2, 0);
  (void)Put(&header, sizeof(header));
  for (int i = 0; i < 3; ++i) server_->Poll();
  *Word(kTailToListener) -= 1;
  ExpectFailedOnce();
}

TEST_F(ShmStream, HeadBeyondWhatWasWrittenEndsTheConnection) {
  *Word(kHeadOfConnector) += 1'000'000;
  const Slice slice = server_->slice(0, 64);
  const WorkRequest send{.wr_id = WrId(9), .op = Op::kSend, .local = {&slice, 1}};
  ASSERT_TRUE(server_->endpoint->Post({&send, 1}).ok());
  socket_.Reset();
  ASSERT_TRUE(StepUntil({server_.get()}, [&] { return server_->completions.size() == 4; }));
  EXPECT_EQ(server_->endpoint->state(), EndpointState::kError);
}

// The bytes change between any two looks: whatever comes of it, nothing but the window and the receive is written.
TEST_F(ShmStream, ScribblingOverTheMemoryTouchesNothingElse) {
  std::mt19937 random(5);
  const auto untouched = std::vector<std::byte>(server_->at(16384), server_->at(Side::kBytes));
  for (int i = 0; i < 20000; ++i) {
    const std::size_t at = random() % 3 == 0 ? 4096 + random() % 8192 : random() % memory_.bytes().size();
    memory_.bytes()[at] = static_cast<std::byte>(random());
    server_->Poll();
    if (server_->endpoint->state() == EndpointState::kError) break;
  }
  socket_.Reset();
  ExpectFailedOnce();
  EXPECT_TRUE(server_->Holds(16384, untouched));
}

TEST_F(ShmStream, PeerThatGoesIsNoticedAtOnceByASleeper) {
  ASSERT_TRUE(server_->queue->Arm().ok());
  server_->Poll();
  socket_.Reset();
  pollfd waiting{.fd = server_->queue->event_fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&waiting, 1, 2000), 1);
  ExpectFailedOnce();
}

TEST_F(ShmStream, WhatThePeerWroteBeforeItWentIsTakenFirst) {
  const auto body = Pattern(64);
  const FrameHeader header = Write(2, 64);
  (void)Put(&header, sizeof(header));
  (void)Put(body.data(), body.size());
  socket_.Reset();
  ExpectFailedOnce();
  EXPECT_TRUE(server_->Holds(0, body));
}

// A listener that sends something else than what it should: the connector maps none of it.
class ShmMemory : public ::testing::Test {
 protected:
  // What comes of a connection whose listener answers with that descriptor (-1: a byte without one).
  absl::Status AnswerWith(int fd) {
    auto device = OpenHostDevice();
    const std::string address = "shm:ashlar-test-" + std::to_string(::getpid());
    const UniqueFd listening = UnixSocket(address, true);
    Side client(*device, 1024);
    client.endpoint = *device->Connect(address, *client.domain, *client.queue, {}, {}, 5'000'000'000);
    const UniqueFd socket(::accept(listening.get(), nullptr, nullptr));
    if (fd < 0) {
      EXPECT_EQ(::send(socket.get(), "x", 1, 0), 1);
    } else {
      EXPECT_TRUE(shm::SendFd(socket.get(), fd).ok());
    }
    EXPECT_TRUE(StepUntil({&client}, [&] { return client.endpoint->state() == EndpointState::kError; }));
    const absl::Status reason = client.endpoint->reason();
    client.endpoint.reset();
    return reason;
  }
};

TEST_F(ShmMemory, WithoutADescriptor) { EXPECT_TRUE(absl::IsUnavailable(AnswerWith(-1))); }

TEST_F(ShmMemory, ThatCouldShrink) {
  const UniqueFd fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(fd.get(), shm::kMemoryBytes), 0);
  EXPECT_TRUE(absl::IsUnavailable(AnswerWith(fd.get())));
}

TEST_F(ShmMemory, OfAnotherSize) {
  const UniqueFd fd = *shm::MakeMemoryFd("test", shm::kMemoryBytes - 4096);
  EXPECT_TRUE(absl::IsUnavailable(AnswerWith(fd.get())));
}

TEST_F(ShmMemory, OfAnotherFormat) {
  const UniqueFd fd = *shm::MakeMemoryFd("test", shm::kMemoryBytes);
  EXPECT_TRUE(absl::IsUnavailable(AnswerWith(fd.get())));
}

TEST_F(ShmMemory, ThatIsNoMemory) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd read(ends[0]), write(ends[1]);
  EXPECT_TRUE(absl::IsUnavailable(AnswerWith(read.get())));
}

TEST(ShmListening, AnotherUserIsTurnedAway) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  // Both ends must be ordinary users: root may share with anyone.
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::seteuid(1001) != 0) ::_exit(2);
    auto device = OpenHostDevice();
    auto listener = device->Listen("shm:");
    if (!listener.ok()) ::_exit(3);
    const pid_t stranger = ::fork();
    if (stranger == 0) {
      if (::seteuid(0) != 0 || ::setuid(1002) != 0) ::_exit(4);
      const UniqueFd socket = UnixSocket((*listener)->address(), false);
      char byte = 0;
      ::_exit(::recv(socket.get(), &byte, 1, 0) == 0 ? 0 : 5);  // closed without a word
    }
    int status = -1;
    while (::waitpid(stranger, &status, WNOHANG) == 0) (*listener)->Accept();
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 6);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(ShmListening, AThousandReconnectsLeaveNothingBehind) {
  auto device = OpenHostDevice();
  auto listener = *device->Listen("shm:");
  Side client(*device, 4096), server(*device, 4096);
  const auto open = [] {
    const UniqueFd probe(::dup(0));
    return probe.get();
  };
  const int before = open();
  for (int round = 0; round < 1000; ++round) {
    client.endpoint = *device->Connect(listener->address(), *client.domain, *client.queue, {}, {}, 5'000'000'000);
    std::unique_ptr<PendingPeer> peer;
    ASSERT_TRUE(StepUntil({&client}, [&] { return (peer = listener->Accept()) != nullptr; }));
    server.endpoint = *peer->Accept(*server.domain, *server.queue, {}, {});
    ASSERT_TRUE(StepUntil({&client, &server}, [&] { return client.endpoint->state() == EndpointState::kReady; }));
    (round % 2 == 0 ? client : server).endpoint.reset();
    (round % 2 == 0 ? server : client).endpoint.reset();
  }
  EXPECT_EQ(open(), before);
}

}  // namespace
}  // namespace ashlar::fabric::testing
