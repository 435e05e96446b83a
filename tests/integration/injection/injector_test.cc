// The injector alone against real programs: what they see, what the helpers do. Needs the right to a userfaultfd.
#include "daemons/pnode/injection/injector.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/ids.h"
#include "daemons/pnode/injection/helper_blob.h"
#include "daemons/pnode/injection/helper_protocol.h"
#include "daemons/pnode/injection/uffd_abi.h"
#include "daemons/pnode/injection/uffd_setup.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

constexpr InjectionPlan kPlan{.staging_pages = 256, .victim_slots = 512};

std::string Program(const char* name) { return absl::StrCat(ASHLAR_TEST_PROGRAMS, "/", name); }

// A child that waits for a byte, then executes `argv`; its output goes into a pipe.
class Child {
 public:
  explicit Child(std::vector<std::string> argv) {
    int go[2];
    int out[2];
    EXPECT_EQ(::pipe2(go, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    std::vector<char*> pointers;
    for (std::string& word : argv) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
      ::dup2(out[1], 1);
      char byte;
      if (::read(go[0], &byte, 1) != 1) ::_exit(99);
      ::execv(pointers[0], pointers.data());
      ::_exit(127);
    }
    ::close(go[0]);
    ::close(out[1]);
    go_ = UniqueFd(go[1]);
    out_ = UniqueFd(out[0]);
  }
  ~Child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, __WALL);
    }
  }

  pid_t pid() const { return pid_; }
  PtraceSession StopAtExec() {
    absl::StatusOr<PtraceSession> session = PtraceSession::Seize(pid_);
    EXPECT_TRUE(session.ok()) << session.status();
    EXPECT_EQ(::write(go_.get(), "x", 1), 1);
    absl::StatusOr<std::optional<int>> ended = session->WaitForExec();
    EXPECT_TRUE(ended.ok() && !ended->has_value()) << ended.status();
    return *std::move(session);
  }
  std::string Output() {
    std::string text;
    char buffer[4096];
    for (ssize_t n; (n = ::read(out_.get(), buffer, sizeof(buffer))) > 0;) text.append(buffer, static_cast<size_t>(n));
    return text;
  }
  int Wait() {
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, __WALL), pid_);
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_ = -1;
  UniqueFd go_;
  UniqueFd out_;
};

class InjectorTest : public testing::Test {
 protected:
  void SetUp() override {
    UniqueFd uffd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
    if (!uffd.valid()) GTEST_SKIP() << "SKIPPED: no right to userfaultfd: " << strerror(errno);
    void* page = ::mmap(nullptr, 64 * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const absl::Status probed = SetUpUffd(uffd.get(), reinterpret_cast<std::uint64_t>(page), 64);
    uffd.Reset();  // before the munmap, which would wait for somebody to read its event
    ::munmap(page, 64 * kPageBytes);
    if (!probed.ok()) GTEST_SKIP() << "SKIPPED: " << probed;
  }
};

TEST_F(InjectorTest, ProgramRunsToItsOwnEnd) {
  Child child({Program("static_sum")});
  PtraceSession session = child.StopAtExec();
  const std::uint64_t start_ns = MonotonicNs();
  absl::StatusOr<Injection> injection = Inject(session, kPlan);
  const std::uint64_t took_ns = MonotonicNs() - start_ns;
  ASSERT_TRUE(injection.ok()) << injection.status();
  ASSERT_TRUE(SetUpUffd(injection->uffd.get(), injection->addresses.staging, kPlan.staging_pages).ok());
  ASSERT_TRUE(session.Detach().ok());
  const int status = child.Wait();
  EXPECT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 42);
  RecordProperty("injection_us", static_cast<int>(took_ns / 1000));
  std::printf("injection took %lu us, blob %zu bytes\n", static_cast<unsigned long>(took_ns / 1000),
              HelperBlob().size());
}

TEST_F(InjectorTest, ProgramSeesNoForeignDescriptor) {
  Child plain({Program("list_descriptors")});
  ASSERT_TRUE(plain.StopAtExec().Detach().ok());
  const std::string expected = plain.Output();

  Child child({Program("list_descriptors")});
  PtraceSession session = child.StopAtExec();
  absl::StatusOr<Injection> injection = Inject(session, kPlan);
  ASSERT_TRUE(injection.ok()) << injection.status();
  ASSERT_TRUE(session.Detach().ok());
  EXPECT_EQ(child.Output(), expected);
  EXPECT_EQ(child.Wait(), 0);
}

}  // namespace
}  // namespace ashlar::pnode
