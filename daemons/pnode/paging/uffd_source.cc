#include "daemons/pnode/paging/uffd_source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "daemons/pnode/injection/uffd_abi.h"
#include "daemons/pnode/paging/pagemap_abi.h"
#include "daemons/pnode/paging/proc_maps.h"

namespace ashlar::pnode {
namespace {

absl::StatusOr<UniqueFd> OpenOf(pid_t pid, const char* name) {
  std::string path = absl::StrCat("/proc/", pid, "/", name);
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("open ", path));
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<UffdSource>> UffdSource::Create(UniqueFd uffd, Process process) {
  int flags = fcntl(uffd.get(), F_GETFL);
  if (flags < 0 || fcntl(uffd.get(), F_SETFL, flags | O_NONBLOCK) < 0) return ErrnoStatus(errno, "userfaultfd: fcntl");
  std::unique_ptr<UffdSource> source(new UffdSource(std::move(uffd), std::move(process)));
  pid_t pid = source->process_.pid;
  if (pid != 0) {
    ASHLAR_ASSIGN_OR_RETURN(source->maps_, OpenOf(pid, "maps"));
    ASHLAR_ASSIGN_OR_RETURN(source->pagemap_, OpenOf(pid, "pagemap"));
    ASHLAR_ASSIGN_OR_RETURN(source->statm_, OpenOf(pid, "statm"));
  }
  return source;
}

int UffdSource::Read(std::vector<MemoryEvent>& into) {
  std::array<uffd_msg, kMaxRead> messages;
  ssize_t size = read(uffd_.get(), messages.data(), sizeof(messages));
  if (size <= 0) return 0;  // EAGAIN; a gone process shows by Gone()
  int count = static_cast<int>(static_cast<std::size_t>(size) / sizeof(uffd_msg));
  for (int i = 0; i < count; ++i) {
    const uffd_msg& message = messages[static_cast<std::size_t>(i)];
    MemoryEvent& event = into.emplace_back();
    switch (message.event) {
      case UFFD_EVENT_PAGEFAULT:
        event.kind = MemoryEvent::Kind::kFault;
        event.range.start = message.arg.pagefault.address & ~std::uint64_t{kPageBytes - 1};
        event.range.end = event.range.start + kPageBytes;
        event.write = (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0;
        event.thread = message.arg.pagefault.feat.ptid;
        break;
      case UFFD_EVENT_REMOVE:
      case UFFD_EVENT_UNMAP:
        event.kind = message.event == UFFD_EVENT_REMOVE ? MemoryEvent::Kind::kRemove : MemoryEvent::Kind::kUnmap;
        event.range = {message.arg.remove.start, message.arg.remove.end};
        break;
      case UFFD_EVENT_REMAP:
        event.kind = MemoryEvent::Kind::kRemap;
        event.range = {message.arg.remap.from, message.arg.remap.from + message.arg.remap.len};
        event.to = message.arg.remap.to;
        break;
      case UFFD_EVENT_FORK:
        event.kind = MemoryEvent::Kind::kFork;
        // The kernel put the child's descriptor into our table with the flags of the parent's.
        event.child.reset(new UffdSource(UniqueFd(static_cast<int>(message.arg.fork.ufd)), Process{}));
        break;
      default: into.pop_back(); break;  // no other event was asked for
    }
  }
  return count;
}

FaultSource::Filled UffdSource::Copy(std::uint64_t address, std::span<const std::byte> bytes, bool wake) {
  uffdio_copy copy{};
  copy.dst = address;
  copy.src = reinterpret_cast<std::uint64_t>(bytes.data());
  copy.len = bytes.size();
  copy.mode = wake ? 0 : UFFDIO_COPY_MODE_DONTWAKE;
  if (ioctl(uffd_.get(), UFFDIO_COPY, &copy) == 0) return {0, bytes.size() / kPageBytes};
  int error = errno;
  if (copy.copy <= 0) return {error, 0};
  // Some pages, then an obstacle the kernel does not name (it answers EAGAIN): ask about the next one alone.
  std::size_t done = static_cast<std::size_t>(copy.copy);
  Filled next = Copy(address + done, bytes.subspan(done), wake);
  return {next.error, done / kPageBytes + next.pages};
}

int UffdSource::ZeroFill(std::uint64_t address) {
  uffdio_zeropage zero{};
  zero.range.start = address;
  zero.range.len = kPageBytes;
  return ioctl(uffd_.get(), UFFDIO_ZEROPAGE, &zero) == 0 ? 0 : errno;
}

// No area is ever registered for write-protection, so this changes nothing. EAGAIN: a change of the map is under way (looked
// at first); ESRCH: the mm is gone; ENOENT otherwise.
int UffdSource::Probe() {
  uffdio_writeprotect probe{};
  probe.range.start = 0x10000;
  probe.range.len = kPageBytes;
  return ioctl(uffd_.get(), UFFDIO_WRITEPROTECT, &probe) == 0 ? 0 : errno;
}

bool UffdSource::Changing() { return Probe() == EAGAIN; }

// CONTINUE is for shared memory: on private memory the kernel refuses it with EINVAL, but only after it has found the range
// in one registered mapping (mm/userfaultfd.c, mfill_atomic).
int UffdSource::CheckRegistered(AddressRange range) {
  uffdio_continue probe{};
  probe.range.start = range.start;
  probe.range.len = range.size();
  probe.mode = UFFDIO_CONTINUE_MODE_DONTWAKE;
  int error = ioctl(uffd_.get(), UFFDIO_CONTINUE, &probe) == 0 ? 0 : errno;
  if (error == EINVAL) return 0;
  return error == EAGAIN || error == ESRCH ? error : ENOENT;
}

void UffdSource::Wake(AddressRange range) {
  uffdio_range wake{range.start, range.size()};
  (void)ioctl(uffd_.get(), UFFDIO_WAKE, &wake);  // fails only for ranges that cannot hold a waiting thread
}

int UffdSource::Register(AddressRange range) {
  uffdio_register registration{};
  registration.range.start = range.start;
  registration.range.len = range.size();
  registration.mode = UFFDIO_REGISTER_MODE_MISSING;
  return ioctl(uffd_.get(), UFFDIO_REGISTER, &registration) == 0 ? 0 : errno;
}

int UffdSource::FindPresent(AddressRange range, std::vector<AddressRange>& into) {
  if (!pagemap_.valid()) return ESRCH;
  std::array<page_region, 256> regions;
  std::uint64_t cursor = range.start;
  while (cursor < range.end) {
    pm_scan_arg scan{};
    scan.size = sizeof(scan);
    scan.start = cursor;
    scan.end = range.end;
    scan.vec = reinterpret_cast<std::uint64_t>(regions.data());
    scan.vec_len = regions.size();
    scan.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
    scan.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
    int count = ioctl(pagemap_.get(), PAGEMAP_SCAN, &scan);
    if (count < 0) return errno;
    for (int i = 0; i < count; ++i) {
      const page_region& region = regions[static_cast<std::size_t>(i)];
      into.push_back({region.start, region.end});
    }
    if (scan.walk_end <= cursor) return EIO;
    cursor = scan.walk_end;
  }
  return 0;
}

int UffdSource::ReadMaps() {
  if (!maps_.valid()) return ESRCH;
  if (maps_text_.size() < 65536) maps_text_.resize(65536);
  if (lseek(maps_.get(), 0, SEEK_SET) < 0) return errno;
  std::size_t used = 0;
  for (;;) {
    if (used == maps_text_.size()) maps_text_.resize(used * 2);
    ssize_t size = read(maps_.get(), maps_text_.data() + used, maps_text_.size() - used);
    if (size < 0) return errno;
    if (size == 0) break;
    used += static_cast<std::size_t>(size);
  }
  if (used == maps_text_.size()) maps_text_.resize(used + 1);
  maps_text_[used] = '\0';
  return used == 0 ? ESRCH : 0;
}

int UffdSource::ListCandidates(std::vector<AddressRange>& into) {
  if (int error = ReadMaps(); error != 0) return error;
  for (const char* line = maps_text_.data(); *line != '\0';) {
    const char* end = std::strchr(line, '\n');
    if (end == nullptr) break;
    std::optional<MapsLine> parsed = ParseMapsLine({line, static_cast<std::size_t>(end - line)});
    line = end + 1;
    if (!parsed.has_value() || !parsed->Candidate()) continue;
    bool excluded = false;
    for (const AddressRange& range : process_.excluded) {
      excluded |= parsed->range.start < range.end && range.start < parsed->range.end;
    }
    if (!excluded) into.push_back(parsed->range);
  }
  return 0;
}

AddressRange UffdSource::FindMapping(std::uint64_t address) {
  if (ReadMaps() != 0) return {};
  for (const char* line = maps_text_.data(); *line != '\0';) {
    const char* end = std::strchr(line, '\n');
    if (end == nullptr) break;
    std::optional<MapsLine> parsed = ParseMapsLine({line, static_cast<std::size_t>(end - line)});
    line = end + 1;
    if (!parsed.has_value() || address < parsed->range.start || address >= parsed->range.end) continue;
    return parsed->Anonymous() ? parsed->range : AddressRange{};
  }
  return {};
}

std::uint64_t UffdSource::ResidentAnonymousPages() {
  if (!statm_.valid()) return 0;
  char text[128];
  ssize_t size = pread(statm_.get(), text, sizeof(text) - 1, 0);
  if (size <= 0) return 0;
  text[size] = '\0';
  char* cursor = text;
  (void)std::strtoull(cursor, &cursor, 10);  // virtual size
  std::uint64_t resident = std::strtoull(cursor, &cursor, 10);
  std::uint64_t shared = std::strtoull(cursor, &cursor, 10);
  return resident > shared ? resident - shared : 0;
}

bool UffdSource::NoThreadDropsPages() {
  if (process_.pid == 0) return false;
  std::string path = absl::StrCat("/proc/", process_.pid, "/task");
  DIR* tasks = opendir(path.c_str());
  if (tasks == nullptr) return false;
  bool outside = true;
  while (dirent* task = readdir(tasks)) {
    if (task->d_name[0] == '.') continue;
    UniqueFd fd(open(absl::StrCat(path, "/", task->d_name, "/syscall").c_str(), O_RDONLY | O_CLOEXEC));
    char text[64];
    ssize_t size = fd.valid() ? read(fd.get(), text, sizeof(text) - 1) : 0;
    if (size <= 0) continue;  // just ended
    text[size] = '\0';
    // "running" says nothing: it may run inside of madvise.
    long number = text[0] == 'r' ? SYS_madvise : std::strtol(text, nullptr, 10);
    bool iou = number == SYS_io_uring_enter;
    if (number == SYS_madvise || number == SYS_process_madvise || number == SYS_fallocate || iou) outside = false;
    if (!outside) break;
  }
  closedir(tasks);
  return outside;
}

bool UffdSource::ThreadAlive(std::uint32_t thread) {
  if (process_.pid == 0) return false;
  return syscall(SYS_tgkill, process_.pid, static_cast<pid_t>(thread), 0) == 0 || errno != ESRCH;
}

bool UffdSource::Gone() {
  if (process_.pidfd.valid() && !ended_) {
    pollfd wait{process_.pidfd.get(), POLLIN, 0};
    if (poll(&wait, 1, 0) > 0) ended_ = true;  // its memory may live on: a vfork child's
  }
  return Probe() == ESRCH;
}

}  // namespace ashlar::pnode
