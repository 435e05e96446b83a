#include "common/fabric/verbs/probe.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status.h"

namespace ashlar::fabric::verbs {
namespace {

constexpr std::uint64_t kPatienceNs = 2'000'000'000;
constexpr std::uint32_t kProbeImm = 0x5A5A0001;

// The pair and what it needs. Declared in the order of making, so it comes down backwards.
struct LoopBack {
  std::array<std::byte, 128> bytes{};
  Owned<ibv_pd> pd;
  Owned<ibv_mr> mr;
  Owned<ibv_cq> cq;
  Owned<ibv_qp> sender, receiver;
  Owned<ibv_mw> window;
};

Owned<ibv_qp> MakePair(const LoopBack& loop, std::uint32_t* inline_bytes) {
  for (std::uint32_t wanted = kWantedInline;; wanted /= 2) {
    ibv_qp_init_attr attributes{};
    attributes.send_cq = attributes.recv_cq = loop.cq.get();
    attributes.qp_type = IBV_QPT_RC;
    attributes.cap = {.max_send_wr = 8, .max_recv_wr = 8, .max_send_sge = 1, .max_recv_sge = 1, .max_inline_data = wanted};
    Owned<ibv_qp> pair(::ibv_create_qp(loop.pd.get(), &attributes));
    *inline_bytes = attributes.cap.max_inline_data;
    if (pair != nullptr || wanted == 0) return pair;
  }
}

absl::Status Connect(ibv_qp* pair, ibv_qp* peer, const ProbeTarget& target, const ibv_port_attr& port) {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_INIT;
  attributes.port_num = target.port;
  attributes.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;
  int error = ::ibv_modify_qp(pair, &attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
  if (error != 0) return ErrnoStatus(error, "fabric: probe: queue pair to INIT");
  ibv_gid gid{};
  const bool global = port.link_layer == IBV_LINK_LAYER_ETHERNET;
  if (global && ::ibv_query_gid(target.context, target.port, target.gid_index, &gid) != 0) return ErrnoStatus(errno, "fabric: probe: read a GID");
  attributes = {};
  attributes.qp_state = IBV_QPS_RTR;
  attributes.path_mtu = port.active_mtu;
  attributes.dest_qp_num = peer->qp_num;
  attributes.max_dest_rd_atomic = 1;
  attributes.min_rnr_timer = kMinRnrTimer;
  attributes.ah_attr.dlid = port.lid;
  attributes.ah_attr.port_num = target.port;
  attributes.ah_attr.is_global = global ? 1 : 0;
  attributes.ah_attr.grh = {.dgid = gid, .sgid_index = static_cast<std::uint8_t>(target.gid_index), .hop_limit = 1};
  error = ::ibv_modify_qp(pair, &attributes, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                                 IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
  if (error != 0) return ErrnoStatus(error, "fabric: probe: queue pair to RTR");
  attributes = {};
  attributes.qp_state = IBV_QPS_RTS;
  attributes.timeout = 16;
  attributes.retry_cnt = 3;
  attributes.rnr_retry = 1;
  attributes.max_rd_atomic = 1;
  error = ::ibv_modify_qp(pair, &attributes,
                          IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
  if (error != 0) return ErrnoStatus(error, "fabric: probe: queue pair to RTS");
  return absl::OkStatus();
}

// The completion of request `wr_id`; others are skipped. nullopt: none within the patience.
std::optional<ibv_wc> Wait(ibv_cq* cq, std::uint64_t wr_id) {
  const std::uint64_t until_ns = MonotonicNs() + kPatienceNs;
  ibv_wc completion;
  while (MonotonicNs() < until_ns) {
    if (::ibv_poll_cq(cq, 1, &completion) == 1 && completion.wr_id == wr_id) return completion;
  }
  return std::nullopt;
}

bool Post(ibv_qp* pair, ibv_send_wr request) {
  ibv_send_wr* bad = nullptr;
  request.send_flags |= IBV_SEND_SIGNALED;
  return ::ibv_post_send(pair, &request, &bad) == 0;  // siw answers with negative numbers
}

// The receiver lends the second half of the bytes to the sender's queue pair. 0: it can't.
std::uint32_t Lend(LoopBack& loop) {
  loop.window.reset(::ibv_alloc_mw(loop.pd.get(), IBV_MW_TYPE_2));
  if (loop.window == nullptr) return 0;
  ibv_send_wr bind{};
  bind.wr_id = 1;
  bind.opcode = IBV_WR_BIND_MW;
  bind.bind_mw.mw = loop.window.get();
  bind.bind_mw.rkey = ::ibv_inc_rkey(loop.window->rkey);
  bind.bind_mw.bind_info = {.mr = loop.mr.get(),
                            .addr = reinterpret_cast<std::uint64_t>(loop.bytes.data()) + 64,
                            .length = 64,
                            .mw_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ};
  if (!Post(loop.receiver.get(), bind)) return 0;
  const auto bound = Wait(loop.cq.get(), 1);
  return bound.has_value() && bound->status == IBV_WC_SUCCESS ? bind.bind_mw.rkey : 0;
}

bool WriteWithImm(LoopBack& loop, std::uint32_t key) {
  ibv_sge source{.addr = reinterpret_cast<std::uint64_t>(loop.bytes.data()), .length = 32, .lkey = loop.mr->lkey};
  ibv_recv_wr receive{.wr_id = 2, .next = nullptr, .sg_list = &source, .num_sge = 1};
  ibv_recv_wr* bad = nullptr;
  if (::ibv_post_recv(loop.receiver.get(), &receive, &bad) != 0) return false;
  ibv_send_wr write{};
  write.wr_id = 3;
  write.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
  write.imm_data = kProbeImm;
  write.sg_list = &source;
  write.num_sge = 1;
  write.wr.rdma = {.remote_addr = reinterpret_cast<std::uint64_t>(loop.bytes.data()) + 64, .rkey = key};
  if (!Post(loop.sender.get(), write)) return false;
  const auto arrived = Wait(loop.cq.get(), 2);
  return arrived.has_value() && arrived->status == IBV_WC_SUCCESS && arrived->opcode == IBV_WC_RECV_RDMA_WITH_IMM &&
         arrived->imm_data == kProbeImm && loop.bytes[64] == loop.bytes[0];
}

}  // namespace

absl::StatusOr<DeviceFacts> ProbeDevice(const ProbeTarget& target) {
  ibv_device_attr device{};
  ibv_port_attr port{};
  const std::string name = ::ibv_get_device_name(target.context->device);
  int error = ::ibv_query_device(target.context, &device);
  if (error == 0) error = ::ibv_query_port(target.context, target.port, &port);
  if (error != 0) return ErrnoStatus(error, absl::StrCat("fabric: ask device ", name, " port ", target.port));
  if (port.state != IBV_PORT_ACTIVE) {
    return absl::UnavailableError(absl::StrCat("fabric: RDMA device ", name, " port ", target.port, " is ", ::ibv_port_state_str(port.state),
                                               "; look at its link"));
  }
  DeviceFacts facts{.name = name,
                    .is_iwarp = target.context->device->transport_type == IBV_TRANSPORT_IWARP,
                    .max_sge = static_cast<std::uint32_t>(std::max(device.max_sge, 0)),
                    .max_sge_read = static_cast<std::uint32_t>(std::max(device.max_sge_rd, 0)),
                    .max_message = port.max_msg_sz,
                    .max_reads = static_cast<std::uint32_t>(std::max(std::min(device.max_qp_rd_atom, device.max_qp_init_rd_atom), 0))};
  if (facts.max_sge_read == 0) facts.max_sge_read = facts.max_sge;
  LoopBack loop;
  loop.bytes[0] = std::byte{0xA5};
  loop.pd.reset(::ibv_alloc_pd(target.context));
  if (loop.pd == nullptr) return ErrnoStatus(errno, "fabric: probe: protection domain");
  loop.mr.reset(::ibv_reg_mr(loop.pd.get(), loop.bytes.data(), loop.bytes.size(), IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND));
  if (loop.mr == nullptr) {
    if (errno == EINVAL || errno == EOPNOTSUPP) return facts;  // no windows to bind
    return ErrnoStatus(errno, "fabric: probe: register memory");
  }
  loop.cq.reset(::ibv_create_cq(target.context, 32, nullptr, nullptr, 0));
  if (loop.cq == nullptr) return ErrnoStatus(errno, "fabric: probe: completion queue");
  std::uint32_t ignored = 0;
  loop.sender = MakePair(loop, &facts.max_inline);
  loop.receiver = MakePair(loop, &ignored);
  if (loop.sender == nullptr || loop.receiver == nullptr) return ErrnoStatus(errno, absl::StrCat("fabric: probe: queue pair on ", name));
  if (facts.is_iwarp) {  // its queue pairs connect by rdma_cm alone, and iWARP has no immediate in a WRITE
    facts.window_works = (device.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B) != 0;
    return facts;
  }
  ASHLAR_RETURN_IF_ERROR(Connect(loop.sender.get(), loop.receiver.get(), target, port));
  ASHLAR_RETURN_IF_ERROR(Connect(loop.receiver.get(), loop.sender.get(), target, port));
  const std::uint32_t key = Lend(loop);
  facts.window_works = key != 0;
  facts.immediate_works = key != 0 && WriteWithImm(loop, key);
  loop.window.reset();  // before the queue pair it is bound to
  return facts;
}

}  // namespace ashlar::fabric::verbs
