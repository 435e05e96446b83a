#include "common/fabric/verbs/completion.h"

#include <arpa/inet.h>

namespace ashlar::fabric::verbs {

Status StatusOf(ibv_wc_status status, Ledger::Side side) {
  const bool receive = side == Ledger::Side::kReceive;
  switch (status) {
    case IBV_WC_WR_FLUSH_ERR: return Status::kFlushed;
    // Soft RoCE says so of the receive that a refused WRITE_WITH_IMM would have used, which is not to blame.
    case IBV_WC_REM_ACCESS_ERR: return receive ? Status::kFlushed : Status::kRemoteAccess;
    // And so of a receive that is too small, where others say LOC_LEN.
    case IBV_WC_LOC_QP_OP_ERR: return receive ? Status::kLocalLength : Status::kFatal;
    case IBV_WC_REM_INV_REQ_ERR: return receive ? Status::kLocalLength : Status::kRemoteOperation;
    case IBV_WC_REM_OP_ERR: return Status::kRemoteOperation;
    case IBV_WC_LOC_LEN_ERR: return Status::kLocalLength;
    case IBV_WC_LOC_PROT_ERR:
    case IBV_WC_LOC_ACCESS_ERR:
    case IBV_WC_MW_BIND_ERR: return Status::kLocalProtection;
    case IBV_WC_RETRY_EXC_ERR: return Status::kRetryExceeded;
    case IBV_WC_RNR_RETRY_EXC_ERR: return Status::kRnrExceeded;
    default: return Status::kFatal;  // queue pair, end-to-end context and driver errors; and words of a newer library
  }
}

std::variant<WorkDone, WorkFailed> ReadCompletion(const ibv_wc& completion) {
  const WorkId id = Unpack(completion.wr_id);
  if (completion.status != IBV_WC_SUCCESS) {
    return WorkFailed{.id = id, .status = StatusOf(completion.status, id.side), .vendor = completion.vendor_err};
  }
  WorkDone done{.id = id};
  if (id.side == Ledger::Side::kReceive) {
    done.byte_len = completion.byte_len;
    done.has_imm = completion.opcode == IBV_WC_RECV_RDMA_WITH_IMM;
    if (done.has_imm) done.imm = ntohl(completion.imm_data);
  }
  return done;
}

}  // namespace ashlar::fabric::verbs
