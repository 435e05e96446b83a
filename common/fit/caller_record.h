// What a server remembers of one client (node, incarnation, shard): per slot the newest request begun, how far it is, and
// its answer. It outlives endpoints, so a resent at-most-once call is answered and not run again. The out-slots belong to
// it and not to the endpoint: they are the reply cache, overwritten only by the next request of that slot.
//
// Held by shared_ptr: a handler that answers late keeps it. Only on the shard's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "common/fit/arena.h"
#include "common/fit/server.h"
#include "common/fit/server_slot_state.h"
#include "common/fit/validate.h"

namespace ashlar::fit {

class ServerLink;

// A request that may not begin yet, because an older one is not out of its slot.
struct WaitingRequest {
  wire::Header header{};
  std::vector<std::byte> payload;
  std::shared_ptr<Arena> in;
  bool known_opcode = true;
  std::uint64_t arrived_ns = 0;
};

struct CallerSlot {
  ServerSlotState state = ServerSlotState::kIdle;
  std::uint16_t opcode = 0;            // of the newest request begun
  bool has_reply = false;              // `reply` is its answer
  bool answered = false;               // kRunning…: the handler is done, the newer one has not begun
  std::uint64_t asked_epoch = 0;       // connection epoch it was last asked over: where the answer is awaited
  std::uint64_t arrived_ns = 0;
  std::uint32_t work_requests = 0;     // that name the out-slot
  wire::Header reply{};
  std::unique_ptr<WaitingRequest> waiting;
};

struct CallerRecord {
  CallerRecord(const Client& whose, std::shared_ptr<Arena> out_slots, std::uint32_t slot_count)
      : client(whose), out(std::move(out_slots)), slots(slot_count), expected(slot_count, SlotExpectation{.open = true}) {}

  Client client;
  std::shared_ptr<Arena> out;
  std::vector<CallerSlot> slots;
  std::vector<SlotExpectation> expected;  // [slot] newest sequence begun; closed while one waits
  ServerLink* link = nullptr;             // the endpoint in use
  std::uint32_t endpoints_seen = 0;       // 1 and a resend comes: the one that had the call is forgotten
  std::uint32_t running = 0;              // handlers that have not answered
  std::uint64_t idle_since_ns = 0;        // while link is null
  class ServerImpl* server = nullptr;     // null: destroyed
};

}  // namespace ashlar::fit
