#include "daemons/pnode/supervisor/bpf_tracer.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/telemetry/log.h"
#include "daemons/pnode/supervisor/bpf_object.h"
#include "daemons/pnode/supervisor/rights.h"

namespace ashlar::pnode {
namespace {

constexpr int kMaxPasses = 1000;  // of the iterator; each next one adds only threads made during the one before
constexpr const char* kHooks[] = {"OnEnter", "OnExit", "OnNewTask", "OnExec", "OnTaskExit"};

// libbpf speaks by a callback for the whole process: its words are kept for the error they belong to, and debug lines dropped.
thread_local std::string* libbpf_words = nullptr;

int KeepWords(enum libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG || libbpf_words == nullptr || libbpf_words->size() > 2000) return 0;
  char line[512];
  const int size = std::vsnprintf(line, sizeof(line), format, arguments);
  if (size > 0) absl::StrAppend(libbpf_words, absl::string_view(line, std::min<std::size_t>(static_cast<std::size_t>(size), sizeof(line) - 1)));
  return size;
}

class WordsOfLibbpf {
 public:
  WordsOfLibbpf() {
    libbpf_set_print(KeepWords);
    libbpf_words = &words_;
  }
  ~WordsOfLibbpf() { libbpf_words = nullptr; }
  const std::string& words() const { return words_; }

 private:
  std::string words_;
};

std::size_t Pages(std::size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

}  // namespace

void BpfTracer::Unmap::operator()(void* address) const { ::munmap(address, size); }
void BpfTracer::CloseRing::operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
void BpfTracer::CloseObject::operator()(bpf_object* object) const { bpf_object__close(object); }

absl::StatusOr<std::unique_ptr<BpfTracer>> BpfTracer::Load(const Options& options) {
  const auto power_of_two = [](std::uint32_t n) { return n != 0 && (n & (n - 1)) == 0; };
  ASHLAR_CHECK(power_of_two(options.slot_count) && power_of_two(options.process_count), "table sizes slots={} processes={}",
               options.slot_count, options.process_count);
  auto tracer = std::unique_ptr<BpfTracer>(new BpfTracer(options));
  ASHLAR_RETURN_IF_ERROR(tracer->OpenAndLoad());
  ASHLAR_RETURN_IF_ERROR(tracer->MapTables());
  return tracer;
}

BpfTracer::~BpfTracer() { Detach(); }

absl::Status BpfTracer::OpenAndLoad() {
  WordsOfLibbpf libbpf;
  if (::access("/sys/kernel/btf/vmlinux", R_OK) != 0) {
    return absl::FailedPreconditionError("strace chains need a kernel with CONFIG_DEBUG_INFO_BTF: /sys/kernel/btf/vmlinux is not readable");
  }
  const std::span<const std::byte> bytes = StraceObject();
  bpf_object_open_opts open{};
  open.sz = sizeof(open);
  open.object_name = "ashlar_strace";
  object_.reset(bpf_object__open_mem(bytes.data(), bytes.size(), &open));
  if (object_ == nullptr) return ErrnoStatus(errno, absl::StrCat("open the BPF programs: ", libbpf.words()));
  bpf_object* object = object_.get();
  const auto resize = [&](const char* name, std::uint32_t count) {
    return bpf_map__set_max_entries(bpf_object__find_map_by_name(object, name), count) == 0;
  };
  const bool resized = resize("slots", options_.slot_count) && resize("free_slots", options_.slot_count) &&
                       resize("processes", options_.process_count) && resize("free_processes", options_.process_count) &&
                       resize("overflow", options_.overflow_count);
  ASHLAR_CHECK(resized, "the BPF object lacks a map");
  std::size_t size = 0;
  bpf_map* constants = bpf_object__find_map_by_name(object, ".rodata.options");
  const void* initial = constants == nullptr ? nullptr : bpf_map__initial_value(constants, &size);
  ASHLAR_CHECK(initial != nullptr && size == sizeof(tracer_options), "the BPF object lacks its options");
  *static_cast<tracer_options*>(const_cast<void*>(initial)) = {.slot_count = options_.slot_count, .process_count = options_.process_count};
  if (const int error = -bpf_object__load(object); error != 0) return ExplainBpfError(error, "load the strace programs", libbpf.words());
  overflow_fd_ = bpf_object__find_map_fd_by_name(object, "overflow");
  return absl::OkStatus();
}

absl::StatusOr<BpfTracer::MapView> BpfTracer::MapOf(const char* name, std::size_t size) {
  const int fd = bpf_object__find_map_fd_by_name(object_.get(), name);
  void* address = ::mmap(nullptr, Pages(size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) return ErrnoStatus(errno, absl::StrCat("mmap the BPF map ", name));
  ::madvise(address, Pages(size), MADV_DONTFORK);
  return MapView(address, Unmap{Pages(size)});
}

absl::Status BpfTracer::MapTables() {
  const auto add = [&](const char* name, std::size_t size) -> absl::StatusOr<void*> {
    ASHLAR_ASSIGN_OR_RETURN(MapView view, MapOf(name, size));
    views_.push_back(std::move(view));
    return views_.back().get();
  };
  ASHLAR_ASSIGN_OR_RETURN(void* slots, add("slots", options_.slot_count * sizeof(strace_info)));
  ASHLAR_ASSIGN_OR_RETURN(void* processes, add("processes", options_.process_count * sizeof(process_info)));
  ASHLAR_ASSIGN_OR_RETURN(void* free_slots, add("free_slots", options_.slot_count * sizeof(__u64)));
  ASHLAR_ASSIGN_OR_RETURN(void* free_processes, add("free_processes", options_.process_count * sizeof(__u64)));
  ASHLAR_ASSIGN_OR_RETURN(void* tid_hints, add("tid_hints", kTidHints * sizeof(__u64)));
  ASHLAR_ASSIGN_OR_RETURN(void* state, add("state", sizeof(tracer_state)));
  table_.slots = {static_cast<strace_info*>(slots), options_.slot_count};
  table_.processes = {static_cast<process_info*>(processes), options_.process_count};
  free_slots_ = {static_cast<__u64*>(free_slots), options_.slot_count};
  free_processes_ = {static_cast<__u64*>(free_processes), options_.process_count};
  tid_hints_ = {static_cast<const __u64*>(tid_hints), kTidHints};
  state_ = static_cast<tracer_state*>(state);
  state_->processes_used = 1;  // 0 is "others"
  const int ended = bpf_object__find_map_fd_by_name(object_.get(), "ended");
  wake_ups_.reset(ring_buffer__new(ended, [](void*, void*, std::size_t) { return 0; }, nullptr, nullptr));
  if (wake_ups_ == nullptr) return ErrnoStatus(errno, "open the BPF ring buffer");
  return absl::OkStatus();
}

absl::Status BpfTracer::Attach() {
  if (attached()) return absl::OkStatus();
  WordsOfLibbpf libbpf;
  for (const char* name : kHooks) {
    bpf_program* program = bpf_object__find_program_by_name(object_.get(), name);
    ASHLAR_CHECK(program != nullptr, "the BPF object lacks {}", name);
    bpf_link* link = bpf_program__attach(program);
    if (link == nullptr) {
      const int error = errno;
      Detach();
      return ExplainBpfError(error, absl::StrCat("attach ", name), libbpf.words());
    }
    links_.push_back(link);
  }
  return absl::OkStatus();
}

void BpfTracer::Detach() {
  for (bpf_link* link : links_) bpf_link__destroy(link);
  links_.clear();
}

// Like TakeIndex in strace.bpf.c, beside which it may run.
std::uint32_t BpfTracer::TakeProcess() {
  for (;;) {
    __u32 head = __atomic_load_n(&state_->free_processes_head, __ATOMIC_ACQUIRE);
    if (head == __atomic_load_n(&state_->free_processes_tail, __ATOMIC_ACQUIRE)) break;
    const auto index = static_cast<std::uint32_t>(free_processes_[head & (options_.process_count - 1)]);
    if (__atomic_compare_exchange_n(&state_->free_processes_head, &head, head + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return index;
  }
  if (__atomic_load_n(&state_->processes_used, __ATOMIC_ACQUIRE) >= options_.process_count) return ASHLAR_NO_SLOT;
  const __u64 index = __atomic_fetch_add(&state_->processes_used, 1, __ATOMIC_ACQ_REL);
  return index < options_.process_count ? static_cast<std::uint32_t>(index) : ASHLAR_NO_SLOT;
}

absl::Status BpfTracer::RunIterator(const char* name) {
  WordsOfLibbpf libbpf;
  bpf_program* program = bpf_object__find_program_by_name(object_.get(), name);
  ASHLAR_CHECK(program != nullptr, "the BPF object lacks {}", name);
  bpf_link* link = bpf_program__attach_iter(program, nullptr);
  if (link == nullptr) return ExplainBpfError(errno, absl::StrCat("attach ", name), libbpf.words());
  const UniqueFd iterator(bpf_iter_create(bpf_link__fd(link)));
  const int error = errno;
  bpf_link__destroy(link);
  if (!iterator.valid()) return ErrnoStatus(error, absl::StrCat("iterate over tasks for ", name));
  char ignored[64];
  ssize_t size = 0;
  while ((size = ::read(iterator.get(), ignored, sizeof(ignored))) > 0 || (size < 0 && errno == EAGAIN)) {
  }
  return size < 0 ? ErrnoStatus(errno, absl::StrCat("iterate over tasks for ", name)) : absl::OkStatus();
}

absl::StatusOr<std::uint32_t> BpfTracer::AddProcess(int pid, SpaceId trace, bool late) {
  ASHLAR_CHECK(attached(), "threads are added while the hooks see them; pid={}", pid);
  const std::uint32_t index = TakeProcess();
  if (index == ASHLAR_NO_SLOT) {
    return absl::ResourceExhaustedError(absl::StrCat("all ", options_.process_count, " process records of the supervisor are taken"));
  }
  process_info& process = table_.processes[index];
  process.tgid = static_cast<__u32>(pid);
  process.trace = trace.value();
  process.start_ns = MonotonicNs();
  process.flags = late ? kProcessAttachedLate : 0;
  ++process.generation;
  state_->attach_tgid = static_cast<__u32>(pid);
  state_->attach_process = index;
  absl::Status status;
  std::uint64_t added = 0;
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    const std::uint64_t before = __atomic_load_n(&state_->attach_added, __ATOMIC_ACQUIRE);
    status = RunIterator("AddExisting");
    const std::uint64_t now = __atomic_load_n(&state_->attach_added, __ATOMIC_ACQUIRE) - before;
    added += now;
    if (!status.ok() || now == 0) break;
  }
  state_->attach_tgid = 0;
  if (status.ok() && added == 0) status = absl::NotFoundError(absl::StrCat("process ", pid, " does not run (any more)"));
  if (added == 0) {
    ClearProcess(process);
    GiveBackProcess(index);
    return status;
  }
  // Only now may the book look at it: a process that ends meanwhile has marked itself dead already.
  __u32 free = kProcessFree;
  __atomic_compare_exchange_n(&process.state, &free, kProcessLive, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  if (!status.ok()) return status;
  return index;
}

absl::Status BpfTracer::RemoveTasks(SpaceId trace) {
  state_->detach_trace = trace.value();
  absl::Status status;
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    const std::uint64_t before = __atomic_load_n(&state_->detached, __ATOMIC_ACQUIRE);
    status = RunIterator("RemoveTraced");
    if (!status.ok() || __atomic_load_n(&state_->detached, __ATOMIC_ACQUIRE) == before) break;
  }
  state_->detach_trace = 0;
  // A hook that found its record before it was removed may still be writing: wait until every CPU has left such sections.
  if (status.ok() && ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0) return ErrnoStatus(errno, "membarrier");
  return status;
}

int BpfTracer::wake_fd() const { return ring_buffer__epoll_fd(wake_ups_.get()); }
void BpfTracer::DrainWakeUps() { ring_buffer__consume(wake_ups_.get()); }

std::uint32_t BpfTracer::processes_used() {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(LoadRelaxed(state_->processes_used), options_.process_count));
}

std::uint64_t BpfTracer::lost() { return LoadRelaxed(state_->lost); }

void BpfTracer::GiveBackSlot(std::uint32_t slot) {
  const __u32 tail = state_->free_slots_tail;
  free_slots_[tail & (options_.slot_count - 1)] = slot;
  __atomic_store_n(&state_->free_slots_tail, tail + 1, __ATOMIC_RELEASE);
}

void BpfTracer::GiveBackProcess(std::uint32_t process) {
  const __u32 tail = state_->free_processes_tail;
  free_processes_[tail & (options_.process_count - 1)] = process;
  __atomic_store_n(&state_->free_processes_tail, tail + 1, __ATOMIC_RELEASE);
}

void BpfTracer::AddOverflow(std::uint32_t process, bool take, CallTotals& into) {
  for (__u32 nr = 0; nr < kNumbers; ++nr) {
    const overflow_key key{.process = process, .nr = nr};
    syscall_entry entry{};
    if (bpf_map_lookup_elem(overflow_fd_, &key, &entry) != 0) continue;
    entry.nr = nr;
    into.Add(entry);
    if (take) bpf_map_delete_elem(overflow_fd_, &key);
  }
}

bool BpfTracer::PidInUse(std::uint32_t pid) { return ::kill(static_cast<pid_t>(pid), 0) == 0 || errno != ESRCH; }

}  // namespace ashlar::pnode
