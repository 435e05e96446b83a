// What of the verbs fabric needs no device: reading completions, connection phases, limits, what goes into private data,
// the check of locked memory. With a device the conformance suite runs too; ./dev vm-test has one.
#include <arpa/inet.h>

#include <cstring>
#include <set>

#include <gtest/gtest.h>

#include "common/fabric/names.h"
#include "common/fabric/verbs/address.h"
#include "common/fabric/verbs/async_events.h"
#include "common/fabric/verbs/completion.h"
#include "common/fabric/verbs/device.h"
#include "common/fabric/verbs/greeting.h"
#include "common/fabric/verbs/limits.h"
#include "common/fabric/verbs/memlock.h"
#include "common/fabric/verbs/phase.h"
#include "tests/unit/common/fabric/pair.h"

namespace ashlar::fabric::verbs {
namespace {

TEST(VerbsDevice, ConformanceSuiteRunsOnIt) {
  if (testing::RdmaAddress().empty()) {
    GTEST_SKIP() << "no RDMA device here: ASHLAR_TEST_RDMA_ADDRESS names none, so nothing of the suite ran on verbs; ./dev vm-test has one";
  }
}

TEST(VerbsDevice, AnAddressOfNoRdmaDeviceIsRefusedWithWhatThereIs) {
  const auto device = OpenVerbsDevice({.address = "127.0.0.1:7501"});
  ASSERT_FALSE(device.ok());
  EXPECT_NE(device.status().message().find("devices: "), std::string_view::npos) << device.status();
  EXPECT_TRUE(absl::IsInvalidArgument(OpenVerbsDevice({.address = "not numeric"}).status()));
}

TEST(VerbsWorkId, SurvivesTheTripThroughTheDevice) {
  for (const Ledger::Side side : {Ledger::Side::kSend, Ledger::Side::kReceive}) {
    for (const std::uint32_t endpoint : {0u, 1u, 0x7FFF'FFFFu}) {
      for (const std::uint32_t number : {0u, 1u, 0xFFFF'FFFFu}) {
        const WorkId id{.endpoint = endpoint, .side = side, .number = number};
        EXPECT_EQ(Unpack(Pack(id)), id);
      }
    }
  }
}

TEST(VerbsWorkId, ANumberIsFoundAcrossTheWrapAndAStaleOneIsNot) {
  const std::uint64_t begin = (std::uint64_t{7} << 32) - 2, end = begin + 4;  // the low 32 bits wrap inside
  for (std::uint64_t number = begin; number < end; ++number) EXPECT_EQ(Restore(static_cast<std::uint32_t>(number), begin, end), number);
  EXPECT_EQ(Restore(static_cast<std::uint32_t>(begin - 1), begin, end), std::nullopt);
  EXPECT_EQ(Restore(static_cast<std::uint32_t>(end), begin, end), std::nullopt);
  EXPECT_EQ(Restore(5, 5, 5), std::nullopt);
}

ibv_wc Completion(ibv_wc_status status, Ledger::Side side, unsigned fill) {
  ibv_wc completion;
  std::memset(static_cast<void*>(&completion), static_cast<int>(fill), sizeof(completion));
  completion.wr_id = Pack({.endpoint = 9, .side = side, .number = 4});
  completion.status = status;
  completion.vendor_err = 77;
  return completion;
}

// The crash of 2018: a flushed completion was believed to carry an opcode and an immediate.
TEST(VerbsCompletion, PoisonedFlushIsOnlyAFailure) {
  for (const Ledger::Side side : {Ledger::Side::kSend, Ledger::Side::kReceive}) {
    for (const unsigned fill : {0x00u, 0x55u, 0xFFu}) {
      for (const std::uint32_t imm : {0u, 0xFFFF'FFFFu, static_cast<std::uint32_t>(-30704), 0x40100100u}) {
        ibv_wc poisoned = Completion(IBV_WC_WR_FLUSH_ERR, side, fill);
        poisoned.opcode = IBV_WC_RECV_RDMA_WITH_IMM;
        poisoned.imm_data = htonl(imm);
        const auto read = ReadCompletion(poisoned);
        const auto* failed = std::get_if<WorkFailed>(&read);
        ASSERT_NE(failed, nullptr);
        EXPECT_EQ(failed->status, Status::kFlushed);
        EXPECT_EQ(failed->vendor, 77u);
        EXPECT_EQ(failed->id, (WorkId{.endpoint = 9, .side = side, .number = 4}));
      }
    }
  }
}

TEST(VerbsCompletion, OnlyASuccessIsASuccess) {
  for (int status = 0; status <= IBV_WC_TM_RNDV_INCOMPLETE; ++status) {
    const auto read = ReadCompletion(Completion(static_cast<ibv_wc_status>(status), Ledger::Side::kSend, 0));
    EXPECT_EQ(std::holds_alternative<WorkDone>(read), status == IBV_WC_SUCCESS) << status;
  }
}

TEST(VerbsCompletion, AReceiveTellsItsLengthAndImmediateASendNeither) {
  ibv_wc arrived = Completion(IBV_WC_SUCCESS, Ledger::Side::kReceive, 0xFF);
  arrived.opcode = IBV_WC_RECV_RDMA_WITH_IMM;
  arrived.byte_len = 64;
  arrived.imm_data = htonl(0x40100100);
  const WorkDone received = std::get<WorkDone>(ReadCompletion(arrived));
  EXPECT_TRUE(received.has_imm);
  EXPECT_EQ(received.imm, 0x40100100u);
  EXPECT_EQ(received.byte_len, 64u);
  arrived.opcode = IBV_WC_RECV;
  EXPECT_FALSE(std::get<WorkDone>(ReadCompletion(arrived)).has_imm);
  const WorkDone sent = std::get<WorkDone>(ReadCompletion(Completion(IBV_WC_SUCCESS, Ledger::Side::kSend, 0xFF)));
  EXPECT_FALSE(sent.has_imm);
  EXPECT_EQ(sent.byte_len, 0u);
}

TEST(VerbsCompletion, EachStatusHasAName) {
  const auto send = [](ibv_wc_status status) { return StatusOf(status, Ledger::Side::kSend); };
  EXPECT_EQ(send(IBV_WC_REM_ACCESS_ERR), Status::kRemoteAccess);
  EXPECT_EQ(send(IBV_WC_REM_OP_ERR), Status::kRemoteOperation);
  EXPECT_EQ(send(IBV_WC_REM_INV_REQ_ERR), Status::kRemoteOperation);
  EXPECT_EQ(send(IBV_WC_RETRY_EXC_ERR), Status::kRetryExceeded);
  EXPECT_EQ(send(IBV_WC_RNR_RETRY_EXC_ERR), Status::kRnrExceeded);
  EXPECT_EQ(send(IBV_WC_LOC_PROT_ERR), Status::kLocalProtection);
  EXPECT_EQ(send(IBV_WC_LOC_LEN_ERR), Status::kLocalLength);
  EXPECT_EQ(send(IBV_WC_GENERAL_ERR), Status::kFatal);
  EXPECT_EQ(StatusOf(IBV_WC_LOC_LEN_ERR, Ledger::Side::kReceive), Status::kLocalLength);
  EXPECT_EQ(StatusOf(IBV_WC_REM_ACCESS_ERR, Ledger::Side::kReceive), Status::kFlushed) << "the peer is to blame, not the receive";
}

// Each pair of phase and event, by what must hold rather than by a copy of the table.
TEST(VerbsPhase, EveryPairOfPhaseAndEvent) {
  std::set<std::pair<Phase, ConnectionEvent>> forward = {
      {Phase::kResolvingAddress, ConnectionEvent::kAddressResolved}, {Phase::kResolvingRoute, ConnectionEvent::kRouteResolved},
      {Phase::kConnecting, ConnectionEvent::kEstablished},           {Phase::kAccepting, ConnectionEvent::kAnswerSent},
      {Phase::kAccepted, ConnectionEvent::kEstablished},             {Phase::kOpen, ConnectionEvent::kEstablished}};
  for (const Phase phase : kAllPhases) {
    for (const ConnectionEvent event : kAllConnectionEvents) {
      SCOPED_TRACE(::testing::Message() << "phase " << static_cast<int>(phase) << " event " << static_cast<int>(event));
      const std::optional<Phase> next = Next(phase, event);
      const bool ends = event == ConnectionEvent::kRefused || event == ConnectionEvent::kEnded || event == ConnectionEvent::kDeviceGone;
      if (phase == Phase::kClosed) {
        EXPECT_EQ(next, Phase::kClosed) << "for good";
      } else if (event == ConnectionEvent::kNothing) {
        EXPECT_EQ(next, phase);
      } else if (ends) {
        EXPECT_EQ(next, Phase::kClosed);
      } else if (forward.contains({phase, event})) {
        ASSERT_TRUE(next.has_value());
        EXPECT_GE(*next, phase) << "never back";
      } else {
        EXPECT_EQ(next, std::nullopt) << "out of order";
      }
    }
  }
}

TEST(VerbsPhase, BothSidesReachOpen) {
  Phase phase = Phase::kResolvingAddress;
  for (const rdma_cm_event_type type : {RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_ROUTE_RESOLVED, RDMA_CM_EVENT_ESTABLISHED}) {
    phase = *Next(phase, EventOf(type));
  }
  EXPECT_EQ(phase, Phase::kOpen);
  phase = *Next(*Next(Phase::kAccepting, ConnectionEvent::kAnswerSent), EventOf(RDMA_CM_EVENT_ESTABLISHED));
  EXPECT_EQ(phase, Phase::kOpen);
  EXPECT_EQ(Next(phase, EventOf(RDMA_CM_EVENT_DISCONNECTED)), Phase::kClosed);
  EXPECT_EQ(Next(phase, EventOf(RDMA_CM_EVENT_TIMEWAIT_EXIT)), Phase::kOpen);
}

TEST(VerbsEvents, WhatMakesNoCompletionEndsAsMuchAsItBreaks) {
  EXPECT_EQ(ReachOf(IBV_EVENT_QP_FATAL), Reach::kEndpoint);
  EXPECT_EQ(ReachOf(IBV_EVENT_QP_REQ_ERR), Reach::kEndpoint);
  EXPECT_EQ(ReachOf(IBV_EVENT_QP_ACCESS_ERR), Reach::kEndpoint);
  EXPECT_EQ(ReachOf(IBV_EVENT_CQ_ERR), Reach::kQueue);
  EXPECT_EQ(ReachOf(IBV_EVENT_DEVICE_FATAL), Reach::kDevice);
  EXPECT_EQ(ReachOf(IBV_EVENT_PORT_ERR), Reach::kNothing) << "a link that flaps is for the retries";
  EXPECT_EQ(ReachOf(IBV_EVENT_GID_CHANGE), Reach::kNothing);
}

DeviceFacts GoodDevice() {
  return {.name = "mlx5_0", .max_inline = 256, .max_sge = 30, .max_sge_read = 30, .max_message = 1u << 30, .max_reads = 128,
          .immediate_works = true, .window_works = true};
}

TEST(VerbsLimits, CapsAreWhatDeviceAndContractBothAllow) {
  const Caps caps = *ConcludeCaps(GoodDevice());
  EXPECT_EQ(caps.max_slices, 16u);
  EXPECT_EQ(caps.max_message, 1u << 20);
  EXPECT_EQ(caps.max_reads, 16u);
  EXPECT_EQ(caps.max_inline, 256u);
  EXPECT_TRUE(caps.native_imm);
  DeviceFacts few = GoodDevice();
  few.max_sge_read = 1;
  EXPECT_EQ(ConcludeCaps(few)->max_slices, 1u) << "a READ must fit too";
}

TEST(VerbsLimits, WithoutWindowsTheDeviceIsRefused) {
  DeviceFacts facts = GoodDevice();
  facts.window_works = false;
  const absl::Status refused = ConcludeCaps(facts).status();
  EXPECT_TRUE(absl::IsUnimplemented(refused));
  EXPECT_NE(refused.message().find("mlx5_0"), std::string_view::npos);
  EXPECT_NE(refused.message().find("kind: tcp"), std::string_view::npos) << "what to do";
}

TEST(VerbsLimits, WithoutImmediateAMessageStandsInIfItFitsInline) {
  DeviceFacts facts = GoodDevice();
  facts.immediate_works = false;
  facts.max_inline = 32;
  EXPECT_FALSE(ConcludeCaps(facts)->native_imm);
  facts.max_inline = 31;
  EXPECT_TRUE(absl::IsUnimplemented(ConcludeCaps(facts).status()));
}

TEST(VerbsLimits, ADeadPeerIsNoticedWithinTheSilence) {
  EXPECT_EQ(AckTimeoutExponent(500'000'000), 14) << "67 ms, seven times";
  for (const std::uint64_t silence_ns : {50'000'000ull, 500'000'000ull, 1'000'000'000ull, 10'000'000'000ull}) {
    const std::uint64_t detection_ns = (std::uint64_t{4096} << AckTimeoutExponent(silence_ns)) * (kRetryCount + 1);
    EXPECT_LE(detection_ns, silence_ns);
    EXPECT_GT(detection_ns * 2, silence_ns);
  }
  EXPECT_EQ(AckTimeoutExponent(0), 8);
  EXPECT_EQ(AckTimeoutExponent(~std::uint64_t{0} / 2), 21);
  static_assert(kRetryCount < 7, "soft RoCE retries for ever with 7");
}

TEST(VerbsGreeting, AnswerAsGoldenBytes) {
  Mark mark;
  for (std::size_t i = 0; i < mark.size(); ++i) mark[i] = static_cast<std::byte>(0xA0 + i);
  const std::byte hello[] = {std::byte{1}, std::byte{2}, std::byte{3}};
  const AnswerBytes bytes = EncodeAnswer({.epoch_seed = 0x5EED0001, .mark = mark, .hello = hello});
  const unsigned char golden[] = {0x41, 0x56, 0x52, 0x42, 1,    3,    0,    0,    0x01, 0x00, 0xED, 0x5E, 0xA0, 0xA1, 0xA2, 0xA3,
                                  0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF, 1,    2,    3,    0};
  EXPECT_EQ(std::memcmp(bytes.data(), golden, sizeof(golden)), 0);
  const auto parsed = ParseAnswer(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->epoch_seed, 0x5EED0001u);
  EXPECT_EQ(parsed->mark, mark);
  EXPECT_TRUE(std::ranges::equal(parsed->hello, hello)) << "without the zeros behind it";
}

TEST(VerbsGreeting, EachDamageOfAnAnswerIsRefused) {
  const AnswerBytes good = EncodeAnswer({.epoch_seed = 1});
  ASSERT_TRUE(ParseAnswer(good).ok());
  for (const std::size_t byte : {0u, 3u, 4u, 6u, 7u}) {  // magic, version, reserved
    AnswerBytes bad = good;
    bad[byte] ^= std::byte{0x80};
    EXPECT_FALSE(ParseAnswer(bad).ok()) << byte;
  }
  for (std::size_t size = 0; size < kAnswerHeadBytes; ++size) EXPECT_FALSE(ParseAnswer(std::span(good).first(size)).ok()) << size;
  AnswerBytes longer = good;
  longer[5] = std::byte{57};
  EXPECT_FALSE(ParseAnswer(longer).ok());
  longer[5] = std::byte{10};
  EXPECT_FALSE(ParseAnswer(std::span(longer).first(kAnswerHeadBytes + 9)).ok()) << "says more than came";
}

TEST(VerbsGreeting, OnlyAMessageWithTheMarkIsAnImmediate) {
  Mark mark{};
  mark[3] = std::byte{9};
  const ImmediateBytes bytes = EncodeImmediate(mark, {.imm = 0x40100100, .bytes_written = 64});
  const auto found = ParseImmediate(mark, bytes);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->imm, 0x40100100u);
  EXPECT_EQ(found->bytes_written, 64u);
  for (std::size_t i = 0; i < mark.size(); ++i) {
    Mark other = mark;
    other[i] ^= std::byte{1};
    EXPECT_FALSE(ParseImmediate(other, bytes).has_value());
  }
  EXPECT_FALSE(ParseImmediate(mark, std::span(bytes).first(31)).has_value());
  ImmediateBytes reserved = bytes;
  reserved[31] = std::byte{1};
  EXPECT_FALSE(ParseImmediate(mark, reserved).has_value());
}

TEST(VerbsMemlock, TheMessageNamesTheLinesToAdd) {
  EXPECT_TRUE(CheckMemlock({.limit_bytes = 1 << 20}, 1 << 20).ok());
  EXPECT_TRUE(CheckMemlock({.limit_bytes = 0, .exempt = true}, std::uint64_t{1} << 40).ok());
  EXPECT_TRUE(CheckMemlock({.limit_bytes = ~std::uint64_t{0}}, std::uint64_t{1} << 40).ok());
  const absl::Status refused = CheckMemlock({.limit_bytes = 65536}, 65537);
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  for (const std::string_view line : {"LimitMEMLOCK=infinity", "--ulimit memlock=-1", "--device=/dev/infiniband", "65537", "65536"}) {
    EXPECT_NE(refused.message().find(absl::string_view(line.data(), line.size())), absl::string_view::npos) << line;
  }
}

TEST(VerbsAddress, AGidIsAnAddressAndBack) {
  for (const std::string text : {"10.1.2.3:0", "[fd00::11]:0"}) {
    const auto address = ParseSocketAddress(text);
    ASSERT_TRUE(address.ok());
    const auto back = AddressOfGid(GidOfAddress(*address));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(Print(back->get()), text);
  }
  EXPECT_TRUE(absl::IsInvalidArgument(AddressOfGid(GidOfAddress(*ParseSocketAddress("[fe80::1]:0"))).status())) << "link-local";
  EXPECT_EQ(Print(WithPort(*ParseSocketAddress("10.1.2.3:7501"), 7).get()), "10.1.2.3:7");
}

}  // namespace
}  // namespace ashlar::fabric::verbs
