#include "common/fabric/verbs/endpoint.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/fabric/names.h"
#include "common/fabric/verbs/limits.h"
#include "common/telemetry/log.h"

namespace ashlar::fabric::verbs {
namespace {

constexpr int kResolveMs = 1000;
constexpr std::uint64_t kAcceptNs = 5'000'000'000;  // from our answer to the peer's word that it has it

}  // namespace

VerbsEndpoint::VerbsEndpoint(const Parts& parts, Phase phase)
    : CheckedEndpoint(parts.setup),
      device_(parts.device),
      verbs_domain_(*parts.domain),
      verbs_queue_(*parts.queue),
      peer_name_(parts.peer_name),
      phase_(phase),
      windows_(parts.setup.options.max_windows),
      sent_(parts.setup.options.send_depth) {
  verbs_queue_.Add(*this);
}

absl::StatusOr<std::unique_ptr<VerbsEndpoint>> VerbsEndpoint::Connecting(const Parts& parts, SocketAddress peer,
                                                                         std::span<const std::byte> hello, std::uint64_t deadline_ns) {
  std::unique_ptr<VerbsEndpoint> endpoint(new VerbsEndpoint(parts, Phase::kResolvingAddress));
  endpoint->own_hello_.assign(hello.begin(), hello.end());
  endpoint->deadline_ns_ = deadline_ns;
  rdma_cm_id* id = nullptr;
  if (::rdma_create_id(parts.queue->connections(), &id, endpoint.get(), RDMA_PS_TCP) != 0) return ErrnoStatus(errno, "fabric: rdma_create_id");
  endpoint->id_.reset(id);
  // Bound to our own address first: so the device is known, the queue pair can be made and receives be posted.
  SocketAddress source = parts.device->source;
  if (::rdma_bind_addr(id, source.get()) != 0) return ErrnoStatus(errno, "fabric: bind to the source address of the device");
  std::uint8_t timeout = AckTimeoutExponent(parts.setup.options.silence_ns);
  if (::rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof(timeout)) != 0) {
    return ErrnoStatus(errno, "fabric: set the acknowledgement timeout");
  }
  ASHLAR_RETURN_IF_ERROR(endpoint->CreateQueuePair());
  if (::rdma_resolve_addr(id, nullptr, peer.get(), kResolveMs) != 0) {
    endpoint->deadline_ns_ = 1;  // kError in the first Poll, as if the network had said so
  }
  parts.queue->WatchTime(*endpoint);
  return endpoint;
}

absl::StatusOr<std::unique_ptr<VerbsEndpoint>> VerbsEndpoint::Accepted(const Parts& parts, Owned<rdma_cm_id> id, ReadLimits limits,
                                                                       std::span<const std::byte> peer_hello,
                                                                       std::span<const std::byte> hello_ack) {
  std::unique_ptr<VerbsEndpoint> endpoint(new VerbsEndpoint(parts, Phase::kAccepting));
  id->context = endpoint.get();
  endpoint->id_ = std::move(id);
  rdma_cm_id* raw = endpoint->id_.get();
  if (::rdma_migrate_id(raw, parts.queue->connections()) != 0) return ErrnoStatus(errno, "fabric: take over a connection request");
  std::uint8_t timeout = AckTimeoutExponent(parts.setup.options.silence_ns);
  if (::rdma_set_option(raw, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof(timeout)) != 0) {
    return ErrnoStatus(errno, "fabric: set the acknowledgement timeout");
  }
  if (::getrandom(endpoint->mark_.data(), endpoint->mark_.size(), 0) != static_cast<ssize_t>(endpoint->mark_.size())) {
    return ErrnoStatus(errno, "fabric: getrandom");
  }
  ASHLAR_RETURN_IF_ERROR(endpoint->CreateQueuePair());
  endpoint->own_hello_.assign(hello_ack.begin(), hello_ack.end());
  endpoint->peer_hello_given_.assign(peer_hello.begin(), peer_hello.end());
  endpoint->limits_ = limits;
  parts.queue->WatchTime(*endpoint);
  return endpoint;
}

VerbsEndpoint::~VerbsEndpoint() {
  Close();
  windows_.ReleaseAll();
  id_.reset();
  verbs_queue_.Remove(*this);
}

absl::Status VerbsEndpoint::CreateQueuePair() {
  if (id_->verbs != device_->context) {
    return absl::FailedPreconditionError(absl::StrCat("fabric: the connection came by another RDMA device than ", device_->name));
  }
  ibv_qp_init_attr attributes{};
  attributes.send_cq = attributes.recv_cq = verbs_queue_.cq();
  attributes.qp_type = IBV_QPT_RC;
  attributes.cap = {.max_send_wr = options().send_depth,
                    .max_recv_wr = options().receive_depth,
                    .max_send_sge = caps().max_slices,
                    .max_recv_sge = caps().max_slices,
                    .max_inline_data = caps().max_inline};
  if (::rdma_create_qp(id_.get(), verbs_domain_.pd(), &attributes) != 0) {
    return ErrnoStatus(errno, absl::StrCat("fabric: queue pair of ", options().send_depth, " sends and ", options().receive_depth,
                                           " receives on ", device_->name));
  }
  device_->events->Add(id_->qp, verbs_queue_.mailbox(), id());
  return absl::OkStatus();
}

rdma_conn_param VerbsEndpoint::ConnectionParameters() const {
  rdma_conn_param parameters{};
  parameters.responder_resources = static_cast<std::uint8_t>(caps().max_reads);
  parameters.initiator_depth = static_cast<std::uint8_t>(caps().max_reads);
  parameters.retry_count = kRetryCount;
  parameters.rnr_retry_count = kRnrRetryCount;
  return parameters;
}

void VerbsEndpoint::OnConnection(const ConnectionNews& news) {
  if (phase_ == Phase::kClosed || news.event == ConnectionEvent::kNothing) return;
  if (news.event == ConnectionEvent::kEstablished && phase_ == Phase::kConnecting) return TakeAnswer(news.answer);
  Step(news.event, absl::StrCat(news.name, " status ", news.status));
}

void VerbsEndpoint::Step(ConnectionEvent event, std::string_view what) {
  const std::optional<Phase> next = Next(phase_, event);
  if (!next.has_value()) return PeerGone(absl::StrCat("sent news out of order: ", std::string(what)));
  const Phase before = std::exchange(phase_, *next);
  if (before == phase_) return;
  switch (phase_) {
    case Phase::kResolvingAddress:
    case Phase::kAccepting: return;
    case Phase::kResolvingRoute:
      if (::rdma_resolve_route(id_.get(), kResolveMs) != 0) PeerGone(absl::StrCat("has no route: ", std::strerror(errno)));
      return;
    case Phase::kConnecting: return ConnectNow();
    case Phase::kAccepted: return AcceptNow();
    case Phase::kOpen: return Open();
    case Phase::kClosed:
      phase_ = before;  // what completed before it comes first
      if (before == Phase::kOpen) return PeerGone("closed the connection or died");
      return PeerGone(absl::StrCat("can't be reached: ", std::string(what)));
  }
}

void VerbsEndpoint::ConnectNow() {
  rdma_conn_param parameters = ConnectionParameters();
  parameters.private_data = own_hello_.data();
  parameters.private_data_len = static_cast<std::uint8_t>(own_hello_.size());
  if (::rdma_connect(id_.get(), &parameters) != 0) PeerGone(absl::StrCat("can't be reached: ", std::strerror(errno)));
}

void VerbsEndpoint::AcceptNow() {
  const AnswerBytes answer = EncodeAnswer({.epoch_seed = options().epoch_seed, .mark = mark_, .hello = own_hello_});
  rdma_conn_param parameters = ConnectionParameters();
  parameters.responder_resources = std::min(parameters.responder_resources, limits_.as_target);
  parameters.initiator_depth = std::min(parameters.initiator_depth, limits_.as_initiator);
  parameters.private_data = answer.data();
  parameters.private_data_len = static_cast<std::uint8_t>(kAnswerHeadBytes + own_hello_.size());
  deadline_ns_ = MonotonicNs() + kAcceptNs;
  if (::rdma_accept(id_.get(), &parameters) != 0) return PeerGone(absl::StrCat("has gone meanwhile: ", std::strerror(errno)));
  TuneQueuePair();
}

void VerbsEndpoint::TakeAnswer(std::span<const std::byte> bytes) {
  const absl::StatusOr<Answer> answer = ParseAnswer(bytes);
  if (!answer.ok()) return PeerGone(std::string(answer.status().message()));
  if (answer->epoch_seed != options().epoch_seed) return PeerGone("speaks of another connection epoch");
  mark_ = answer->mark;
  peer_hello_given_.assign(answer->hello.begin(), answer->hello.end());
  TuneQueuePair();
  Step(ConnectionEvent::kEstablished, "answer");
}

// rdma_cm leaves the wait behind "receiver not ready" at 655 ms.
void VerbsEndpoint::TuneQueuePair() {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_RTS;
  attributes.min_rnr_timer = kMinRnrTimer;
  const int error = ::ibv_modify_qp(id_->qp, &attributes, IBV_QP_STATE | IBV_QP_MIN_RNR_TIMER);
  if (error != 0) log::Warn("fabric: RNR timer not set device={} error=\"{}\"", device_->name, std::strerror(error));
  ibv_qp_init_attr ignored{};
  if (::ibv_query_qp(id_->qp, &attributes, IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MIN_RNR_TIMER | IBV_QP_PATH_MTU,
                     &ignored) != 0) {
    return;
  }
  log::Debug("fabric: queue pair peer={} device={} ack_timeout_exponent={} retries={} rnr_retries={} rnr_timer={} mtu={} inline={}", peer_name_,
             device_->name, attributes.timeout, attributes.retry_cnt, attributes.rnr_retry, attributes.min_rnr_timer,
             128u << attributes.path_mtu, caps().max_inline);
}

void VerbsEndpoint::Open() {
  deadline_ns_ = 0;
  BecomeReady(peer_hello_given_);
  DoPost();
}

std::uint64_t VerbsEndpoint::OnTime(std::uint64_t now_ns) {
  if (phase_ == Phase::kAccepting) Step(ConnectionEvent::kAnswerSent, "accept");
  if (phase_ == Phase::kOpen || phase_ == Phase::kClosed) return 0;
  if (now_ns < deadline_ns_) return deadline_ns_;
  PeerGone("did not answer the connection in time");
  return 0;
}

void VerbsEndpoint::PeerGone(std::string_view how) {
  verbs_queue_.TakeCompletions();
  FailFor(absl::UnavailableError(Reason(how)), OldestSend(Status::kRetryExceeded));
}

void VerbsEndpoint::OnDeviceEvent(std::string_view why) {
  FailFor(absl::UnavailableError(Reason(absl::StrCat("is lost: ", std::string(why)))), std::nullopt);
}

void VerbsEndpoint::DoFail() {
  phase_ = Phase::kClosed;
  if (id_ == nullptr || id_->qp == nullptr) return verbs_queue_.Forget(*this);
  device_->events->Remove(id_->qp);
  // Tells the peer, and moves the queue pair to ERROR; not connected, it may refuse, and destroying it does as well.
  ::rdma_disconnect(id_.get());
  windows_.Unbind();
  ::rdma_destroy_qp(id_.get());
  verbs_queue_.Forget(*this);
}

std::string VerbsEndpoint::Reason(std::string_view what) const {
  return absl::StrCat("fabric: verbs peer ", peer_name_, " ", std::string(what));
}

}  // namespace ashlar::fabric::verbs
