// The windows one endpoint has granted to its peer: key → bytes, access. The key on the wire is index (low 16 bits) and
// generation (high 16); a slot whose generations are used up is never used again, so no key comes twice in a connection.
// The base of all windows of a connection is one number of its own, so a window of another connection is refused even
// when its key happens to be alive here.
//
// A pin marks bytes under way (an answer queued, a payload landing): a revoked window is refused at once for anything new,
// and its region is let go with the last pin.
//
// Threads: one at a time. The peer's numbers are validated here and nowhere trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/fabric/contract.h"
#include "common/fabric/region.h"

namespace ashlar::fabric {

class WindowTable {
 public:
  static constexpr std::uint32_t kMaxWindows = 65536;

  // `base` is on a page boundary and at least 2^40 below the top of the address space.
  WindowTable(std::uint32_t max_windows, std::uint64_t base);
  ~WindowTable() { ReleaseAll(); }
  WindowTable(const WindowTable&) = delete;
  WindowTable& operator=(const WindowTable&) = delete;

  // ResourceExhausted when max_windows are granted.
  absl::StatusOr<RemoteWindow> Grant(CountedRegion& region, std::uint64_t offset, std::uint64_t bytes, Access access);
  // False: not a window granted here and alive.
  bool Revoke(const RemoteWindow& window);
  // Still reachable for bytes under way?
  bool InUse(RemoteKey key) const;

  struct Target {
    std::byte* data = nullptr;     // nullptr: refused
    std::string_view refusal;      // why, for the reason of the failure
  };
  Target Check(RemoteKey key, std::uint64_t address, std::uint32_t bytes, Access wanted) const;
  void Pin(RemoteKey key);
  void Unpin(RemoteKey key);

  // The connection is over and nobody reads on: no window is reachable any more.
  void ReleaseAll();

 private:
  struct Slot {
    CountedRegion* region = nullptr;  // nullptr: free
    std::byte* data = nullptr;
    std::uint64_t bytes = 0;
    std::uint32_t pins = 0;
    std::uint16_t generation = 1;
    Access access = Access::kRemoteRead;
    bool alive = false;
  };
  static std::uint32_t IndexOf(RemoteKey key) { return key.value() & 0xFFFF; }
  const Slot* Find(RemoteKey key) const;  // of this generation, alive or not
  void Release(std::uint32_t index);

  std::uint32_t max_windows_;
  std::uint64_t base_;
  std::vector<Slot> slots_;  // reserved in full; untouched pages cost nothing
  std::vector<std::uint16_t> free_;
};

}  // namespace ashlar::fabric
