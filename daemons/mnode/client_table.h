// Which pnodes have been here: their incarnations, and since when they are away. A newer incarnation replaces an older
// one; one that stays away for too long has given up (its programs were killed after its own `give_up`). Pure, no I/O.
//
// Threads: one thread at a time (the shard's).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "common/fit/server.h"
#include "daemons/mnode/pool/space.h"

namespace ashlar::mnode {

class ClientTable {
 public:
  enum class Seen { kKnown, kNew, kReplacedOlder, kIsOlder };
  struct Arrival {
    Seen seen = Seen::kKnown;
    SpaceOwner replaced;  // with kReplacedOlder: whose spaces end now
  };
  // A request came from that client. kIsOlder: it was replaced, answer nothing of it.
  Arrival Saw(const fit::Client& client);
  void WentAway(const fit::Client& client, std::uint64_t now_ns);
  // Those away since before `now_ns - bound_ns`; they are forgotten.
  std::vector<SpaceOwner> TakeGone(std::uint64_t now_ns, std::uint64_t bound_ns);
  bool anyone_away() const;

 private:
  struct State {
    Incarnation incarnation;
    absl::flat_hash_set<std::uint16_t> shards_up;
    std::uint64_t away_since_ns = 0;  // when the last shard went; valid if none is up
  };
  absl::flat_hash_map<NodeId, State> clients_;
};

}  // namespace ashlar::mnode
