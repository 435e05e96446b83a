#include "common/fabric/verbs/objects.h"

#include <cerrno>
#include <cstring>
#include <string_view>

#include "common/base/check.h"
#include "common/telemetry/log.h"

namespace ashlar::fabric::verbs {
namespace {

void Destroyed(int error, std::string_view what) {
  ASHLAR_CHECK(error != EBUSY, "a {} was destroyed while something used it", what);
  if (error != 0) log::Warn("fabric: verbs object not destroyed cleanly what={} error=\"{}\"", what, std::strerror(error));
}

}  // namespace

void Destroy::operator()(ibv_pd* pd) const { Destroyed(::ibv_dealloc_pd(pd), "protection domain"); }
void Destroy::operator()(ibv_mr* mr) const { Destroyed(::ibv_dereg_mr(mr), "memory region"); }
void Destroy::operator()(ibv_mw* mw) const { Destroyed(::ibv_dealloc_mw(mw), "memory window"); }
void Destroy::operator()(ibv_cq* cq) const { Destroyed(::ibv_destroy_cq(cq), "completion queue"); }
void Destroy::operator()(ibv_comp_channel* channel) const { Destroyed(::ibv_destroy_comp_channel(channel), "completion channel"); }
void Destroy::operator()(ibv_qp* qp) const { Destroyed(::ibv_destroy_qp(qp), "queue pair"); }
void Destroy::operator()(rdma_event_channel* channel) const { ::rdma_destroy_event_channel(channel); }
void Destroy::operator()(rdma_cm_id* id) const {
  if (id->qp != nullptr) ::rdma_destroy_qp(id);
  if (::rdma_destroy_id(id) != 0) Destroyed(errno, "connection");
}

}  // namespace ashlar::fabric::verbs
