// One endpoint and what both ends do with it: posts what a turn gathered, keeps the ledger of what each work request was
// for, exchanges arena hellos, answers keep-alives, notices silence, and goes down in order: Fail → drain → destroy.
//
// The client's Connection and the server's sessions own one each and hear from it by LinkOwner. Only on the shard's
// thread. Invariant: each tag given to Add comes back by OnRetired exactly once, before or in OnGone.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "common/fit/arena.h"
#include "common/fit/shard_impl.h"
#include "common/fit/validate.h"
#include "common/telemetry/histogram.h"

namespace ashlar::fit {

// What a work request was for.
struct WorkTag {
  enum class Kind : std::uint8_t { kControl, kFrame, kBulk, kRead, kRevoke };
  Kind kind = Kind::kControl;
  std::uint16_t slot = 0;
  void* owner = nullptr;
  std::uint64_t number = 0;
};

class LinkOwner {
 public:
  virtual ~LinkOwner() = default;
  // The endpoint is connected; an error refuses the peer (client: its hello is not proved).
  virtual absl::Status OnConnected(std::span<const std::byte> peer_hello) = 0;
  virtual void OnUp() = 0;                                            // arenas are known both ways
  virtual void OnFrame(std::uint32_t imm, std::uint32_t byte_len) = 0;  // kinds 1 and 2, not validated
  virtual void OnControl(std::uint32_t imm) = 0;                      // kCancel, kCancelAck; validated
  virtual void OnRetired(const WorkTag& tag, bool succeeded) = 0;     // no work request names its memory any more
  virtual void OnFailed(const absl::Status& reason) = 0;              // once; the link drains from now on
  virtual void OnGone() = 0;                                          // the endpoint is destroyed; the last call
};

// Written by the shard's thread, read by any.
struct LinkCounters {
  std::array<Counter, kVerdictCount> rejects;
  Counter posts, work_requests, failed_completions, keep_alives;
  Histogram batch_size;
  Histogram drain_ns;
};

class Link final : public TurnMember {
 public:
  enum class State : std::uint8_t { kConnecting, kGreeting, kUp, kDraining, kGone };
  struct Options {
    bool is_client = false;
    PeerIdentity peer;
    std::uint16_t slots = 0;
    std::uint32_t send_depth = 0;
    std::uint64_t keep_alive_ns = 0;  // client: probes after that; server: how often it looks
    std::uint64_t silence_ns = 0;     // then the peer is given up
  };

  // `endpoint` was made with EndpointOptionsFor(options), the arena with Cells(slots). Begin comes next.
  Link(ShardImpl& shard, const Options& options, std::unique_ptr<fabric::Endpoint> endpoint, std::shared_ptr<Arena> arena,
       LinkOwner& owner, LinkCounters& counters);
  ~Link() override;
  void Begin();

  // Requests or replies, cancels or their answers, keep-alives, the hello.
  static std::uint32_t ReceiveCells(std::uint32_t slots) { return 2 * slots + 8; }
  static std::uint32_t Cells(std::uint32_t slots) { return ReceiveCells(slots) + 1; }  // the last: our own hello
  static fabric::EndpointOptions EndpointOptionsFor(const Options& options);

  State state() const { return state_; }
  bool up() const { return state_ == State::kUp; }
  Arena& arena() { return *arena_; }
  const std::shared_ptr<Arena>& shared_arena() { return arena_; }
  fabric::Endpoint& endpoint() { return *endpoint_; }
  const wire::ArenaShape& peer_shape() const { return peer_shape_; }
  fabric::RemoteWindow peer_window() const { return peer_window_; }
  std::uint64_t connection_epoch() const { return options_.peer.connection_epoch; }

  // Gathers a work request for the end of the turn; its slices are copied. Only while up (or greeting: the hello).
  void Add(const fabric::WorkRequest& request, const WorkTag& tag);
  void AddControl(std::uint32_t slot, std::uint64_t sequence, std::uint32_t code);
  // FIT's answer to a frame that must not be believed.
  void Reject(Verdict verdict);
  void Fail(const absl::Status& reason);
  // Ends it now, drained or not. OnGone runs inside.
  void Destroy();
  std::size_t posted() const { return static_cast<std::size_t>(tail_ - head_) + batch_.size(); }

  void OnCompletion(const fabric::Completion& completion) override;
  int Tick() override;
  void Flush() override;

  // Revocations of the owner, which Add does not know, use this space of wr_ids; they come back as kRevoke.
  static constexpr std::uint32_t kMaxRevocations = 64;  // under way at one time
  static fabric::WrId RevokeWrId(std::uint64_t number) { return fabric::WrId(kRevokeBit | number); }

 private:
  struct Posted {
    WorkTag tag;
    std::uint64_t posted_ns = 0;
    bool signalled = false;
    bool retired = true;
  };
  struct Gathered {
    fabric::WorkRequest request;
    WorkTag tag;
    std::uint32_t first_slice = 0, slice_count = 0;
  };
  static constexpr std::uint64_t kReceiveBit = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kRevokeBit = std::uint64_t{1} << 62;
  static constexpr std::size_t kBatchRequests = 32;
  static constexpr std::uint64_t kBatchBytes = 256 * 1024;
  static constexpr std::uint64_t kDrainNs = 500'000'000;
  static constexpr std::uint64_t kOldestWorkNs = 1'000'000'000;

  void Greet();
  absl::Status PostReceives();
  void RepostReceives();
  bool CheckPost(const absl::Status& status);
  void WantFlush();
  void OnSucceeded(const fabric::Succeeded& completion);
  void OnReceive(const fabric::Succeeded& completion, std::uint32_t cell);
  void OnArenaHello(std::uint32_t byte_len, std::uint32_t cell);
  void OnControlFrame(std::uint32_t imm, std::uint32_t byte_len);
  void Retire(std::uint64_t number, bool succeeded);
  void DropHead();
  void OnHousekeeping();

  ShardImpl& shard_;
  const Options options_;
  LinkOwner& owner_;
  LinkCounters& counters_;
  State state_ = State::kConnecting;
  std::shared_ptr<Arena> arena_;  // outlives the endpoint
  std::unique_ptr<fabric::Endpoint> endpoint_;
  wire::ArenaShape peer_shape_;
  fabric::RemoteWindow peer_window_;
  bool heard_ = false;   // the peer's ArenaHello came
  bool flush_wanted_ = false;

  std::vector<Gathered> batch_;
  std::vector<fabric::Slice> gathered_slices_;  // of batch_, by Gathered::first_slice
  std::vector<fabric::WorkRequest> post_;        // one Post or Receive, while it is made
  std::vector<fabric::Slice> slices_;            // of the receives in it

  std::vector<Posted> ring_;  // by number; size a power of two
  std::uint64_t head_ = 0, tail_ = 0;
  std::uint64_t scan_ = 0;  // every unsignalled one below is retired

  std::vector<std::uint32_t> free_cells_;  // to be posted again at the flush
  Timer housekeeping_;
  std::uint64_t last_sent_ns_ = 0, last_received_ns_ = 0, drain_start_ns_ = 0;
  std::uint64_t first_probe_ns_ = 0, last_probe_ns_ = 0;
  std::uint32_t probes_ = 0;  // keep-alives not answered
};

}  // namespace ashlar::fit
