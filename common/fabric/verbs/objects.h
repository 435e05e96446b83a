// Each kernel object of verbs and rdma_cm in one owner: Owned<ibv_mr>, Owned<rdma_cm_id>, … Members are declared in the
// order device, PD, MR, CQ, QP, so that destruction runs backwards by itself.
#pragma once

#include <memory>

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

namespace ashlar::fabric::verbs {

// An object that is still in use when it is destroyed is a bug of ours. Other errors mean that the device has gone, and
// the object with it; they are logged.
struct Destroy {
  void operator()(ibv_pd* pd) const;
  void operator()(ibv_mr* mr) const;
  void operator()(ibv_mw* mw) const;
  void operator()(ibv_cq* cq) const;
  void operator()(ibv_comp_channel* channel) const;
  void operator()(ibv_qp* qp) const;
  void operator()(rdma_event_channel* channel) const;
  void operator()(rdma_cm_id* id) const;  // with its queue pair; waits until each event of it is acknowledged
};
template <typename Object>
using Owned = std::unique_ptr<Object, Destroy>;

}  // namespace ashlar::fabric::verbs
