// The smallest set of verbs FIT needs: reliable connections, registered regions with keys and bounds, SEND, WRITE,
// WRITE_WITH_IMM, READ, a completion queue with statuses and an event fd. Backends: tcp/, shm/, memory/ (tests); later
// verbs/. One conformance suite passes on all. The rules every backend keeps (O1–O3, C1–C3, B1–B2, E1–E3, N1) stand in
// common/fabric/README.md.
//
// Iron rule: memory that a peer may still touch is given back only by its completion or by the destruction of the
// drained endpoint, never by a timeout.
//
// Threads: a Device is thread-safe; everything made from it belongs to one thread at a time (its shard's).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/telemetry/stat_list.h"

namespace ashlar::fabric {

enum class Status : std::uint8_t {
  kFlushed = 1, kRemoteAccess, kRemoteOperation, kLocalProtection, kLocalLength, kRetryExceeded, kRnrExceeded, kFatal
};
enum class Op : std::uint8_t { kSend = 1, kWrite, kWriteWithImm, kRead, kRevoke, kReceive, kReceiveImm };
enum class EndpointState : std::uint8_t { kConnecting, kReady, kError, kDraining, kDead };

using WrId = StrongId<struct WrIdTag>;              // the caller's own name for a work request; returned, never interpreted
using EndpointId = StrongId<struct EndpointIdTag>;  // never reused in one process
using RemoteKey = StrongId<struct RemoteKeyTag, std::uint32_t>;  // index + generation; never reused within a connection

// What ended. A failed work request tells four things and nothing else: verbs defines no opcode, length or immediate for
// it, so they do not exist here.
struct Succeeded {
  WrId wr_id;
  EndpointId endpoint;
  Op op = Op::kSend;
  std::uint32_t byte_len = 0;  // receives only, else 0
  std::uint32_t imm = 0;       // kReceiveImm only, else 0
};
struct Failed {
  WrId wr_id;
  EndpointId endpoint;
  Status status = Status::kFatal;
  std::uint32_t vendor = 0;
};
using Completion = std::variant<Succeeded, Failed>;  // read with std::visit; there is no common accessor

enum class Access : std::uint8_t { kRemoteRead = 1, kRemoteWrite = 2, kRemoteReadWrite = 3 };

// Registered memory. The bytes must outlive it, and it must outlive the last completion that names it and every window on
// it; destroying it earlier is a bug and is checked.
class Region {
 public:
  virtual ~Region() = default;
  virtual std::span<std::byte> bytes() const = 0;
};

// Sent to a peer; base + offset is what verbs calls remote_addr.
struct RemoteWindow {
  RemoteKey key;
  std::uint64_t base = 0;
  std::uint64_t bytes = 0;
};
struct Slice {
  Region* region = nullptr;
  std::uint64_t offset = 0;
  std::uint32_t bytes = 0;
};

struct WorkRequest {
  WrId wr_id;
  Op op = Op::kSend;       // kSend, kWrite, kWriteWithImm, kRead; kReceive in Receive()
  bool signalled = false;  // else success is silent (a failure never is)
  bool solicited = false;  // wakes a peer that sleeps on its event fd
  bool fence = false;      // waits for earlier READs of this endpoint
  std::uint32_t imm = 0;
  std::span<const Slice> local;  // <= caps.max_slices; gathered (scattered for kRead and receives)
  RemoteWindow window;           // kWrite, kWriteWithImm, kRead
  std::uint64_t offset = 0;      // into the window; checked against window.bytes before posting AND by the target
};

struct Caps {
  std::uint32_t max_inline = 0;
  std::uint32_t max_slices = 1;
  std::uint32_t max_message = 0;  // bytes
  std::uint32_t max_reads = 1;    // READs in flight per endpoint; further ones queue inside
  bool native_imm = true;
  bool revocable = true;
};

// Sized at creation; nothing is allocated per request after that.
struct EndpointOptions {
  std::uint32_t send_depth = 256;     // requests posted and not completed
  std::uint32_t receive_depth = 128;
  std::uint32_t max_windows = 65536;  // granted at one time
  std::uint64_t silence_ns = 500'000'000;  // unacknowledged bytes older than this: the peer is gone
  // Low half of the connection epoch, the same on both sides; 0 = none. tcp seeds its header checksums with it, so bytes of
  // an older connection between the same two nodes are refused.
  std::uint32_t epoch_seed = 0;
};

// Connection set-up carries one opaque hello each way (56 bytes at most, the private data limit of rdma_cm).
constexpr std::size_t kMaxHelloBytes = 56;

class CompletionQueue;

// A reliable, ordered connection. Post, Receive, Grant, Revoke and Fail do the checking and the ledger once, for every
// backend (endpoint.h implements them over the Do… functions of a backend).
class Endpoint {
 public:
  virtual ~Endpoint() = default;  // kDead: the peer's writes have ended; what is left in the ledger is reported kFlushed first
  virtual EndpointId id() const = 0;
  virtual absl::Status Post(std::span<const WorkRequest> batch) = 0;       // one doorbell / one writev. All or nothing
  virtual absl::Status Receive(std::span<const WorkRequest> buffers) = 0;  // each >= 32 B
  virtual absl::StatusOr<RemoteWindow> Grant(Slice slice, Access access) = 0;  // valid for the peer in anything posted behind it
  virtual absl::Status Revoke(RemoteWindow window, WrId wr_id) = 0;  // its kRevoke completion: the peer can't reach the bytes
  virtual void Fail(absl::Status reason) = 0;                        // idempotent, returns at once, state kError, sticky
  virtual EndpointState state() const = 0;
  virtual absl::Status reason() const = 0;
  virtual std::size_t outstanding() const = 0;  // requests and receives whose completion was not polled yet
  // The other side's hello: the connecting side's own view of HELLO_ACK (empty until kReady), or what Accept was given.
  virtual std::span<const std::byte> peer_hello() const = 0;
};

class CompletionQueue {
 public:
  virtual ~CompletionQueue() = default;
  virtual int Poll(std::span<Completion> out) = 0;  // never blocks; 0 = nothing now. Drives the progress of tcp endpoints
  virtual absl::Status Arm() = 0;                   // then Poll once more, only then sleep on event_fd()
  virtual int event_fd() const = 0;
};

// Regions and endpoints of one trust.
class Domain {
 public:
  virtual ~Domain() = default;
  virtual absl::StatusOr<std::unique_ptr<Region>> Register(std::span<std::byte> bytes) = 0;
};

// A peer that has connected and said its hello; nothing is registered or sized for it yet.
class PendingPeer {
 public:
  virtual ~PendingPeer() = default;  // not accepted: closed
  virtual std::span<const std::byte> hello() const = 0;
  virtual std::string address() const = 0;  // for logs and rate limits
  virtual absl::StatusOr<std::unique_ptr<Endpoint>> Accept(Domain& domain, CompletionQueue& queue,
                                                           const EndpointOptions& options,
                                                           std::span<const std::byte> hello_ack) = 0;
};

// Accepts connections on one address. Strangers that say nothing are dropped after a second, at most 64 wait at a time.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual std::string address() const = 0;  // with the port that was really bound
  virtual int event_fd() const = 0;         // readable when Accept may have something
  virtual std::unique_ptr<PendingPeer> Accept() = 0;  // nullptr = none now; also drops the silent ones
};

class Device {  // one tcp bind address, one NIC port, or the shared memory of this host
 public:
  virtual ~Device() = default;
  virtual std::string_view backend() const = 0;  // "tcp"
  virtual const Caps& caps() const = 0;
  virtual absl::StatusOr<std::unique_ptr<Domain>> OpenDomain() = 0;
  virtual absl::StatusOr<std::unique_ptr<CompletionQueue>> OpenQueue(int depth) = 0;
  virtual absl::StatusOr<std::unique_ptr<Listener>> Listen(std::string_view address) = 0;  // "127.0.0.1:7501", port 0 = any
  // Returns at once with an endpoint in kConnecting; Poll of its queue moves it to kReady (peer_hello is there then) or
  // kError. Receives may be posted before. A refused or silent address becomes kError within `connect_timeout_ns`.
  virtual absl::StatusOr<std::unique_ptr<Endpoint>> Connect(std::string_view address, Domain& domain, CompletionQueue& queue,
                                                            const EndpointOptions& options,
                                                            std::span<const std::byte> hello,
                                                            std::uint64_t connect_timeout_ns) = 0;
  virtual void CollectStats(StatList& stats) const = 0;  // any thread; fabric_* names, summed over the queues
};

}  // namespace ashlar::fabric
