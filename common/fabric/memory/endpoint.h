// One end of an in-memory connection, its frames and its queue. See network.h for the fault model.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/fabric/endpoint.h"
#include "common/fabric/memory/network.h"
#include "common/fabric/queue.h"

namespace ashlar::fabric::memory {

struct Frame {
  enum class Kind : std::uint8_t { kRequest, kPlaced, kAnswer, kRefused, kAccepted, kBye };
  Kind kind = Kind::kRequest;
  Op op = Op::kSend;                 // kRequest
  std::uint32_t imm = 0;
  RemoteKey key;
  std::uint64_t address = 0;
  std::uint32_t bytes = 0;           // kRead: asked for
  LedgerToken token;                 // of the request, in the sender's ledger; comes back in what answers it
  Status status = Status::kFatal;    // kRefused
  std::string why;                   // kRefused, kBye
  std::vector<std::byte> payload;
  std::uint64_t due_ns = 0;
};

class MemoryEndpoint;

class MemoryQueue final : public QueueBase {
 public:
  MemoryQueue(int depth, std::shared_ptr<FabricStats> stats);
  int event_fd() const override { return event_fd_.get(); }

  void Add(MemoryEndpoint* endpoint) { endpoints_.push_back(endpoint); }
  void Remove(MemoryEndpoint* endpoint) { std::erase(endpoints_, endpoint); }
  void Arrived() {  // something to make progress with
    if (armed()) Wake();
  }

 protected:
  void Progress() override;
  void PrepareSleep() override;
  void Wake() override;

 private:
  UniqueFd event_fd_;
  bool awake_ = false;  // event_fd_ is readable
  std::vector<MemoryEndpoint*> endpoints_;
};

class MemoryEndpoint final : public CheckedEndpoint {
 public:
  MemoryEndpoint(const Setup& setup, MemoryNetwork& network, MemoryQueue& queue, std::string peer_name);
  ~MemoryEndpoint() override;

  void Join(MemoryEndpoint& peer) { peer_ = &peer, peer.peer_ = this; }
  void FailAt(std::uint64_t deadline_ns) { connect_deadline_ns_ = deadline_ns; }
  void Accepted(std::span<const std::byte> hello) { BecomeReady(hello); }
  void Send(Frame frame);  // to the peer, by hold and delay
  void Arrive(Frame frame);
  void Lost(absl::Status why);  // fails at the next poll
  void Cut();                   // both ends are lost to each other

  void Step();             // delivers what is due
  bool Deliverable() const;

  void Hold() { holding_ = true; }
  void Release(std::size_t frames);
  std::size_t held() const { return kept_back_.size(); }
  std::uint64_t next_due_ns() const { return inbox_.empty() ? 0 : inbox_.front().due_ns; }

 protected:
  void DoPost() override { StartRequests(); }
  void DoFail() override;

 private:
  void StartRequests();  // in order, up to the first that must wait
  void Deliver(Frame& frame);
  void DeliverRequest(Frame& frame);
  void PlaceMessage(const Frame& frame);
  void AnswerRead(const Frame& frame);
  void TakeAnswer(const Frame& frame);
  void Refuse(const Frame& frame, Status status, std::string_view why);

  MemoryNetwork& network_;
  MemoryQueue& memory_queue_;
  const std::string peer_name_;
  MemoryEndpoint* peer_ = nullptr;  // nullptr: not accepted yet, or gone
  std::deque<Frame> inbox_;
  std::deque<Frame> kept_back_;
  bool holding_ = false;
  absl::Status lost_;
  std::uint64_t connect_deadline_ns_ = 0;  // 0 = none
  std::uint64_t next_start_ = 0;           // position in the sends
  std::uint32_t reads_in_flight_ = 0;
};

}  // namespace ashlar::fabric::memory
