// The part of an endpoint that is the same on every backend: checking before anything is posted, the ledger, the windows,
// the states. A backend moves bytes in DoPost and stops in DoFail, and reports through the protected functions.
//
// States: kConnecting → kReady → kError, or kConnecting → kError; kError is for good. Post needs kReady, Receive and Grant
// also take kConnecting. Fail flushes the ledger at once: after it no byte of the peer is placed any more.
//
// Threads: one at a time. A backend's destructor calls Close() first, while its own parts still exist.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/fabric/contract.h"
#include "common/fabric/ledger.h"
#include "common/fabric/queue.h"
#include "common/fabric/window_table.h"

namespace ashlar::fabric {

// The smallest receive: where a backend has no immediate of its own, it travels in the buffer.
constexpr std::uint32_t kMinReceiveBytes = 32;

class CheckedEndpoint : public Endpoint {
 public:
  struct Setup {
    const Caps* caps = nullptr;  // of the device
    const Domain* domain = nullptr;
    QueueBase* queue = nullptr;
    EndpointOptions options;
    std::uint64_t window_base = 0;  // see WindowTable
    FabricCounters* counters = nullptr;  // nullptr: the queue's
  };
  // What may be wrong with a set-up: depths of 0, a hello that is too long, no room in the queue.
  static absl::Status CheckSetup(const Setup& setup, std::span<const std::byte> hello);

  ~CheckedEndpoint() override;
  CheckedEndpoint(const CheckedEndpoint&) = delete;
  CheckedEndpoint& operator=(const CheckedEndpoint&) = delete;

  EndpointId id() const final { return id_; }
  absl::Status Post(std::span<const WorkRequest> batch) final;
  absl::Status Receive(std::span<const WorkRequest> buffers) final;
  absl::StatusOr<RemoteWindow> Grant(Slice slice, Access access) final;
  absl::Status Revoke(RemoteWindow window, WrId wr_id) final;
  void Fail(absl::Status reason) final { FailFor(std::move(reason), std::nullopt); }
  EndpointState state() const final { return state_; }
  absl::Status reason() const final { return reason_; }
  std::size_t outstanding() const final { return ledger_.outstanding(); }
  std::span<const std::byte> peer_hello() const final { return peer_hello_; }

  void Polled(Ledger::Side side);  // by the queue: one completion of this endpoint was handed out
  FabricCounters& counters() { return counters_; }

 protected:
  explicit CheckedEndpoint(const Setup& setup);

  // New entries stand at the end of ledger().sends(). A kRevoke entry moves no bytes.
  virtual void DoPost() = 0;
  // The state is kError, the ledger is about to be flushed: stop placing the peer's bytes, tell it if possible.
  virtual void DoFail() = 0;
  // New entries stand at the end of ledger().receives(). For a backend whose device must be told of them.
  virtual void DoReceive() {}
  // Windows by key, kept in windows() unless the device has keys of its own. DoRevoke: false = no such window; a kRevoke
  // entry for it follows, which ends when the backend succeeds it or InUse becomes false.
  virtual absl::StatusOr<RemoteWindow> DoGrant(CountedRegion& region, std::uint64_t offset, std::uint64_t bytes, Access access) {
    return windows_.Grant(region, offset, bytes, access);
  }
  virtual bool DoRevoke(const RemoteWindow& window) { return windows_.Revoke(window); }
  virtual bool InUse(RemoteKey key) const { return windows_.InUse(key); }

  Ledger& ledger() { return ledger_; }
  WindowTable& windows() { return windows_; }
  QueueBase& queue() { return queue_; }
  const EndpointOptions& options() const { return options_; }
  const Caps& caps() const { return caps_; }

  void BecomeReady(std::span<const std::byte> peer_hello);
  // That request and all before it which need no answer of their own have ended well; a token that is not current is
  // counted and dropped.
  void Succeed(LedgerToken token);
  void RetireDone();  // after Succeed and after an unpin
  void CompleteReceive(Op op, std::uint32_t byte_len, std::uint32_t imm);
  void FailFor(absl::Status reason, std::optional<Ledger::Cause> cause);
  // The cause a dead peer is for the oldest request; nothing if none is posted.
  std::optional<Ledger::Cause> OldestSend(Status status);
  // For the destructor of a backend: fails what is outstanding and leaves the queue.
  void Close();

 private:
  absl::Status CheckRequest(const WorkRequest& request) const;
  absl::Status CheckSlices(const WorkRequest& request, std::uint64_t* bytes) const;
  absl::Status CheckState(bool connecting_too) const;
  void Record(RequestRing& ring, const WorkRequest& request, Op op, bool signalled);
  void SetState(EndpointState state);

  const EndpointId id_;
  const Caps& caps_;
  const Domain* domain_;
  QueueBase& queue_;
  FabricCounters& counters_;
  const EndpointOptions options_;
  EndpointState state_ = EndpointState::kConnecting;
  absl::Status reason_;
  std::vector<std::byte> peer_hello_;
  bool closed_ = false;
  WindowTable windows_;
  Ledger ledger_;
};

}  // namespace ashlar::fabric
