// The one-time rights to connect that a server has handed out, and the brake on those who have none.
//
// Threads: TokenTable is thread-safe (mutex_ is a leaf); FailureBrake belongs to one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/fit/handshake.h"
#include "common/fit/server.h"

namespace ashlar::fit {

class TokenTable {
 public:
  static constexpr std::size_t kMaxOpen = 4096;

  struct Entry {
    Token token{};
    Client client;
    std::uint64_t connection_epoch = 0;
    std::uint64_t expires_ns = 0;
  };
  struct Issued {
    std::uint64_t token_id = 0;
    Token token{};
  };

  explicit TokenTable(std::uint64_t ttl_ns) : ttl_ns_(ttl_ns) {}

  // ResourceExhausted: kMaxOpen are open and none has expired.
  absl::StatusOr<Issued> Issue(const Client& client, std::uint64_t connection_epoch, std::uint64_t now_ns)
      ABSL_LOCKS_EXCLUDED(mutex_);
  bool IsOpen(std::uint64_t token_id, std::uint64_t now_ns) const ABSL_LOCKS_EXCLUDED(mutex_);
  // The entry, which is used up, if the hello was made with the token and fits what it was issued for. Unauthenticated
  // otherwise; a wrong MAC leaves the token to its owner.
  absl::StatusOr<Entry> Redeem(const wire::Hello& hello, std::uint64_t now_ns) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const std::uint64_t ttl_ns_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::uint64_t, Entry> open_ ABSL_GUARDED_BY(mutex_);  // by token_id
};

// More than 10 failed hellos in a second from one source: its strangers are turned away unread for the next one. A hello
// that names an open token is read nevertheless, or a flood from one program would lock out its host.
class FailureBrake {
 public:
  static constexpr std::uint32_t kMaxFailures = 10;
  static constexpr std::size_t kMaxSources = 1024;

  bool Closed(std::string_view source, std::uint64_t now_ns) const;
  // True when this failure closed it: the one to log.
  bool RecordFailure(std::string_view source, std::uint64_t now_ns);

 private:
  struct Source {
    std::uint64_t window_start_ns = 0;
    std::uint32_t failures = 0;
    std::uint64_t closed_until_ns = 0;
  };
  absl::flat_hash_map<std::string, Source> sources_;
};

}  // namespace ashlar::fit
