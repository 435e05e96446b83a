// The memory windows one endpoint has granted: type 2B, bound to its queue pair, so a key is worth nothing to any other
// peer. Binding and invalidating are work requests, which the endpoint posts; this keeps count of which key is what.
//
// Keys: 24 bits are the window's own, 8 count its bindings. A window whose 256 bindings are used up rests until the
// endpoint ends, so no key comes twice in a connection.
//
// Threads: one at a time. Invariant: a window's region is pinned from Grant until the invalidation has completed or the
// queue pair is gone.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "common/fabric/contract.h"
#include "common/fabric/verbs/domain.h"

namespace ashlar::fabric::verbs {

class Windows {
 public:
  explicit Windows(std::uint32_t max_windows) : max_windows_(max_windows) {}
  ~Windows() { ReleaseAll(); }
  Windows(const Windows&) = delete;
  Windows& operator=(const Windows&) = delete;

  // A window that is to be bound before anything else is posted. ResourceExhausted: max_windows are granted.
  absl::StatusOr<RemoteWindow> Grant(ibv_pd* pd, VerbsRegion& region, std::uint64_t offset, std::uint64_t bytes, Access access);
  // Fills in the request that binds it, or that ends it, right before it is posted.
  void FillBind(RemoteKey key, ibv_send_wr& request);
  void FillInvalidate(RemoteKey key, ibv_send_wr& request) const;
  // False: not a window granted here, or revoked already.
  bool Revoke(const RemoteWindow& window);
  void Invalidated(RemoteKey key);

  // The queue pair does not move any more: ends all bindings. The regions stay pinned until ReleaseAll.
  void Unbind();
  void ReleaseAll();

 private:
  struct Slot {
    Owned<ibv_mw> window;
    VerbsRegion* region = nullptr;  // nullptr: free
    RemoteKey key;
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    unsigned access = 0;
    std::uint32_t bindings = 0;
    bool alive = false;
  };
  static constexpr std::uint32_t kMaxBindings = 255;

  absl::StatusOr<std::uint32_t> TakeSlot(ibv_pd* pd);

  const std::uint32_t max_windows_;
  std::uint32_t granted_ = 0;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  absl::flat_hash_map<RemoteKey, std::uint32_t> by_key_;  // those with a region
};

}  // namespace ashlar::fabric::verbs
