#include "daemons/snode/replica_log/open_record.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/base/check.h"

namespace ashlar::snode {
namespace {

constexpr std::array<char, 8> kMagic = {'A', 'S', 'H', 'L', 'R', 'O', 'P', 'N'};

struct WireReplica {
  std::uint64_t node;
  std::uint32_t state;
  std::uint32_t zero;
};
struct WireOpen {                                  // offset
  std::array<char, 8> magic;                       //  0
  std::uint16_t format;                            //  8
  std::uint16_t replica_count;                     // 10
  std::uint32_t ack;                               // 12
  std::uint64_t epoch;                             // 16
  std::uint64_t view;                              // 24
  std::uint64_t era;                               // 32
  std::uint64_t owner_node;                        // 40
  std::uint64_t owner_incarnation;                 // 48
  std::uint64_t home_node;                         // 56
  std::uint64_t home_incarnation;                  // 64
  std::array<WireReplica, kMaxReplicas> replicas;  // 72; zero to 4096
};
static_assert(sizeof(WireOpen) == 72 + 16 * kMaxReplicas && offsetof(WireOpen, replicas) == 72);

}  // namespace

void EncodeOpen(const OpenRecord& record, disk::Block out) {
  ASHLAR_CHECK(record.replicas.size() <= kMaxReplicas, "replicas={}", record.replicas.size());
  WireOpen wire{.magic = kMagic,
                .format = disk::kFormat,
                .replica_count = static_cast<std::uint16_t>(record.replicas.size()),
                .ack = record.ack,
                .epoch = record.epoch.value(),
                .view = record.view,
                .era = record.era,
                .owner_node = record.owner.node.value(),
                .owner_incarnation = record.owner.incarnation.value(),
                .home_node = record.home.node.value(),
                .home_incarnation = record.home.incarnation.value(),
                .replicas = {}};
  for (std::size_t i = 0; i < record.replicas.size(); ++i)
    wire.replicas[i] = {record.replicas[i].node.value(), record.replicas[i].state, 0};
  std::fill(out.begin(), out.end(), std::byte{0});
  std::memcpy(out.data(), &wire, sizeof(wire));
}

std::optional<OpenRecord> DecodeOpen(disk::ConstBlock block) {
  WireOpen wire;
  std::memcpy(&wire, block.data(), sizeof(wire));
  if (wire.magic != kMagic || wire.format != disk::kFormat || wire.replica_count > kMaxReplicas || wire.epoch == 0)
    return std::nullopt;
  OpenRecord record{.epoch = Epoch(wire.epoch),
                    .view = wire.view,
                    .owner = {NodeId(wire.owner_node), Incarnation(wire.owner_incarnation)},
                    .home = {NodeId(wire.home_node), Incarnation(wire.home_incarnation)},
                    .era = wire.era,
                    .ack = wire.ack,
                    .replicas = {}};
  for (std::size_t i = 0; i < wire.replica_count; ++i)
    record.replicas.push_back({NodeId(wire.replicas[i].node), wire.replicas[i].state});
  return record;
}

}  // namespace ashlar::snode
