// One end of an RDMA connection: a reliable connected queue pair and the rdma_cm id that brought it up.
//
// Sending: requests go from the ledger to the send queue in order, at most 16 a doorbell, never more under way than the
// endpoint's send depth; bindings of granted windows go before everything posted behind the Grant. The last of a doorbell,
// each 16th, each READ and what the caller wants to hear of are signalled; the rest ends silently behind them.
//
// Failing destroys the queue pair at once: after that neither the NIC nor the peer touches memory, so everything in the
// ledger can be reported. A queue pair is replaced, never reset.
//
// Threads: one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "common/fabric/endpoint.h"
#include "common/fabric/verbs/completion.h"
#include "common/fabric/verbs/greeting.h"
#include "common/fabric/verbs/phase.h"
#include "common/fabric/verbs/queue.h"
#include "common/fabric/verbs/windows.h"

namespace ashlar::fabric::verbs {

// A connection event, copied.
struct ConnectionNews {
  ConnectionEvent event = ConnectionEvent::kNothing;
  int status = 0;
  const char* name = "";
  std::vector<std::byte> answer;  // the peer's private data
};

// READs in flight that the side which connects asks for, as seen from the side that answers.
struct ReadLimits {
  std::uint8_t as_target = 0;
  std::uint8_t as_initiator = 0;
};

class VerbsEndpoint final : public CheckedEndpoint {
 public:
  struct Parts {
    Setup setup;
    std::shared_ptr<DeviceContext> device;
    VerbsDomain* domain = nullptr;
    VerbsQueue* queue = nullptr;
    std::string peer_name;
  };
  static absl::StatusOr<std::unique_ptr<VerbsEndpoint>> Connecting(const Parts& parts, SocketAddress peer, std::span<const std::byte> hello,
                                                                   std::uint64_t deadline_ns);
  // `id` came with a connection request. The answer goes out in the next Poll: receives can be posted before the peer sends.
  static absl::StatusOr<std::unique_ptr<VerbsEndpoint>> Accepted(const Parts& parts, Owned<rdma_cm_id> id, ReadLimits limits,
                                                                 std::span<const std::byte> peer_hello,
                                                                 std::span<const std::byte> hello_ack);
  ~VerbsEndpoint() override;

  // By the queue.
  void OnDone(const WorkDone& done);
  void OnFailed(const WorkFailed& failed);
  void OnConnection(const ConnectionNews& news);
  void OnDeviceEvent(std::string_view why);
  std::uint64_t OnTime(std::uint64_t now_ns);  // when it wants to be asked next; 0 = not at all

 protected:
  void DoPost() override;
  void DoReceive() override;
  void DoFail() override;
  absl::StatusOr<RemoteWindow> DoGrant(CountedRegion& region, std::uint64_t offset, std::uint64_t bytes, Access access) override;
  bool DoRevoke(const RemoteWindow& window) override { return windows_.Revoke(window); }
  bool InUse(RemoteKey) const override { return true; }  // the invalidation's completion tells

 private:
  static constexpr std::size_t kDoorbell = 16;
  // What each place of the send queue is, in its order.
  struct SendSlot {
    enum class Kind : std::uint8_t { kRequest, kBinding };
    Kind kind = Kind::kRequest;
    std::uint64_t position = 0;  // kRequest: in the ledger
  };
  struct Binding {
    RemoteKey key;
    std::uint64_t before = 0;  // position in the ledger
  };
  struct Chain {
    std::size_t count = 0;
    std::array<ibv_send_wr, kDoorbell> requests;
    std::array<std::array<ibv_sge, kMaxSlices>, kDoorbell> slices;
    std::array<ImmediateBytes, kDoorbell> immediates;
  };

  VerbsEndpoint(const Parts& parts, Phase phase);

  // endpoint.cc: life
  absl::Status CreateQueuePair();
  rdma_conn_param ConnectionParameters() const;
  void Step(ConnectionEvent event, std::string_view what);
  void ConnectNow();
  void AcceptNow();
  void TakeAnswer(std::span<const std::byte> bytes);
  void Open();
  void TuneQueuePair();
  void PeerGone(std::string_view how);
  std::string Reason(std::string_view what) const;

  // sending.cc
  bool FillChain();
  void AddBinding(const Binding& binding);
  void AddRequest(std::uint64_t position, const LedgerEntry& entry);
  ibv_send_wr& AddWork(SendSlot slot);
  void AddSlices(ibv_send_wr& request, const LedgerEntry& entry);
  std::size_t send_room() const { return options().send_depth - static_cast<std::size_t>(sent_end_ - sent_begin_); }
  void CompleteSend(std::uint32_t number);
  void CompleteReceiveOf(const WorkDone& done);
  std::optional<Immediate> ImmediateIn(const LedgerEntry& receive, std::uint32_t byte_len) const;

  std::shared_ptr<DeviceContext> device_;
  VerbsDomain& verbs_domain_;
  VerbsQueue& verbs_queue_;
  const std::string peer_name_;
  Phase phase_;
  Owned<rdma_cm_id> id_;
  std::vector<std::byte> own_hello_;
  std::vector<std::byte> peer_hello_given_;  // the accepting side's, until kOpen
  Mark mark_{};
  std::uint64_t deadline_ns_ = 0;
  ReadLimits limits_;  // the accepting side's

  Windows windows_;
  std::deque<Binding> bindings_;       // not posted yet
  std::vector<SendSlot> sent_;         // ring; by number
  std::uint64_t sent_begin_ = 0;
  std::uint64_t sent_end_ = 0;
  std::uint64_t next_start_ = 0;       // position in the sends: not posted yet
  std::uint64_t next_receive_ = 0;     // position in the receives: not posted yet
  Chain chain_;                        // one doorbell, while it is made
};

}  // namespace ashlar::fabric::verbs
