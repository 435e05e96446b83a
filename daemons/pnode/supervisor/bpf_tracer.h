// The collector: the BPF programs in the kernel, their maps mapped here, and the moves between the two. It decides nothing.
//
// Nothing is pinned: every program, map and link is a descriptor of this process, so they go when it goes, however it ends.
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "daemons/pnode/supervisor/miss_sink.h"
#include "daemons/pnode/supervisor/trace_book.h"

struct bpf_link;
struct bpf_map;
struct bpf_object;
struct bpf_program;
struct ring_buffer;

namespace ashlar::pnode {

class BpfTracer final : public ChainSource {
 public:
  struct Options {
    std::uint32_t slot_count = 2048;     // a power of two; 10,880 bytes of kernel memory each
    std::uint32_t process_count = 1024;  // a power of two
    std::uint32_t overflow_count = 65536;
  };

  // Loads the programs, attaches none. PermissionDenied and FailedPrecondition name the capability or the kernel option that is
  // missing. 50–150 ms.
  static absl::StatusOr<std::unique_ptr<BpfTracer>> Load(const Options& options);
  ~BpfTracer() override;

  // While attached, each system call of every process of the host costs some 190 ns more.
  absl::Status Attach();
  void Detach();
  bool attached() const { return !links_.empty(); }

  // Adds all threads of a process that runs, or is stopped, as a new chain of `trace`. Returns its index. Attached only.
  // `late`: it has run already. NotFound: no such process.
  absl::StatusOr<std::uint32_t> AddProcess(int pid, SpaceId trace, bool late);
  // Forgets the tasks of a trace; none of them writes to a record when this returns.
  absl::Status RemoveTasks(SpaceId trace);

  // Becomes readable when a process has ended.
  int wake_fd() const;
  void DrainWakeUps();

  SlotTable table() override { return table_; }
  std::uint32_t processes_used() override;
  std::uint64_t lost() override;
  void GiveBackSlot(std::uint32_t slot) override;
  void GiveBackProcess(std::uint32_t process) override;
  void AddOverflow(std::uint32_t process, bool take, CallTotals& into) override;
  bool PidInUse(std::uint32_t pid) override;

  const tracer_state& state() const { return *state_; }
  MissSink MakeMissSink() const { return MissSink(table_, tid_hints_); }  // good as long as this object

 private:
  struct Unmap {
    std::size_t size = 0;
    void operator()(void* address) const;
  };
  using MapView = std::unique_ptr<void, Unmap>;
  struct CloseRing {
    void operator()(ring_buffer* ring) const;
  };
  struct CloseObject {
    void operator()(bpf_object* object) const;
  };

  explicit BpfTracer(const Options& options) : options_(options) {}
  absl::Status OpenAndLoad();
  absl::Status MapTables();
  absl::StatusOr<MapView> MapOf(const char* name, std::size_t size);
  std::uint32_t TakeProcess();
  absl::Status RunIterator(const char* program);

  const Options options_;
  std::unique_ptr<bpf_object, CloseObject> object_;
  std::vector<MapView> views_;
  SlotTable table_;
  tracer_state* state_ = nullptr;
  std::span<__u64> free_slots_;
  std::span<__u64> free_processes_;
  std::span<const __u64> tid_hints_;
  int overflow_fd_ = -1;  // the object's
  std::unique_ptr<ring_buffer, CloseRing> wake_ups_;
  std::vector<bpf_link*> links_;
};

}  // namespace ashlar::pnode
