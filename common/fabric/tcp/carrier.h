// What carries the bytes of an endpoint's frames: a kernel socket, or rings in memory that both processes map (shm/).
// Either way it is a stream, and everything above it is one code: frames, checks, acknowledgements, windows.
//
// Threads: one at a time. Nothing blocks.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "common/fabric/contract.h"
#include "common/fabric/counters.h"
#include "common/fabric/region.h"

namespace ashlar::fabric::tcp {

class Carrier {
 public:
  virtual ~Carrier() = default;  // the other side reads what was written, then the end

  // Readable when Read has something or the other side is gone. Never changes.
  virtual int fd() const = 0;
  // True: Read and Write cost no system call most of the time, so each Progress asks; fd() counts only asleep.
  virtual bool polled() const = 0;

  // As readv and writev: -1 with errno (EAGAIN: nothing, or no room, now), 0 = the stream has ended.
  virtual ssize_t Read(std::span<const iovec> parts, FabricCounters& counters) = 0;
  virtual ssize_t Write(std::span<const iovec> parts, FabricCounters& counters) = 0;
  virtual void EndWriting() = 0;  // the other side reads what was written, then the end

  // A connection under way has been made, or has failed with that errno.
  virtual int ConnectError() = 0;
  virtual void Tune(std::uint64_t silence_ns) = 0;

  // Only where polled(). The owner is about to sleep on fd(), and asks once more before it does; `wants_room`: it is to be
  // woken also when Write has room again. Awake ends that.
  virtual void PrepareSleep(bool wants_room) { (void)wants_room; }
  virtual void Awake(FabricCounters& counters) { (void)counters; }
  virtual bool HasRoom() { return true; }
};

std::unique_ptr<Carrier> MakeSocketCarrier(UniqueFd fd);

}  // namespace ashlar::fabric::tcp
