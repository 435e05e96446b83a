#include "tests/bench/page_fault/bare_floor.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>

#include "common/base/clock.h"
#include "common/base/ids.h"
#include "daemons/pnode/injection/uffd_abi.h"

namespace ashlar::bench {
namespace {

constexpr std::size_t kMovePages = 64;

std::byte* Map(std::size_t pages, int flags) {
  void* memory = mmap(nullptr, pages * kPageBytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) _exit(71);
  madvise(memory, pages * kPageBytes, MADV_NOHUGEPAGE);
  return static_cast<std::byte*>(memory);
}

int OpenUffd(std::uint64_t features, int flags) {
  int uffd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | flags));
  uffdio_api api{UFFD_API, features, 0};
  if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) != 0) _exit(71);
  return uffd;
}

void Register(int uffd, std::byte* start, std::size_t pages) {
  uffdio_register registration{};
  registration.range = {reinterpret_cast<std::uint64_t>(start), pages * kPageBytes};
  registration.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (ioctl(uffd, UFFDIO_REGISTER, &registration) != 0) _exit(71);
}

}  // namespace

std::vector<double> BareFaults(std::size_t pages) {
  // The child is the program: it makes the userfaultfd and shares its descriptor table with us until it is told to go on.
  auto* times = reinterpret_cast<double*>(Map(pages * sizeof(double) / kPageBytes + 1, MAP_SHARED));
  auto* uffd_number = reinterpret_cast<std::atomic<int>*>(Map(1, MAP_SHARED));
  uffd_number->store(-1);
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    std::byte* region = Map(pages, MAP_PRIVATE);
    int uffd = OpenUffd(0, 0);
    Register(uffd, region, pages);
    uffd_number->store(uffd);
    while (uffd_number->load() >= 0) usleep(100);
    for (std::size_t i = 0; i < pages; ++i) {
      std::size_t page = i * 7919 % pages;
      std::uint64_t before_ns = MonotonicNs();
      (void)*static_cast<volatile std::byte*>(region + page * kPageBytes);
      times[i] = static_cast<double>(MonotonicNs() - before_ns) / 1e3;
    }
    _exit(0);
  }
  while (uffd_number->load() < 0) usleep(100);
  int pidfd = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  int uffd = static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, uffd_number->load(), 0));
  std::array<std::byte, kPageBytes> source;
  source.fill(std::byte{7});
  uffd_number->store(-1);
  for (std::size_t i = 0; i < pages; ++i) {
    uffd_msg message;
    if (read(uffd, &message, sizeof(message)) != sizeof(message)) break;
    uffdio_copy copy{};
    copy.dst = message.arg.pagefault.address & ~std::uint64_t{kPageBytes - 1};
    copy.src = reinterpret_cast<std::uint64_t>(source.data());
    copy.len = kPageBytes;
    (void)ioctl(uffd, UFFDIO_COPY, &copy);
  }
  waitpid(child, nullptr, 0);
  close(uffd);
  close(pidfd);
  std::vector<double> result(times, times + pages);
  munmap(times, (pages * sizeof(double) / kPageBytes + 1) * kPageBytes);
  munmap(uffd_number, kPageBytes);
  return result;
}

std::vector<double> BareMoves(std::size_t batches) {
  int uffd = OpenUffd(UFFD_FEATURE_MOVE, O_NONBLOCK);
  std::byte* from = Map(kMovePages, MAP_PRIVATE);
  std::byte* to = Map(kMovePages, MAP_PRIVATE);
  Register(uffd, to, kMovePages);
  std::vector<double> times;
  for (std::size_t i = 0; i < batches; ++i) {
    memset(from, static_cast<int>(i) | 1, kMovePages * kPageBytes);
    uffdio_move move{};
    move.dst = reinterpret_cast<std::uint64_t>(to);
    move.src = reinterpret_cast<std::uint64_t>(from);
    move.len = kMovePages * kPageBytes;
    std::uint64_t before_ns = MonotonicNs();
    if (ioctl(uffd, UFFDIO_MOVE, &move) != 0) break;
    times.push_back(static_cast<double>(MonotonicNs() - before_ns) / 1e3 / kMovePages);
    madvise(to, kMovePages * kPageBytes, MADV_DONTNEED);
  }
  close(uffd);
  munmap(from, kMovePages * kPageBytes);
  munmap(to, kMovePages * kPageBytes);
  return times;
}

}  // namespace ashlar::bench
