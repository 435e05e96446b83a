#include "daemons/pnode/injection/exit_ranges.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/ids.h"

namespace ashlar::pnode {
namespace {

// In glibc 2.36 the tid word stands 16 bytes before the head, in musl 88: half a KiB holds both and what comes.
constexpr std::uint64_t kDescriptorBefore = 512;
constexpr std::uint64_t kHeadBytes = 24;  // struct robust_list_head: list, futex_offset, list_op_pending
constexpr std::uint64_t kUserEnd = std::uint64_t{1} << 47;
constexpr std::uint64_t kPriorityInheritance = 1;  // lowest bit of a list pointer

std::uint64_t PageOf(std::uint64_t address) { return address & ~std::uint64_t{kPageBytes - 1}; }

void AddPages(std::vector<AddressRange>& ranges, std::uint64_t begin, std::uint64_t size) {
  if (begin >= kUserEnd || size > kUserEnd - begin || ranges.size() == kMaxExitRanges) return;
  const AddressRange pages{PageOf(begin), PageOf(begin + size - 1) + kPageBytes};
  for (const AddressRange& range : ranges) {
    if (range.start <= pages.start && pages.end <= range.end) return;
  }
  ranges.push_back(pages);
}

}  // namespace

std::uint64_t FindRobustListHead(pid_t tid) {
  void* head = nullptr;
  std::size_t length = 0;
  if (::syscall(SYS_get_robust_list, tid, &head, &length) != 0) return 0;
  return reinterpret_cast<std::uint64_t>(head);
}

std::vector<AddressRange> ExitRanges(std::uint64_t head, ReadWord read) {
  std::vector<AddressRange> ranges;
  if (head < kDescriptorBefore || head >= kUserEnd) return ranges;
  AddPages(ranges, head - kDescriptorBefore, kDescriptorBefore + kHeadBytes);

  std::uint64_t entry = 0;
  std::uint64_t futex_offset = 0;
  std::uint64_t pending = 0;
  if (!read(head, &entry) || !read(head + 8, &futex_offset) || !read(head + 16, &pending)) return ranges;
  const auto add_mutex = [&](std::uint64_t at) {
    at &= ~kPriorityInheritance;
    if (at == 0) return;
    AddPages(ranges, at, 8);                // the link
    AddPages(ranges, at + futex_offset, 4);  // the futex word, which the kernel changes; offset may be negative
  };
  if (pending != 0) add_mutex(pending);
  for (std::size_t count = 0; count < kMaxExitRanges && (entry & ~kPriorityInheritance) != head; ++count) {
    add_mutex(entry);
    if (!read(entry & ~kPriorityInheritance, &entry)) break;
  }
  return ranges;
}

}  // namespace ashlar::pnode
