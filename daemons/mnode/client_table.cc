#include "daemons/mnode/client_table.h"

namespace ashlar::mnode {

ClientTable::Arrival ClientTable::Saw(const fit::Client& client) {
  const auto [it, added] = clients_.try_emplace(client.node);
  State& state = it->second;
  if (added || client.incarnation == state.incarnation) {
    state.incarnation = client.incarnation;
    state.shards_up.insert(client.shard);
    return {added ? Seen::kNew : Seen::kKnown, {}};
  }
  if (client.incarnation < state.incarnation) return {Seen::kIsOlder, {}};
  const SpaceOwner replaced{client.node, state.incarnation};
  state = {client.incarnation, {client.shard}, 0};
  return {Seen::kReplacedOlder, replaced};
}

void ClientTable::WentAway(const fit::Client& client, std::uint64_t now_ns) {
  const auto it = clients_.find(client.node);
  if (it == clients_.end() || it->second.incarnation != client.incarnation) return;
  if (it->second.shards_up.erase(client.shard) > 0 && it->second.shards_up.empty()) it->second.away_since_ns = now_ns;
}

std::vector<SpaceOwner> ClientTable::TakeGone(std::uint64_t now_ns, std::uint64_t bound_ns) {
  std::vector<SpaceOwner> gone;
  absl::erase_if(clients_, [&](const auto& entry) {
    const auto& [node, state] = entry;
    if (!state.shards_up.empty() || now_ns - state.away_since_ns < bound_ns) return false;
    gone.push_back({node, state.incarnation});
    return true;
  });
  return gone;
}

bool ClientTable::anyone_away() const {
  for (const auto& [node, state] : clients_)
    if (state.shards_up.empty()) return true;
  return false;
}

}  // namespace ashlar::mnode
