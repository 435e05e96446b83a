// zram_capped BYTES [--time FILE] -- PROGRAM ARGS…: the peer "kernel swap on zram at the same cap".
//
// Runs a program in a memory cgroup of BYTES whose overflow goes to a compressed swap device in memory, made for this run and
// taken away after it. FILE receives the program's wall time in seconds. Exit: the program's status; 69 when this machine
// can't, with the reason on stderr. Root only. (Documentation/admin-guide/blockdev/zram.rst, cgroup-v1/memory.rst,
// cgroup-v2.rst.)
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

constexpr int kUnavailable = 69;
constexpr const char* kZramSize = "8G";

[[noreturn]] void GiveUp(const std::string& what) {
  std::fprintf(stderr, "zram_capped: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(kUnavailable);
}

bool Write(const std::string& path, const std::string& text) {
  int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool ok = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  int error = errno;
  close(fd);
  errno = error;
  return ok;
}

std::string Read(const std::string& path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  char text[64];
  ssize_t size = read(fd, text, sizeof(text) - 1);
  close(fd);
  while (size > 0 && text[size - 1] == '\n') --size;
  return size > 0 ? std::string(text, static_cast<std::size_t>(size)) : "";
}

int RunAndWait(const char* const* arguments) {
  pid_t child = fork();
  if (child == 0) {
    int null = open("/dev/null", O_WRONLY);
    dup2(null, STDOUT_FILENO);
    execvp(arguments[0], const_cast<char* const*>(arguments));
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

// A device of our own: one in use is somebody's.
class ZramSwap {
 public:
  ZramSwap() {
    number_ = Read("/sys/class/zram-control/hot_add");
    if (number_.empty()) GiveUp("no zram device to be had (/sys/class/zram-control/hot_add)");
    device_ = "/dev/zram" + number_;
    if (!Write("/sys/block/zram" + number_ + "/disksize", kZramSize)) Fail("set the size of " + device_);
    const char* const mkswap[] = {"mkswap", device_.c_str(), nullptr};
    if (RunAndWait(mkswap) != 0) Fail("mkswap " + device_);
    constexpr int kPriority = 32767;
    if (swapon(device_.c_str(), SWAP_FLAG_PREFER | kPriority) != 0) Fail("swapon " + device_);
    on_ = true;
  }
  ~ZramSwap() { Remove(); }

 private:
  [[noreturn]] void Fail(const std::string& what) {
    int error = errno;
    Remove();
    errno = error;
    GiveUp(what);
  }
  void Remove() {
    if (on_ && swapoff(device_.c_str()) != 0) std::perror("zram_capped: swapoff");
    (void)Write("/sys/block/zram" + number_ + "/reset", "1");
    (void)Write("/sys/class/zram-control/hot_remove", number_);
  }
  std::string number_, device_;
  bool on_ = false;
};

class MemoryGroup {
 public:
  explicit MemoryGroup(const std::string& bytes) {
    bool v1 = access("/sys/fs/cgroup/memory/memory.limit_in_bytes", F_OK) == 0;
    path_ = std::string(v1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup") + "/ashlar-bench-" + std::to_string(getpid());
    if (!v1) (void)Write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
    if (mkdir(path_.c_str(), 0755) != 0) GiveUp("make the memory cgroup " + path_);
    if (!Write(path_ + (v1 ? "/memory.limit_in_bytes" : "/memory.max"), bytes)) {
      int error = errno;
      rmdir(path_.c_str());
      errno = error;
      GiveUp("limit the memory cgroup " + path_);
    }
  }
  ~MemoryGroup() {
    for (int i = 0; i < 100 && rmdir(path_.c_str()) != 0; ++i) usleep(10'000);  // the last task is just leaving
  }
  bool Enter() const { return Write(path_ + "/cgroup.procs", "0"); }

 private:
  std::string path_;
};

double NowSeconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

int RunCapped(const MemoryGroup& group, char** arguments, const char* time_file) {
  double begin = NowSeconds();
  pid_t child = fork();
  if (child == 0) {
    if (!group.Enter()) GiveUp("enter the memory cgroup");
    execvp(arguments[0], arguments);
    GiveUp(arguments[0]);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (time_file != nullptr) {
    std::FILE* file = std::fopen(time_file, "w");
    if (file == nullptr) GiveUp(time_file);
    std::fprintf(file, "%.6f\n", NowSeconds() - begin);
    std::fclose(file);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

int main(int argc, char** argv) {
  int at = 2;
  const char* time_file = nullptr;
  if (argc > at + 1 && std::strcmp(argv[at], "--time") == 0) time_file = argv[at + 1], at += 2;
  if (argc <= at + 1 || std::strcmp(argv[at], "--") != 0) {
    std::fprintf(stderr, "usage: zram_capped BYTES [--time FILE] -- PROGRAM ARGS…\n");
    return 64;
  }
  ZramSwap swap;
  MemoryGroup group(argv[1]);
  return RunCapped(group, argv + at + 1, time_file);
}
