// What a work completion says, and nothing that it does not: verbs defines no opcode, length or immediate for one that
// failed, so here such a one has none. This is the only place that reads an ibv_wc.
#pragma once

#include <cstdint>
#include <variant>

#include <infiniband/verbs.h>

#include "common/fabric/contract.h"
#include "common/fabric/verbs/work_id.h"

namespace ashlar::fabric::verbs {

struct WorkDone {
  WorkId id;
  bool has_imm = false;        // receives: a WRITE_WITH_IMM used it
  std::uint32_t byte_len = 0;  // receives
  std::uint32_t imm = 0;       // if has_imm
};
struct WorkFailed {
  WorkId id;
  Status status = Status::kFatal;
  std::uint32_t vendor = 0;
};

std::variant<WorkDone, WorkFailed> ReadCompletion(const ibv_wc& completion);

// `side` matters where a provider says the same word of both ends: a message longer than its receive.
Status StatusOf(ibv_wc_status status, Ledger::Side side);

}  // namespace ashlar::fabric::verbs
