#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "common/fit/back_off.h"
#include "common/fit/client_slots.h"
#include "common/fit/opcodes.h"
#include "common/fit/server_slot_state.h"
#include "common/fit/slot_state.h"

namespace ashlar::fit {
namespace {

TEST(SlotState, EveryPair) {
  using S = SlotState;
  using E = SlotEvent;
  const std::map<std::pair<S, E>, S> allowed = {
      {{S::kFree, E::kPost}, S::kSent},
      {{S::kSent, E::kReply}, S::kAnswered},
      {{S::kSent, E::kExpire}, S::kQuarantined},
      {{S::kSent, E::kGone}, S::kFree},
      {{S::kQuarantined, E::kReply}, S::kAnswered},
      {{S::kQuarantined, E::kCancelAck}, S::kAnswered},
      {{S::kQuarantined, E::kGone}, S::kFree},
      {{S::kAnswered, E::kRetired}, S::kFree},
      {{S::kAnswered, E::kGone}, S::kFree},
  };
  for (S state : {S::kFree, S::kSent, S::kQuarantined, S::kAnswered})
    for (E event : {E::kPost, E::kReply, E::kExpire, E::kCancelAck, E::kRetired, E::kGone}) {
      auto expected = allowed.find({state, event});
      std::optional<S> next = Next(state, event);
      ASSERT_EQ(next.has_value(), expected != allowed.end()) << static_cast<int>(state) << " " << static_cast<int>(event);
      if (next) {
        EXPECT_EQ(*next, expected->second);
      }
    }
}

TEST(ServerSlotState, EveryPair) {
  using S = ServerSlotState;
  using E = ServerSlotEvent;
  const std::map<std::pair<S, E>, S> allowed = {
      {{S::kIdle, E::kRequest}, S::kRunning},
      {{S::kIdle, E::kReplay}, S::kReplying},
      {{S::kIdle, E::kEndpointGone}, S::kIdle},
      {{S::kRunning, E::kRequest}, S::kRunningQueued},
      {{S::kRunning, E::kAnswer}, S::kReplying},
      {{S::kRunning, E::kAnswerUnsent}, S::kIdle},
      {{S::kRunning, E::kEndpointGone}, S::kRunning},
      {{S::kReplying, E::kRequest}, S::kReplyingQueued},
      {{S::kReplying, E::kRetired}, S::kIdle},
      {{S::kReplying, E::kEndpointGone}, S::kIdle},
      {{S::kRunningQueued, E::kAnswerUnsent}, S::kRunning},
      {{S::kRunningQueued, E::kCancel}, S::kRunning},
      {{S::kRunningQueued, E::kEndpointGone}, S::kRunning},
      {{S::kReplyingQueued, E::kRetired}, S::kRunning},
      {{S::kReplyingQueued, E::kCancel}, S::kReplying},
      {{S::kReplyingQueued, E::kEndpointGone}, S::kIdle},
  };
  for (S state : {S::kIdle, S::kRunning, S::kReplying, S::kRunningQueued, S::kReplyingQueued})
    for (E event : {E::kRequest, E::kReplay, E::kAnswer, E::kAnswerUnsent, E::kRetired, E::kCancel, E::kEndpointGone}) {
      auto expected = allowed.find({state, event});
      std::optional<S> next = Next(state, event);
      ASSERT_EQ(next.has_value(), expected != allowed.end()) << static_cast<int>(state) << " " << static_cast<int>(event);
      if (next) {
        EXPECT_EQ(*next, expected->second);
      }
    }
}


TEST(ClientSlots, WritesLeaveSlotsForOthers) {
  ClientSlots slots(32, 8, 1);
  int bulk_writes = 0, dry_writes = 0;
  std::vector<std::unique_ptr<Call>> calls;
  auto take = [&](wire::Opcode opcode, CallLane lane, std::uint32_t bulk) {
    calls.push_back(std::make_unique<Call>(nullptr));
    calls.back()->info = FindOpcode(opcode);
    calls.back()->lane = lane;
    calls.back()->bulk_bytes = bulk;
    return slots.Take(*calls.back()) != kNoSlot;
  };
  while (take(wire::Opcode::kWriteBack, CallLane::kWrite, 4096)) ++bulk_writes;
  while (take(wire::Opcode::kAppendPages, CallLane::kWrite, 0)) ++dry_writes;
  EXPECT_EQ(bulk_writes, 6);
  EXPECT_EQ(bulk_writes + dry_writes, 24);
  EXPECT_TRUE(take(wire::Opcode::kFetchPages, CallLane::kBulk, 0));
  EXPECT_TRUE(take(wire::Opcode::kFetchPages, CallLane::kBulk, 0));
  EXPECT_FALSE(take(wire::Opcode::kFetchPages, CallLane::kBulk, 0));
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(take(wire::Opcode::kTrim, CallLane::kPlain, 0)) << i;
  EXPECT_FALSE(take(wire::Opcode::kTrim, CallLane::kPlain, 0));
  EXPECT_EQ(slots.in_use(), 32u);
}

TEST(ClientSlots, ASequenceIsNeverUsedTwiceAndStartsWhereTold) {
  ClientSlots slots(1, 0, 100);
  Call call(nullptr);
  call.info = FindOpcode(wire::Opcode::kTrim);
  EXPECT_EQ(slots.expected()[0].sequence, 0u);
  for (std::uint64_t sequence = 100; sequence < 110; ++sequence) {
    ASSERT_EQ(slots.Take(call), 0);
    EXPECT_EQ(slots.sequence(0), sequence);
    slots.Apply(0, SlotEvent::kExpire);
    EXPECT_EQ(slots.quarantined(), 1u);
    EXPECT_TRUE(slots.expected()[0].open);  // its reply is still taken
    EXPECT_EQ(slots.Take(call), kNoSlot);
    slots.Apply(0, SlotEvent::kCancelAck);
    slots.Apply(0, SlotEvent::kRetired);
    EXPECT_EQ(slots.quarantined(), 0u);
  }
  EXPECT_EQ(slots.in_use(), 0u);
}

TEST(ClientSlots, APeerWithLessLimitsUs) {
  ClientSlots slots(32, 8, 1);
  slots.Limit(4, 0);
  Call call(nullptr);
  call.info = FindOpcode(wire::Opcode::kTrim);
  for (int i = 0; i < 4; ++i) EXPECT_NE(slots.Take(call), kNoSlot);
  EXPECT_EQ(slots.Take(call), kNoSlot);
  Call fetch(nullptr);
  fetch.info = FindOpcode(wire::Opcode::kFetchPages);
  fetch.lane = CallLane::kBulk;
  EXPECT_EQ(slots.Take(fetch), kNoSlot);
}

TEST(BackOff, DoublesToTwoSecondsAndKeepsAtLeastHalf) {
  EXPECT_EQ(BackOffNs(0, 0), 10'000'000u);
  EXPECT_EQ(BackOffNs(3, 0), 80'000'000u);
  EXPECT_EQ(BackOffNs(1000, 0), 2'000'000'000u);
  for (std::uint32_t failures = 0; failures < 40; ++failures) {
    EXPECT_GE(BackOffNs(failures, ~0u), BackOffNs(failures, 0) / 2);
    EXPECT_LT(BackOffNs(failures, ~0u), BackOffNs(failures, 0));
  }
}

TEST(Codes, EachHasItsStatus) {
  EXPECT_TRUE(ToStatus(Code::kOk, "x").ok());
  EXPECT_TRUE(ToStatus(Code::kAlready, "x").ok());
  EXPECT_TRUE(ToStatus(Code::kSuperseded, "x").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(ToStatus(Code::kStaleEpoch, "x")));
  EXPECT_TRUE(absl::IsResourceExhausted(ToStatus(Code::kExhausted, "x")));
  EXPECT_TRUE(absl::IsDataLoss(ToStatus(Code::kDataLoss, "x")));
  EXPECT_TRUE(absl::IsAborted(ToStatus(Code::kOutcomeUnknown, "x")));
  EXPECT_TRUE(absl::IsInvalidArgument(ToStatus(Code::kMalformed, "x")));
  EXPECT_TRUE(absl::IsUnimplemented(ToStatus(Code::kUnknownOpcode, "x")));
  EXPECT_TRUE(absl::IsNotFound(ToStatus(Code::kNotFound, "x")));
  EXPECT_TRUE(absl::IsUnavailable(ToStatus(Code::kUnavailable, "x")));
  EXPECT_TRUE(absl::IsUnavailable(ToStatus(static_cast<Code>(99), "x")));
}

TEST(Opcodes, OnlyUnmapMayNotRunTwice) {
  for (std::uint16_t opcode = 0; opcode < kOpcodeEnd; ++opcode) {
    const OpcodeInfo* info = FindOpcode(opcode);
    if (info == nullptr) continue;
    EXPECT_EQ(static_cast<std::uint16_t>(info->opcode), opcode);
    EXPECT_LE(info->max_request_payload, wire::kMaxPayloadBytes);
    EXPECT_LE(info->max_reply_payload, wire::kMaxPayloadBytes);
    EXPECT_EQ(info->retry == RetryClass::kAtMostOnce, info->opcode == wire::Opcode::kUnmapExtents);
    if (info->retry == RetryClass::kAtMostOnce) {  // its repeat must be answered from the cache
      EXPECT_TRUE(info->cacheable);
      EXPECT_EQ(info->max_reply_bulk, 0u);
    }
  }
  EXPECT_EQ(FindOpcode(std::uint16_t{0}), nullptr);
  EXPECT_EQ(FindOpcode(std::uint16_t{5}), nullptr);
  EXPECT_EQ(FindOpcode(std::uint16_t{65535}), nullptr);
}

}  // namespace
}  // namespace ashlar::fit
