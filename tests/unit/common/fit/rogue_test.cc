// A client that was let in and then breaks every rule: it costs itself the connection, and nobody else anything.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "common/base/mapping.h"
#include "common/fit/handshake.h"
#include "common/fit/validate.h"
#include "tests/unit/common/fit/world.h"

namespace ashlar::fit {
namespace {

constexpr NodeId kRogueNode{0xBAD};

// The client's half of the protocol by hand, on a bare endpoint.
class Rogue {
 public:
  explicit Rogue(World& world) : world_(world), memory_(*Mapping::Anonymous(64 * kPageBytes)) {
    device_ = world.network.OpenDevice();
    domain_ = *device_->OpenDomain();
    queue_ = *device_->OpenQueue(4096);
    region_ = *domain_->Register(memory_.bytes());
  }
  bool Enter() {
    LinkGrant grant = *world_.server->IssueLink({kRogueNode, Incarnation(1), 0});
    epoch_ = grant.connection_epoch;
    wire::Hello hello = MakeHello(grant.token, {.token_id = grant.token_id, .connection_epoch = epoch_, .shard = 0, .slots = 32});
    endpoint_ = *device_->Connect(grant.address, *domain_, *queue_, {.epoch_seed = static_cast<std::uint32_t>(epoch_)},
                                  std::as_bytes(std::span(&hello, 1)), 1'000'000'000);
    for (std::uint32_t i = 0; i < 64; ++i) {
      fabric::Slice cell{region_.get(), 8192 + i * 64, 64};
      fabric::WorkRequest receive{.op = fabric::Op::kReceive, .local = std::span(&cell, 1)};
      if (!endpoint_->Receive(std::span(&receive, 1)).ok()) return false;
    }
    if (!world_.RunUntil([&] { return Poll(), endpoint_->state() == fabric::EndpointState::kReady; }, 50)) return false;
    auto window = *endpoint_->Grant({region_.get(), 16 * kPageBytes, 48 * kPageBytes}, fabric::Access::kRemoteWrite);
    wire::ArenaHello arena{.slots = 32, .connection_epoch = epoch_, .node_id = kRogueNode.value(), .incarnation = 1,
                           .arena_key = window.key.value(),
                           .arena_bytes = static_cast<std::uint32_t>(wire::ArenaShape{32, 0}.Bytes()),
                           .arena_base = window.base, .bulk_slots = 0, .bulk_pages = wire::kBulkPages, .caps = 0, .reserved = 0};
    SealArenaHello(arena);
    std::memcpy(memory_.bytes().data(), &arena, sizeof(arena));
    fabric::Slice out{region_.get(), 0, sizeof(arena)};
    fabric::WorkRequest send{.op = fabric::Op::kSend, .signalled = true, .local = std::span(&out, 1)};
    if (!endpoint_->Post(std::span(&send, 1)).ok()) return false;
    std::memcpy(&server_, memory_.bytes().data() + 8192, sizeof(server_));
    return world_.RunUntil([&] {
      Poll();
      std::memcpy(&server_, memory_.bytes().data() + 8192, sizeof(server_));
      return server_.magic == wire::kMagic;
    }, 50);
  }
  // A frame of `bytes` in the slot that `imm` names, or wherever it fits.
  bool Write(std::uint32_t imm, std::span<const std::byte> bytes) {
    std::copy(bytes.begin(), bytes.end(), memory_.bytes().begin() + kPageBytes / 2);
    fabric::Slice out{region_.get(), kPageBytes / 2, static_cast<std::uint32_t>(bytes.size())};
    fabric::WorkRequest write{.op = fabric::Op::kWriteWithImm, .signalled = true, .imm = imm, .local = std::span(&out, 1),
                              .window = {fabric::RemoteKey(server_.arena_key), server_.arena_base, server_.arena_bytes},
                              .offset = wire::ArenaShape{32, 8}.SlotOffset(wire::ImmSlot(imm) % 32)};
    return endpoint_->Post(std::span(&write, 1)).ok();
  }
  wire::Header Header(std::uint32_t slot, std::uint64_t sequence) const {
    return {.opcode = static_cast<wire::u16>(wire::Opcode::kTrim), .sequence = sequence, .connection_epoch = epoch_,
            .sender_incarnation = 1, .slot = slot, .time_us = 1'000'000};
  }
  bool WriteRequest(std::uint32_t slot, std::uint64_t sequence, std::uint16_t opcode = static_cast<wire::u16>(wire::Opcode::kTrim)) {
    wire::Header header = Header(slot, sequence);
    header.opcode = opcode;
    SealHeader(header, {});
    return Write(wire::Imm(wire::Kind::kRequest, slot, sequence, 0), std::as_bytes(std::span(&header, 1)));
  }
  void Poll() {
    fabric::Completion completions[64];
    while (queue_->Poll(completions) > 0) {
    }
  }
  bool ThrownOut() {
    return world_.RunUntil([&] { return Poll(), endpoint_->state() == fabric::EndpointState::kError; }, 50);
  }

 private:
  World& world_;
  Mapping memory_;
  std::unique_ptr<fabric::Device> device_;
  std::unique_ptr<fabric::Domain> domain_;
  std::unique_ptr<fabric::CompletionQueue> queue_;
  std::unique_ptr<fabric::Region> region_;
  std::unique_ptr<fabric::Endpoint> endpoint_;
  std::uint64_t epoch_ = 0;
  wire::ArenaHello server_{};
};

void ExpectOthersAreServed(World& world) {
  TestCall call;
  ASSERT_TRUE(world.Start(call, "still here").ok());
  ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 100));
  EXPECT_EQ(Text(call.payload), "still here");
  EXPECT_EQ(world.downs, 0);
}

TEST(FitRogue, RandomFramesAreCountedAndCostTheConnection) {
  World world;
  ASSERT_TRUE(world.Connect());
  std::minstd_rand random(11);
  for (std::uint64_t round = 1; round <= 100; ++round) {
    Rogue rogue(world);
    ASSERT_TRUE(rogue.Enter()) << round;
    std::vector<std::byte> bytes(random() % 500);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    ASSERT_TRUE(rogue.Write(static_cast<std::uint32_t>(random() * 2654435761u), bytes));
    ASSERT_TRUE(rogue.ThrownOut()) << round;
    EXPECT_EQ(world.ServerStat("fit_reject_total"), round);
  }
  EXPECT_EQ(world.handler.handled, 0);
  ExpectOthersAreServed(world);
}

TEST(FitRogue, AGoodRequestOfItIsServedAndAnUnknownOpcodeAnswered) {
  World world;
  ASSERT_TRUE(world.Connect());
  Rogue rogue(world);
  ASSERT_TRUE(rogue.Enter());
  ASSERT_TRUE(rogue.WriteRequest(3, 1));
  ASSERT_TRUE(rogue.WriteRequest(4, 1, 999));
  ASSERT_TRUE(world.RunUntil([&] { return rogue.Poll(), world.handler.handled == 1; }, 10));
  world.Run(2);
  EXPECT_EQ(world.ServerStat("fit_unknown_opcode_total"), 1u);
  EXPECT_EQ(world.ServerStat("fit_reject_total"), 0u);
}

TEST(FitRogue, ASlotUsedAgainWithoutItsAnswerCostsTheConnection) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [&](const RequestView&, ReplyWriter reply) { world.kept.push_back(std::move(reply)); };
  Rogue rogue(world);
  ASSERT_TRUE(rogue.Enter());
  ASSERT_TRUE(rogue.WriteRequest(3, 1));
  ASSERT_TRUE(world.RunUntil([&] { return world.handler.handled == 1; }, 10));
  ASSERT_TRUE(rogue.WriteRequest(3, 2));
  ASSERT_TRUE(rogue.ThrownOut());
  EXPECT_EQ(world.ServerStat("fit_reject_total", "reason=slot_state"), 1u);
  world.handler.on_request = nullptr;
  ExpectOthersAreServed(world);
  world.kept.clear();  // its answer goes nowhere
}

TEST(FitRogue, AFloodOfKeepAlivesEndsInAnErrorAndNotInMemory) {
  World world;
  ASSERT_TRUE(world.Connect());
  Rogue rogue(world);
  ASSERT_TRUE(rogue.Enter());
  bool refused = false;
  for (int i = 0; i < 2000 && !refused; ++i) {
    refused = !rogue.Write(wire::Imm(wire::Kind::kControl, 0, 0, wire::kKeepAlive), {});
    if (i % 7 == 0) world.Turn();
    rogue.Poll();
  }
  EXPECT_TRUE(rogue.ThrownOut());
  ExpectOthersAreServed(world);
}

}  // namespace
}  // namespace ashlar::fit
