// What every backend keeps: the rules O1–N1 of common/fabric/README.md, on each backend by the same code.
#include <poll.h>

#include <algorithm>
#include <random>
#include <set>

#include "common/fabric/names.h"
#include "tests/unit/common/fabric/pair.h"

namespace ashlar::fabric::testing {
namespace {

constexpr std::uint32_t kMaxMessage = 1u << 20;
constexpr std::string_view kBoundsNotChecked = "soft RoCE checks a window's key, queue pair and access, but not its bounds";

std::size_t CountOk(const std::vector<Completion>& completions) {
  return static_cast<std::size_t>(std::ranges::count_if(completions, Ok));
}

TEST_P(Conformance, HellosArriveOnBothSides) {
  ASSERT_TRUE(Join());
  EXPECT_EQ(std::vector<std::byte>(client_->endpoint->peer_hello().begin(), client_->endpoint->peer_hello().end()), Pattern(20, 4));
  EXPECT_EQ(std::vector<std::byte>(server_->endpoint->peer_hello().begin(), server_->endpoint->peer_hello().end()), Pattern(56, 3));
}

TEST_P(Conformance, NobodyListeningEndsInErrorNotInAHang) {
  listener_.reset();
  client_->endpoint = *backend_.device->Connect(backend_.nobody, *client_->domain,
                                                *client_->queue, {}, {}, 200'000'000);
  ASSERT_TRUE(PostReceive(*client_, 7, 0, 64).ok());
  ASSERT_TRUE(Step([&] { return client_->endpoint->state() == EndpointState::kError; }));
  EXPECT_TRUE(absl::IsUnavailable(client_->endpoint->reason())) << client_->endpoint->reason();
  ASSERT_TRUE(Step([&] { return client_->completions.size() == 1; }));
  EXPECT_EQ(Failure(client_->completions[0]).status, Status::kFlushed);
}

TEST_P(Conformance, SilentListenerEndsInErrorAtTheTimeout) {
  client_->endpoint = *backend_.device->Connect(listener_->address(), *client_->domain, *client_->queue, {}, {}, 30'000'000);
  ASSERT_TRUE(Step([&] { return client_->endpoint->state() == EndpointState::kError; }));
}

TEST_P(Conformance, DroppedPendingPeerFailsTheConnector) {
  client_->endpoint = *backend_.device->Connect(listener_->address(), *client_->domain, *client_->queue, {}, {}, 5'000'000'000);
  std::unique_ptr<PendingPeer> peer;
  ASSERT_TRUE(Step([&] { return (peer = listener_->Accept()) != nullptr; }));
  peer.reset();
  ASSERT_TRUE(Step([&] { return client_->endpoint->state() == EndpointState::kError; }));
}

TEST_P(Conformance, OtherConnectionEpochIsRefused) {
  client_->endpoint = *backend_.device->Connect(listener_->address(), *client_->domain, *client_->queue, {.epoch_seed = 5}, {}, 2'000'000'000);
  std::unique_ptr<PendingPeer> peer;
  ASSERT_TRUE(Step([&] { return (peer = listener_->Accept()) != nullptr; }));
  auto accepted = peer->Accept(*server_->domain, *server_->queue, {.epoch_seed = 6}, {});
  if (accepted.ok()) server_->endpoint = *std::move(accepted);
  peer.reset();
  EXPECT_TRUE(Step([&] { return client_->endpoint->state() == EndpointState::kError; }));
  EXPECT_NE(client_->endpoint->state(), EndpointState::kReady);
}

TEST_P(Conformance, PostBeforeReadyIsRefusedAndReceiveIsNot) {
  client_->endpoint = *backend_.device->Connect(listener_->address(), *client_->domain, *client_->queue, {}, {}, 5'000'000'000);
  const WorkRequest send{.wr_id = WrId(1), .op = Op::kSend};
  EXPECT_TRUE(absl::IsFailedPrecondition(client_->endpoint->Post({&send, 1})));
  EXPECT_TRUE(PostReceive(*client_, 2, 0, 64).ok());
  EXPECT_TRUE(client_->endpoint->Grant(client_->slice(0, 4096), Access::kRemoteRead).ok());
}

// READ and WRITE of each size, from one slice and scattered over the most a request may have.
TEST_P(Conformance, WriteAndReadEverySizeAndSliceCount) {
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(4096, kMaxMessage + 4096), Access::kRemoteReadWrite);
  const std::uint32_t max_slices = backend_.device->caps().max_slices;
  unsigned seed = 0;
  for (const std::uint32_t size : {0u, 1u, 31u, 4095u, 4096u, 4097u, 65536u, 200'000u, kMaxMessage}) {
    for (const std::uint32_t parts : {1u, 2u, max_slices}) {
      SCOPED_TRACE(::testing::Message() << "size " << size << " parts " << parts);
      const auto pattern = Pattern(size, ++seed);
      client_->Fill(0, pattern);
      std::vector<Slice> out, in;
      for (std::uint32_t part = 0, done = 0; part < parts; ++part) {
        const std::uint32_t bytes = part + 1 == parts ? size - done : size / parts;
        out.push_back(client_->slice(done, bytes));
        in.push_back(client_->slice((2u << 20) + done, bytes));
        done += bytes;
      }
      const Completion written = Run({.wr_id = WrId(seed), .op = Op::kWrite, .window = window, .offset = 17}, out);
      ASSERT_TRUE(Ok(written));
      EXPECT_EQ(Success(written).op, Op::kWrite);
      EXPECT_EQ(Success(written).byte_len, 0u);
      EXPECT_TRUE(server_->Holds(4096 + 17, pattern));
      std::memset(client_->at(2u << 20), 0xEE, size + 1);
      const Completion read = Run({.wr_id = WrId(seed), .op = Op::kRead, .window = window, .offset = 17}, in);
      ASSERT_TRUE(Ok(read));
      EXPECT_EQ(Success(read).op, Op::kRead);
      EXPECT_TRUE(client_->Holds(2u << 20, pattern));
      EXPECT_EQ(*client_->at((2u << 20) + size), std::byte{0xEE}) << "written behind the target";
    }
  }
}

TEST_P(Conformance, SendArrivesInTheOldestReceiveWithItsLength) {
  ASSERT_TRUE(Join());
  ASSERT_TRUE(PostReceive(*server_, 11, 0, 100).ok());
  ASSERT_TRUE(PostReceive(*server_, 12, 1000, 5000).ok());
  for (const std::uint32_t size : {100u, 4999u}) {
    const auto pattern = Pattern(size, size);
    client_->Fill(0, pattern);
    ASSERT_TRUE(Ok(Run({.wr_id = WrId(size), .op = Op::kSend}, {client_->slice(0, size)})));
  }
  ASSERT_TRUE(Step([&] { return server_->completions.size() == 2; }));
  EXPECT_EQ(Success(server_->completions[0]).wr_id, WrId(11));
  EXPECT_EQ(Success(server_->completions[0]).op, Op::kReceive);
  EXPECT_EQ(Success(server_->completions[0]).byte_len, 100u);
  EXPECT_EQ(Success(server_->completions[1]).wr_id, WrId(12));
  EXPECT_EQ(Success(server_->completions[1]).byte_len, 4999u);
  EXPECT_TRUE(server_->Holds(0, Pattern(100, 100)));
  EXPECT_TRUE(server_->Holds(1000, Pattern(4999, 4999)));
}

// O1: what the immediate announces is there when it is polled, and so is every WRITE before it.
TEST_P(Conformance, O1ImmediateShowsEveryEarlierWrite) {
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 1u << 20), Access::kRemoteWrite);
  std::mt19937 random(1);
  std::uint32_t sent = 0, seen = 0;
  const std::uint32_t rounds = backend_.emulated ? 2'000 : 20'000;
  constexpr std::uint32_t in_flight = 16;
  // A buffer each: where the device has no immediate, it travels in there.
  const auto cell = [](std::uint32_t n) { return (2u << 20) + (n % in_flight) * 64; };
  for (std::uint32_t i = 0; i < in_flight; ++i) ASSERT_TRUE(PostReceive(*server_, i, cell(i), 64).ok());
  std::size_t read = 0;
  ASSERT_TRUE(Step([&] {
    while (sent < rounds && sent - seen < in_flight) {  // slot n % in_flight: a WRITE of its body, then one with its number
      const std::uint64_t at = (sent % in_flight) * 8192;
      const std::uint32_t size = 8 + static_cast<std::uint32_t>(random() % 4000);
      std::memset(client_->at(at), static_cast<int>(sent & 0xFF), size);
      const Slice body = client_->slice(at, size), number = client_->slice(at, 1);
      const WorkRequest batch[] = {
          {.wr_id = WrId(sent), .op = Op::kWrite, .local = {&body, 1}, .window = window, .offset = at},
          {.wr_id = WrId(sent), .op = Op::kWriteWithImm, .signalled = sent % 8 == 0, .imm = sent << 12 | size,
           .local = {&number, 1}, .window = window, .offset = at + 4096}};
      if (!client_->endpoint->Post(batch).ok()) break;
      ++sent;
    }
    for (; read < server_->completions.size(); ++read) {
      if (!Ok(server_->completions[read])) return true;
      const Succeeded& arrived = Success(server_->completions[read]);
      const std::uint32_t n = arrived.imm >> 12, size = arrived.imm & 0xFFF;
      EXPECT_EQ(n, seen);
      EXPECT_EQ(arrived.byte_len, 1u);
      const std::byte* body = server_->at((n % in_flight) * 8192);
      EXPECT_TRUE(std::all_of(body, body + size, [n](std::byte b) { return b == static_cast<std::byte>(n & 0xFF); })) << n;
      EXPECT_EQ(body[4096], static_cast<std::byte>(n & 0xFF));
      ++seen;
      EXPECT_TRUE(PostReceive(*server_, n, cell(n), 64).ok());
      if (::testing::Test::HasFailure()) return true;
    }
    return seen == rounds;
  }));
  EXPECT_EQ(seen, rounds);
}

// O2: completions come in the order of posting, a READ sees the WRITE before it, a fenced WRITE waits for the READ.
TEST_P(Conformance, O2ReadSeesTheWriteBeforeItAndAFenceWaits) {
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 8192), Access::kRemoteReadWrite);
  for (unsigned round = 0; round < 200; ++round) {
    const auto first = Pattern(4096, round), second = Pattern(4096, round + 1000);
    client_->Fill(0, first);
    client_->Fill(8192, second);
    const Slice out = client_->slice(0, 4096), in = client_->slice(4096, 4096), later = client_->slice(8192, 4096);
    const WorkRequest batch[] = {
        {.wr_id = WrId(1), .op = Op::kWrite, .signalled = true, .local = {&out, 1}, .window = window},
        {.wr_id = WrId(2), .op = Op::kRead, .signalled = true, .local = {&in, 1}, .window = window},
        {.wr_id = WrId(3), .op = Op::kWrite, .signalled = true, .fence = true, .local = {&later, 1}, .window = window}};
    client_->completions.clear();
    ASSERT_TRUE(client_->endpoint->Post(batch).ok());
    ASSERT_TRUE(Step([&] { return client_->completions.size() == 3; }));
    for (std::uint64_t i = 0; i < 3; ++i) ASSERT_EQ(Success(client_->completions[i]).wr_id, WrId(i + 1));
    ASSERT_TRUE(client_->Holds(4096, first)) << "the READ saw bytes of the fenced WRITE, or not those of the first";
    ASSERT_TRUE(server_->Holds(0, second));
  }
}

// C1 on the good path: one completion per signalled request, none for a silent one.
TEST_P(Conformance, C1OneCompletionPerSignalledRequest) {
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteReadWrite);
  std::mt19937 random(7);
  const Slice slice = client_->slice(0, 64);
  std::multiset<std::uint64_t> wanted;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    WorkRequest request{.wr_id = WrId(i), .op = random() % 3 == 0 ? Op::kRead : Op::kWrite, .signalled = random() % 4 == 0,
                        .local = {&slice, 1}, .window = window};
    if (i == 2999) request.signalled = true;
    ASSERT_TRUE(Step([&] { return client_->endpoint->Post({&request, 1}).ok(); }));
    if (request.signalled) wanted.insert(i);
  }
  ASSERT_TRUE(Step([&] { return client_->completions.size() >= wanted.size(); }));
  for (int i = 0; i < 20; ++i) client_->Poll(), server_->Poll();
  std::vector<std::uint64_t> got;
  for (const Completion& completion : client_->completions) got.push_back(Success(completion).wr_id.value());
  EXPECT_EQ(got, std::vector<std::uint64_t>(wanted.begin(), wanted.end()));
  EXPECT_EQ(client_->endpoint->outstanding(), 0u);
}

TEST_P(Conformance, BoundsAreCheckedBeforePosting) {
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteReadWrite);
  const auto post = [&](Slice slice, std::uint64_t offset, Op op = Op::kWrite) {
    const WorkRequest request{.wr_id = WrId(1), .op = op, .local = {&slice, 1}, .window = window, .offset = offset};
    return client_->endpoint->Post({&request, 1});
  };
  EXPECT_TRUE(post(client_->slice(0, 4096), 0).ok());
  EXPECT_TRUE(post(client_->slice(0, 0), 4096).ok());
  EXPECT_TRUE(absl::IsOutOfRange(post(client_->slice(0, 4097), 0)));
  EXPECT_TRUE(absl::IsOutOfRange(post(client_->slice(0, 4096), 1)));
  EXPECT_TRUE(absl::IsOutOfRange(post(client_->slice(0, 1), 4096)));
  EXPECT_TRUE(absl::IsOutOfRange(post(client_->slice(0, 1), ~std::uint64_t{0})));
  EXPECT_TRUE(absl::IsOutOfRange(post(client_->slice(Side::kBytes, 1), 0)));
  EXPECT_TRUE(absl::IsOutOfRange(post(client_->slice(Side::kBytes - 1, 2), 0)));
  EXPECT_TRUE(absl::IsOutOfRange(post(client_->slice(~std::uint64_t{0}, 2), 0)));
  EXPECT_TRUE(absl::IsInvalidArgument(post(client_->slice(0, kMaxMessage + 1), 0)));
  EXPECT_TRUE(absl::IsInvalidArgument(post(client_->slice(0, 1), 0, Op::kReceive)));
  EXPECT_TRUE(absl::IsInvalidArgument(post(server_->slice(0, 1), 0))) << "a region of another domain";
  EXPECT_TRUE(absl::IsInvalidArgument(post(Slice{}, 0)));
  const std::vector<Slice> many(backend_.device->caps().max_slices + 1, client_->slice(0, 1));
  const WorkRequest request{.wr_id = WrId(1), .op = Op::kSend, .local = many};
  EXPECT_TRUE(absl::IsInvalidArgument(client_->endpoint->Post({&request, 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(PostReceive(*client_, 1, 0, 31)));
  EXPECT_TRUE(absl::IsOutOfRange(client_->endpoint->Grant(client_->slice(Side::kBytes - 1, 2), Access::kRemoteRead).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(client_->endpoint->Grant(server_->slice(0, 2), Access::kRemoteRead).status()));
  EXPECT_EQ(client_->endpoint->state(), EndpointState::kReady) << "a refused post harms nothing";
}

TEST_P(Conformance, ABatchIsPostedWholeOrNotAtAll) {
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteWrite);
  std::memset(client_->at(0), 0x55, 8192);
  const Slice good = client_->slice(0, 64), bad = client_->slice(0, 4097);
  const WorkRequest batch[] = {{.wr_id = WrId(1), .op = Op::kWrite, .signalled = true, .local = {&good, 1}, .window = window},
                               {.wr_id = WrId(2), .op = Op::kWrite, .signalled = true, .local = {&bad, 1}, .window = window}};
  EXPECT_FALSE(client_->endpoint->Post(batch).ok());
  EXPECT_EQ(client_->endpoint->outstanding(), 0u);
  const WorkRequest next{.wr_id = WrId(3), .op = Op::kWrite, .window = window, .offset = 100};
  ASSERT_TRUE(Ok(Run(next, {client_->slice(0, 1)})));
  EXPECT_EQ(*server_->at(0), std::byte{0});
}

TEST_P(Conformance, AFullLedgerSaysResourceExhaustedAndRecovers) {
  ASSERT_TRUE(Join({.send_depth = 8, .receive_depth = 4}));
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteWrite);
  const Slice slice = client_->slice(0, 8);
  const WorkRequest write{.wr_id = WrId(1), .op = Op::kWrite, .signalled = true, .local = {&slice, 1}, .window = window};
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(client_->endpoint->Post({&write, 1}).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(client_->endpoint->Post({&write, 1})));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(PostReceive(*client_, 1, 0, 64).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(PostReceive(*client_, 1, 0, 64)));
  ASSERT_TRUE(Step([&] { return client_->completions.size() == 8; }));
  EXPECT_EQ(client_->endpoint->outstanding(), 4u);
  EXPECT_TRUE(client_->endpoint->Post({&write, 1}).ok());
}

TEST_P(Conformance, QueueDepthCoversEverythingPosted) {
  Side small(*backend_.device, 64);
  EXPECT_TRUE(absl::IsResourceExhausted(
      backend_.device->Connect(listener_->address(), *small.domain, *small.queue, {}, {}, 1'000'000'000).status()));
  const EndpointOptions options{.send_depth = 16, .receive_depth = 16};
  ASSERT_TRUE(Join(small, *server_, options));
  EXPECT_TRUE(backend_.device->Connect(listener_->address(), *small.domain, *small.queue, options, {}, 1'000'000'000).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(
      backend_.device->Connect(listener_->address(), *small.domain, *small.queue, {.send_depth = 33}, {}, 1'000'000'000).status()));
  server_->endpoint.reset();
  small.endpoint.reset();
}

// E1: what the target must refuse costs the connection on both sides, and the initiator hears the cause first.
class ConformanceE1 : public Conformance {
 protected:
  void ExpectRefused(Op op, RemoteWindow window, std::uint64_t offset, Status cause) {
    ASSERT_TRUE(PostReceive(*server_, 100, 1u << 20, 64).ok());
    ASSERT_TRUE(PostReceive(*client_, 101, 1u << 20, 64).ok());
    const Slice bad = client_->slice(0, 64);
    const WorkRequest batch[] = {{.wr_id = WrId(1), .op = op, .signalled = true, .local = {&bad, 1}, .window = window, .offset = offset},
                                 {.wr_id = WrId(2), .op = Op::kSend, .signalled = false}};
    ASSERT_TRUE(client_->endpoint->Post(batch).ok());
    ASSERT_TRUE(Step([&] { return client_->completions.size() == 3 && server_->completions.size() == 1; }));
    EXPECT_EQ(client_->endpoint->state(), EndpointState::kError);
    EXPECT_EQ(server_->endpoint->state(), EndpointState::kError);
    EXPECT_EQ(Failure(client_->completions[0]).wr_id, WrId(1));
    EXPECT_EQ(Failure(client_->completions[0]).status, cause) << Name(Failure(client_->completions[0]).status);
    EXPECT_EQ(Failure(client_->completions[1]).status, Status::kFlushed);
    EXPECT_EQ(Failure(client_->completions[2]).status, Status::kFlushed);
    EXPECT_EQ(Failure(server_->completions[0]).status, Status::kFlushed);
    EXPECT_FALSE(client_->endpoint->reason().ok());
    EXPECT_FALSE(server_->endpoint->reason().ok());
    EXPECT_TRUE(absl::IsUnavailable(PostReceive(*client_, 1, 0, 64)));
  }
};

TEST_P(ConformanceE1, BeyondTheEndByOne) {
  if (!backend_.checks_bounds) GTEST_SKIP() << kBoundsNotChecked;
  ASSERT_TRUE(Join());
  RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteReadWrite);
  window.bytes = 1u << 20;
  ExpectRefused(Op::kWrite, window, 4096 - 63, Status::kRemoteAccess);
  EXPECT_EQ(*server_->at(4096 - 63), std::byte{0});
}

TEST_P(ConformanceE1, BelowTheBase) {
  if (!backend_.checks_bounds) GTEST_SKIP() << kBoundsNotChecked;
  ASSERT_TRUE(Join());
  RemoteWindow window = *server_->endpoint->Grant(server_->slice(4096, 4096), Access::kRemoteReadWrite);
  window.base -= 1;
  ExpectRefused(Op::kRead, window, 0, Status::kRemoteAccess);
}

TEST_P(ConformanceE1, WriteIntoAReadOnlyWindow) {
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteRead);
  ExpectRefused(Op::kWriteWithImm, window, 0, Status::kRemoteAccess);
}

TEST_P(ConformanceE1, ReadFromAWriteOnlyWindow) {
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteWrite);
  ExpectRefused(Op::kRead, window, 0, Status::kRemoteAccess);
}

TEST_P(ConformanceE1, RevokedKey) {
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteReadWrite);
  ASSERT_TRUE(server_->endpoint->Revoke(window, WrId(55)).ok());
  ASSERT_TRUE(Step([&] { return server_->completions.size() == 1; }));
  EXPECT_EQ(Success(server_->completions[0]).op, Op::kRevoke);
  EXPECT_EQ(Success(server_->completions[0]).wr_id, WrId(55));
  EXPECT_TRUE(absl::IsNotFound(server_->endpoint->Revoke(window, WrId(56))));
  const RemoteWindow newer = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteReadWrite);
  EXPECT_NE(newer.key, window.key) << "a key is never used twice in a connection";
  server_->completions.clear();
  ExpectRefused(Op::kWrite, window, 0, Status::kRemoteAccess);
}

TEST_P(ConformanceE1, KeyOfAnotherConnection) {
  ASSERT_TRUE(Join());
  Side other_client(*backend_.device, 4096), other_server(*backend_.device, 4096);
  ASSERT_TRUE(Join(other_client, other_server));
  ASSERT_TRUE(server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteReadWrite).ok());
  const RemoteWindow foreign = *other_server.endpoint->Grant(other_server.slice(0, 4096), Access::kRemoteReadWrite);
  ExpectRefused(Op::kWrite, foreign, 0, Status::kRemoteAccess);
  other_client.Poll();
  other_server.Poll();
  EXPECT_EQ(other_client.endpoint->state(), EndpointState::kReady) << "endpoints don't disturb each other";
  EXPECT_EQ(other_server.endpoint->state(), EndpointState::kReady);
  other_client.endpoint.reset();
  other_server.endpoint.reset();
}

TEST_P(ConformanceE1, WindowOfADestroyedEndpointIsDeadOnTheNext) {
  ASSERT_TRUE(Join());
  const RemoteWindow old = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteReadWrite);
  server_->endpoint.reset();
  client_->endpoint.reset();
  ASSERT_TRUE(Join());
  ASSERT_TRUE(server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteReadWrite).ok());
  ExpectRefused(Op::kRead, old, 0, Status::kRemoteAccess);
}

TEST_P(Conformance, SendWithoutAReceiveIsRnrExceeded) {
  ASSERT_TRUE(Join());
  const Completion ended = Run({.wr_id = WrId(1), .op = Op::kSend}, {client_->slice(0, 8)});
  EXPECT_EQ(Failure(ended).status, Status::kRnrExceeded);
}

TEST_P(Conformance, MessageLongerThanTheReceiveNamesTheCauseOnBothSides) {
  ASSERT_TRUE(Join());
  ASSERT_TRUE(PostReceive(*server_, 1, 0, 64).ok());
  ASSERT_TRUE(PostReceive(*server_, 2, 0, 64).ok());
  const Completion ended = Run({.wr_id = WrId(1), .op = Op::kSend}, {client_->slice(0, 65)});
  EXPECT_EQ(Failure(ended).status, Status::kRemoteOperation);
  ASSERT_TRUE(Step([&] { return server_->completions.size() == 2; }));
  EXPECT_EQ(Failure(server_->completions[0]).status, Status::kLocalLength);
  EXPECT_EQ(Failure(server_->completions[1]).status, Status::kFlushed);
}

// E2: after Fail every outstanding request ends kFlushed, once; nothing succeeds after that.
TEST_P(Conformance, E2FailFlushesEverythingOnceAndIsSticky) {
  for (const std::uint32_t posted : {0u, 1u, 64u}) {
    SCOPED_TRACE(posted);
    client_->completions.clear();
    server_->completions.clear();
    ASSERT_TRUE(Join());
    const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 65536), Access::kRemoteReadWrite);
    for (std::uint64_t i = 0; i < 5; ++i) ASSERT_TRUE(PostReceive(*client_, 1000 + i, 0, 64).ok());
    const Slice slice = client_->slice(0, 4096);
    for (std::uint64_t i = 0; i < posted; ++i) {
      const WorkRequest request{.wr_id = WrId(i), .op = i % 2 == 0 ? Op::kRead : Op::kWrite, .signalled = i % 3 == 0,
                                .local = {&slice, 1}, .window = window};
      ASSERT_TRUE(client_->endpoint->Post({&request, 1}).ok());
    }
    client_->endpoint->Fail(absl::CancelledError("because"));
    client_->endpoint->Fail(absl::InternalError("again"));
    EXPECT_EQ(client_->endpoint->state(), EndpointState::kError);
    EXPECT_EQ(client_->endpoint->reason(), absl::CancelledError("because"));
    ASSERT_TRUE(Step([&] { return client_->completions.size() == posted + 5; }));
    for (const Completion& completion : client_->completions) EXPECT_EQ(Failure(completion).status, Status::kFlushed);
    EXPECT_EQ(client_->endpoint->outstanding(), 0u);
    EXPECT_TRUE(absl::IsUnavailable(client_->endpoint->Post({})));
    ASSERT_TRUE(Step([&] { return server_->endpoint->state() == EndpointState::kError; })) << "the peer hears of it";
    client_->Poll();
    EXPECT_EQ(client_->completions.size(), posted + 5);
  }
}

// C1 on the bad path, at each moment of a batch: every request ends exactly once, and after a failure none succeeds.
TEST_P(Conformance, C1PeerFailingMidBatchEndsEveryRequestOnce) {
  for (int polls = 0; polls < 12; ++polls) {
    SCOPED_TRACE(polls);
    client_->completions.clear();
    ASSERT_TRUE(Join());
    const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 65536), Access::kRemoteReadWrite);
    const Slice slice = client_->slice(0, 30'000);
    std::vector<WorkRequest> batch;
    for (std::uint64_t i = 0; i < 100; ++i) {
      batch.push_back({.wr_id = WrId(i), .op = i % 5 == 0 ? Op::kRead : Op::kWrite, .signalled = true, .local = {&slice, 1}, .window = window});
    }
    ASSERT_TRUE(client_->endpoint->Post(batch).ok());
    for (int i = 0; i < polls; ++i) server_->Poll(), client_->Poll();
    server_->endpoint->Fail(absl::CancelledError("mid-batch"));
    ASSERT_TRUE(Step([&] { return client_->completions.size() >= 100; }));
    bool failed = false;
    for (std::uint64_t i = 0; i < 100; ++i) {
      EXPECT_EQ(WrIdOf(client_->completions[i]), WrId(i));
      EXPECT_FALSE(failed && Ok(client_->completions[i])) << "a success behind a failure";
      if (!Ok(client_->completions[i])) {
        const Status status = Failure(client_->completions[i]).status;
        // Soft RoCE may refuse a request by the windows of a queue pair that is going, before it falls silent.
        EXPECT_TRUE(status == (failed ? Status::kFlushed : Status::kRetryExceeded) ||
                    (backend_.emulated && !failed && status == Status::kRemoteAccess))
            << Name(status);
        failed = true;
      }
    }
    EXPECT_EQ(client_->completions.size(), 100u);
    EXPECT_EQ(client_->endpoint->outstanding(), 0u);
  }
}

TEST_P(Conformance, DestroyWithOutstandingWorkReportsItFlushed) {
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 65536), Access::kRemoteRead);
  const Slice slice = client_->slice(0, 4096);
  for (std::uint64_t i = 0; i < 40; ++i) {
    const WorkRequest read{.wr_id = WrId(i), .op = Op::kRead, .signalled = true, .local = {&slice, 1}, .window = window};
    ASSERT_TRUE(client_->endpoint->Post({&read, 1}).ok());
  }
  const EndpointId id = client_->endpoint->id();
  client_->endpoint.reset();
  client_->region.reset();  // its last use ended with the endpoint
  ASSERT_TRUE(Step([&] { return client_->completions.size() == 40; }));
  for (const Completion& completion : client_->completions) {
    EXPECT_EQ(Failure(completion).status, Status::kFlushed);
    EXPECT_EQ(Failure(completion).endpoint, id);
  }
}

// The revocation completes only when no answer under way still reads the bytes; after it nothing of them leaves.
TEST_P(Conformance, RevokeAgainstReadsInFlight) {
  for (unsigned round = 0; round < 50; ++round) {
    client_->completions.clear();
    server_->completions.clear();
    ASSERT_TRUE(Join());
    const auto secret = Pattern(65536, round);
    server_->Fill(0, secret);
    const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 65536), Access::kRemoteRead);
    std::vector<Slice> targets;
    for (std::uint32_t i = 0; i < 16; ++i) targets.push_back(client_->slice(i * 65536, 65536));
    for (std::uint64_t i = 0; i < 16; ++i) {
      const WorkRequest read{.wr_id = WrId(i), .op = Op::kRead, .signalled = true, .local = {&targets[i], 1}, .window = window};
      ASSERT_TRUE(client_->endpoint->Post({&read, 1}).ok());
    }
    for (unsigned i = 0; i < round % 8; ++i) server_->Poll();
    ASSERT_TRUE(server_->endpoint->Revoke(window, WrId(77)).ok());
    bool scribbled = false;
    ASSERT_TRUE(Step([&] {
      if (!scribbled && !server_->completions.empty()) {
        std::memset(server_->at(0), 0xDD, 65536);  // the owner uses the bytes for something else
        scribbled = true;
      }
      return scribbled && client_->completions.size() == 16;
    }));
    for (std::size_t i = 0; i < 16; ++i) {
      EXPECT_TRUE(!Ok(client_->completions[i]) || client_->Holds(i * 65536, secret)) << "bytes of the next owner were read";
    }
    server_->endpoint.reset();
    client_->endpoint.reset();
  }
}

TEST_P(Conformance, FullInBothDirectionsDoesNotLock) {
  ASSERT_TRUE(Join());
  const RemoteWindow to_server = *server_->endpoint->Grant(server_->slice(0, kMaxMessage), Access::kRemoteReadWrite);
  const RemoteWindow to_client = *client_->endpoint->Grant(client_->slice(0, kMaxMessage), Access::kRemoteReadWrite);
  const Slice from_client = client_->slice(2u << 20, kMaxMessage), from_server = server_->slice(2u << 20, kMaxMessage);
  const std::uint64_t count = backend_.emulated ? 12 : 60;
  for (std::uint64_t i = 0; i < count; ++i) {
    const Op op = i % 4 == 3 ? Op::kRead : Op::kWrite;
    const WorkRequest a{.wr_id = WrId(i), .op = op, .signalled = true, .local = {&from_client, 1}, .window = to_server};
    const WorkRequest b{.wr_id = WrId(i), .op = op, .signalled = true, .local = {&from_server, 1}, .window = to_client};
    ASSERT_TRUE(client_->endpoint->Post({&a, 1}).ok());
    ASSERT_TRUE(server_->endpoint->Post({&b, 1}).ok());
  }
  ASSERT_TRUE(Step([&] { return client_->completions.size() == count && server_->completions.size() == count; }));
  EXPECT_EQ(CountOk(client_->completions), count);
  EXPECT_EQ(CountOk(server_->completions), count);
}

// N1: after Arm and one more Poll, whatever arrives makes the event fd readable.
TEST_P(Conformance, N1ArmThenPollMissesNothing) {
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteWrite);
  const Slice slice = client_->slice(0, 8);
  for (std::uint64_t i = 0; i < 2000; ++i) {
    ASSERT_TRUE(PostReceive(*server_, i, 8192, 64).ok());
    server_->completions.clear();
    const WorkRequest write{.wr_id = WrId(i), .op = Op::kWriteWithImm, .imm = 5, .local = {&slice, 1}, .window = window};
    if (i % 2 == 0) {
      ASSERT_TRUE(client_->endpoint->Post({&write, 1}).ok());
    }
    ASSERT_TRUE(server_->queue->Arm().ok());
    server_->Poll();
    if (i % 2 == 1) {
      ASSERT_TRUE(server_->queue->Arm().ok());
      server_->Poll();
      ASSERT_TRUE(server_->queue->Arm().ok());
      ASSERT_TRUE(client_->endpoint->Post({&write, 1}).ok());
    }
    while (server_->completions.empty()) {
      ASSERT_TRUE(server_->queue->Arm().ok());
      pollfd waiting{.fd = server_->queue->event_fd(), .events = POLLIN, .revents = 0};
      ASSERT_EQ(::poll(&waiting, 1, 2000), 1) << "missed at " << i;
      server_->Poll();
    }
    client_->Poll();
  }
}

// What the last Poll before the sleep served without a completion of its own does not end the vigil.
TEST_P(Conformance, N1ASleeperThatServedAReadIsWokenByTheNext) {
  if (backend_.one_sided) GTEST_SKIP() << "the target's device answers a READ by itself: nobody is woken";
  if (GetParam() == "memory") GTEST_SKIP() << "nobody sleeps there: a test steps it by its polls";
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteRead);
  const Slice slice = client_->slice(0, 64);
  const WorkRequest read{.wr_id = WrId(1), .op = Op::kRead, .signalled = true, .local = {&slice, 1}, .window = window};
  for (int round = 0; round < 100; ++round) {
    client_->completions.clear();
    for (int i = 0; i < 3; ++i) server_->Poll();
    ASSERT_TRUE(server_->queue->Arm().ok());
    ASSERT_TRUE(client_->endpoint->Post({&read, 1}).ok());
    server_->Poll();
    ASSERT_TRUE(client_->endpoint->Post({&read, 1}).ok());
    for (int sleeps = 0; client_->completions.size() < 2; ++sleeps) {
      ASSERT_LT(sleeps, 100);
      pollfd waiting{.fd = server_->queue->event_fd(), .events = POLLIN, .revents = 0};
      ASSERT_EQ(::poll(&waiting, 1, 2000), 1) << "missed in round " << round;
      ASSERT_TRUE(server_->queue->Arm().ok());
      server_->Poll();
      client_->Poll();
    }
    EXPECT_TRUE(server_->completions.empty());
  }
}

TEST_P(Conformance, CompletionsMadeWhileArmedWakeTheSleeper) {
  ASSERT_TRUE(Join());
  ASSERT_TRUE(PostReceive(*client_, 1, 0, 64).ok());
  ASSERT_TRUE(client_->queue->Arm().ok());
  client_->Poll();
  ASSERT_TRUE(client_->queue->Arm().ok());
  client_->endpoint->Fail(absl::CancelledError("while armed"));
  pollfd waiting{.fd = client_->queue->event_fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&waiting, 1, 2000), 1);
  client_->Poll();
  EXPECT_EQ(client_->completions.size(), 1u);
}

TEST_P(Conformance, WindowsAreBoundedAndComeBackAfterRevoke) {
  ASSERT_TRUE(Join({.max_windows = 3}));
  std::vector<RemoteWindow> windows;
  for (int i = 0; i < 3; ++i) windows.push_back(*server_->endpoint->Grant(server_->slice(0, 10), Access::kRemoteRead));
  EXPECT_TRUE(absl::IsResourceExhausted(server_->endpoint->Grant(server_->slice(0, 10), Access::kRemoteRead).status()));
  ASSERT_TRUE(server_->endpoint->Revoke(windows[1], WrId(1)).ok());
  ASSERT_TRUE(Step([&] { return server_->completions.size() == 1; }));
  EXPECT_TRUE(server_->endpoint->Grant(server_->slice(0, 10), Access::kRemoteRead).ok());
}

TEST_P(Conformance, StatsCountWhatHappened) {
  ASSERT_TRUE(Join());
  const RemoteWindow window = *server_->endpoint->Grant(server_->slice(0, 4096), Access::kRemoteWrite);
  for (std::uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(Ok(Run({.wr_id = WrId(i), .op = Op::kWrite, .window = window}, {client_->slice(0, 8)})));
  StatList stats;
  backend_.device->CollectStats(stats);
  const auto value = [&](std::string_view name, const std::string& label) -> std::uint64_t {
    for (const Stat& stat : stats.values) {
      if (stat.name == name && (label.empty() || stat.labels.find(label) != std::string::npos)) return stat.value;
    }
    ADD_FAILURE() << "no " << name;
    return 0;
  };
  EXPECT_EQ(value("fabric_wr_total", "op=write"), 3u);
  EXPECT_EQ(value("fabric_endpoint_state", "state=ready"), 2u);
  EXPECT_EQ(value("fabric_outstanding", ""), 0u);
}

INSTANTIATE_TEST_SUITE_P(Backends, Conformance, ::testing::ValuesIn(BackendNames()), [](const auto& param) { return param.param; });
INSTANTIATE_TEST_SUITE_P(Backends, ConformanceE1, ::testing::ValuesIn(BackendNames()), [](const auto& param) { return param.param; });

}  // namespace
}  // namespace ashlar::fabric::testing
