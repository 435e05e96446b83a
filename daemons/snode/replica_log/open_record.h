// The data block of an `open` entry: under which epoch a space is kept here, for whom, and beside which other replicas.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/base/ids.h"
#include "daemons/snode/replica_log/batch_codec.h"

namespace ashlar::snode {

struct NodeInstance {
  NodeId node;
  Incarnation incarnation;
  friend bool operator==(const NodeInstance&, const NodeInstance&) = default;
};

struct ReplicaRef {
  NodeId node;
  std::uint32_t state = 0;  // 1 copying, 2 current, 3 former
  friend bool operator==(const ReplicaRef&, const ReplicaRef&) = default;
};

constexpr std::size_t kMaxReplicas = 8;

struct OpenRecord {
  Epoch epoch;
  std::uint64_t view = 0;            // 0 = only fenced so far, no home has opened it here
  NodeInstance owner;                // the pnode
  NodeInstance home;                 // node 0 = none yet
  std::uint64_t era = 0;             // highest seen when this was written
  std::uint32_t ack = 0;             // fit level wanted: 1 memory, 2 disk, 3 disk:2; 0 = none yet
  std::vector<ReplicaRef> replicas;  // at most kMaxReplicas
  friend bool operator==(const OpenRecord&, const OpenRecord&) = default;
};

void EncodeOpen(const OpenRecord& record, disk::Block out);

// nullopt: not understood (its CRC was right, so it was written by another release).
std::optional<OpenRecord> DecodeOpen(disk::ConstBlock block);

}  // namespace ashlar::snode
