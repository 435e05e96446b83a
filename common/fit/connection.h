// A client's standing link to one server: it connects, fails, drains and reconnects by itself; calls wait for it until
// their deadlines. Only on its shard's thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/fit/call.h"
#include "common/fit/link_report.h"
#include "common/fit/shard.h"

namespace ashlar::fit {

// The right to connect once, from the control path (Node.OpenLink over gRPC).
struct LinkGrant {
  std::array<std::byte, 16> token{};  // never crosses the fabric, only a MAC made with it does
  std::uint64_t token_id = 0;
  std::uint64_t connection_epoch = 0;
  std::string address;  // of the data path, "127.0.0.1:7502"
  NodeId server_node;
  Incarnation server_incarnation;
};

// Asks the control path for grants. The seam between FIT and gRPC.
class LinkOpener {
 public:
  virtual ~LinkOpener() = default;
  // Called on the shard's thread; does not block. `done` runs exactly once, on any thread (FIT moves it to the shard).
  virtual void OpenLink(absl::AnyInvocable<void(absl::StatusOr<LinkGrant>)> done) = 0;
};

struct ConnectionOptions {
  std::string peer;  // for logs and stats: "m1"
  NodeId server_node;
  std::uint16_t slots = 32;       // <= 1024
  std::uint16_t bulk_slots = 8;   // the first ones also own 64 pages of bulk at each end
  std::uint32_t max_queued = 1024;  // calls that wait for a slot or a connection
  std::uint64_t keep_alive_ns = 100'000'000;
  std::uint64_t suspect_ns = 500'000'000;  // silence after which the endpoint is given up
};

class ConnectionEvents {
 public:
  virtual ~ConnectionEvents() = default;
  // Ready to carry calls. A new incarnation is a different server: nothing the old one kept is there. Windows of earlier
  // endpoints are dead.
  virtual void OnUp(Incarnation server, std::uint64_t connection_epoch) = 0;
  virtual void OnDown(const absl::Status& reason) = 0;  // once per loss; reconnecting goes on by itself
};

class Connection {
 public:
  static absl::StatusOr<std::unique_ptr<Connection>> Create(Shard& shard, const ConnectionOptions& options,
                                                            LinkOpener& opener, ConnectionEvents* events);
  // Every call under way ends first: OnDone with Cancelled, then OnReleased. Not from inside a callback of its own.
  virtual ~Connection() = default;

  // OnDone runs exactly once, never from inside Start, at the latest one tick (1 ms) after `deadline`. `payload` is copied
  // before Start returns; the bulk (<= 256 KiB in all) is lent until OnReleased. ResourceExhausted: the queue is at its
  // bound, nothing was taken.
  [[nodiscard]] virtual absl::Status Start(wire::Opcode opcode, std::span<const std::byte> payload,
                                           std::span<const fabric::Slice> bulk, Deadline deadline, PendingCall& call) = 0;
  // One-sided: one batch, one OnDone; OK = all bytes of all pieces are here. FailedPrecondition: not connected; FIT does
  // not resend a READ. Windows die with their endpoint: reading through one granted before the last OnUp costs the
  // connection. The targets are lent until OnReleased.
  [[nodiscard]] virtual absl::Status Read(std::span<const RemoteCopy> pieces, Deadline deadline, PendingCall& call) = 0;
  // The same path as an expired deadline, ends with Cancelled. OnDone runs inside. Nothing if the call has ended.
  virtual void Cancel(PendingCall& call) = 0;

  virtual LinkState state() const = 0;
  virtual LinkReport report() const = 0;  // any thread
  virtual std::uint64_t connection_epoch() const = 0;  // of the endpoint in use; 0 = none
  virtual Incarnation server_incarnation() const = 0;  // last known
  virtual void CollectStats(StatList& stats) const = 0;  // any thread; label peer=
};

}  // namespace ashlar::fit
