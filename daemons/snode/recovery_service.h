// What a snode does for those who lost something: fences a space for its pnode, hands back the exact versions it keeps,
// says what it keeps (Compare) and what it lost (SpaceState). It checks every field of a request.
//
// Threads: only the shard's.
#pragma once

#include <cstdint>
#include <functional>

#include "common/fit/server.h"
#include "daemons/snode/replica_log/replica_log.h"

namespace ashlar::snode {

class RecoveryService {
 public:
  // `malformed` answers a request that breaks the protocol. `log` outlives this; its callbacks do not use it.
  RecoveryService(ReplicaLog& log, std::function<void(fit::ReplyWriter)> malformed)
      : log_(log), malformed_(std::move(malformed)) {}

  // The caller must be the owner it names. kStaleEpoch: a higher epoch, or the same of another owner, is in force.
  void Fence(const fit::RequestView& request, fit::ReplyWriter reply);
  void RecoverRead(const fit::RequestView& request, fit::ReplyWriter reply);
  void Compare(const fit::RequestView& request, fit::ReplyWriter reply);
  void SpaceState(const fit::RequestView& request, fit::ReplyWriter reply);

 private:
  // nullptr: answered already, because the reader's epoch is not the one in force.
  const SpaceRecord* FindFor(std::uint64_t space, std::uint64_t epoch, fit::ReplyWriter* reply) const;

  ReplicaLog& log_;
  std::function<void(fit::ReplyWriter)> malformed_;
};

}  // namespace ashlar::snode
