// The injector alone against real programs: what they see, what the helpers do. Needs the right to a userfaultfd.
#include "daemons/pnode/injection/injector.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <tuple>
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
    int in[2];
    EXPECT_EQ(::pipe2(in, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(go, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    std::vector<char*> pointers;
    for (std::string& word : argv) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      char byte;
      if (::read(go[0], &byte, 1) != 1) ::_exit(99);
      ::execv(pointers[0], pointers.data());
      ::_exit(127);
    }
    ::close(go[0]);
    ::close(out[1]);
    ::close(in[0]);
    in_ = UniqueFd(in[1]);
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
  std::string Line() {
    std::string line;
    for (char byte; ::read(out_.get(), &byte, 1) == 1 && byte != '\n';) line += byte;
    return line;
  }
  void GoOn() { EXPECT_EQ(::write(in_.get(), "\n", 1), 1); }
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
  UniqueFd in_;
};

// What the owner in the pnode does, in its smallest form: one batch at a time, faults served from the victim area.
class Owner {
 public:
  explicit Owner(Injection injection) : injection_(std::move(injection)) {
    control_ = static_cast<HelperControl*>(Map(injection_.control.get(), sizeof(HelperControl)));
    victim_ = static_cast<std::byte*>(Map(injection_.victim.get(), kPlan.victim_slots * kPageBytes));
    EXPECT_TRUE(SetUpUffd(injection_.uffd.get(), injection_.addresses.staging, kPlan.staging_pages).ok());
  }
  ~Owner() {
    ::munmap(control_, sizeof(HelperControl));
    ::munmap(victim_, kPlan.victim_slots * kPageBytes);
  }

  void Register(std::uint64_t address, std::size_t size) {
    uffdio_register range{.range = {address, size}, .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
    ASSERT_EQ(::ioctl(injection_.uffd.get(), UFFDIO_REGISTER, &range), 0) << strerror(errno);
  }
  // Page k of `addresses` goes to slot first_slot + k. Sleeps on the eventfd.
  std::vector<std::uint32_t> Move(const std::vector<std::uint64_t>& addresses, std::uint32_t first_slot) {
    MoveMailbox& box = control_->move;
    for (std::size_t k = 0; k < addresses.size(); ++k) {
      box.entries[k].address = addresses[k];
      box.entries[k].victim_slot = first_slot + static_cast<std::uint32_t>(k);
      box.entries[k].result = kResultPending;
    }
    box.count = static_cast<std::uint32_t>(addresses.size());
    Run(box.command, box.done, box.owner_waits, injection_.move_event.get());
    std::vector<std::uint32_t> results;
    for (std::size_t k = 0; k < addresses.size(); ++k) results.push_back(box.entries[k].result);
    return results;
  }
  std::uint32_t Unshare(std::uint64_t address) {
    UnshareMailbox& box = control_->unshare;
    box.entries[0].address = address;
    box.entries[0].result = kResultPending;
    box.count = 1;
    Run(box.command, box.done, box.owner_waits, injection_.unshare_event.get());
    return box.entries[0].result;
  }
  // Serves missing pages of [base, …) from the slot of the same index until the program ends.
  int ServeUntilEnd(std::uint64_t base) {
    int served = 0;
    for (;;) {
      pollfd both[2] = {{injection_.uffd.get(), POLLIN, 0}, {injection_.pidfd.get(), POLLIN, 0}};
      ::poll(both, 2, -1);
      uffd_msg message;
      while (::read(injection_.uffd.get(), &message, sizeof(message)) == sizeof(message)) {
        if (message.event != UFFD_EVENT_PAGEFAULT) continue;
        const std::uint64_t at = message.arg.pagefault.address & ~std::uint64_t{kPageBytes - 1};
        uffdio_copy copy{.dst = at,
                         .src = reinterpret_cast<std::uint64_t>(victim_ + (at - base)),
                         .len = kPageBytes,
                         .mode = 0,
                         .copy = 0};
        EXPECT_EQ(::ioctl(injection_.uffd.get(), UFFDIO_COPY, &copy), 0) << strerror(errno);
        ++served;
      }
      if (both[1].revents != 0) return served;
    }
  }
  HelperControl& control() { return *control_; }
  const std::byte* slot(std::size_t index) const { return victim_ + index * kPageBytes; }
  const Injection& injection() const { return injection_; }

 private:
  static void* Map(int fd, std::size_t size) {
    void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT_NE(at, MAP_FAILED);
    return at;
  }
  void Run(SharedWord& command, SharedWord& done, SharedWord& owner_waits, int event_fd) {
    const std::uint32_t sequence = command.load() + 1;
    command.store(sequence);
    ::syscall(SYS_futex, &command, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    while (done.load() != sequence) {
      owner_waits.store(1);
      if (done.load() == sequence) break;
      pollfd one{event_fd, POLLIN, 0};
      ASSERT_EQ(::poll(&one, 1, 10'000), 1) << "the helper does not answer";
      std::uint64_t count;
      EXPECT_EQ(::read(event_fd, &count, sizeof(count)), 8);
    }
    owner_waits.store(0);
  }

  Injection injection_;
  HelperControl* control_ = nullptr;
  std::byte* victim_ = nullptr;
};

class InjectorTest : public testing::Test {
 protected:
  void SetUp() override {
    UniqueFd uffd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
    if (!uffd.valid()) GTEST_SKIP() << "no right to userfaultfd: " << strerror(errno);
    void* page = ::mmap(nullptr, 64 * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const absl::Status probed = SetUpUffd(uffd.get(), reinterpret_cast<std::uint64_t>(page), 64);
    uffd.Reset();  // before the munmap, which would wait for somebody to read its event
    ::munmap(page, 64 * kPageBytes);
    if (!probed.ok()) GTEST_SKIP() << probed;
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

// Starts hold_pages under an Owner; returns the address of its pages.
struct HeldPages {
  Child child;
  std::unique_ptr<Owner> owner;
  std::uint64_t base = 0;

  explicit HeldPages(std::vector<std::string> argv) : child(std::move(argv)) {
    PtraceSession session = child.StopAtExec();
    absl::StatusOr<Injection> injection = Inject(session, kPlan);
    EXPECT_TRUE(injection.ok()) << injection.status();
    owner = std::make_unique<Owner>(*std::move(injection));
    EXPECT_TRUE(session.Detach().ok());
  }
  void WaitForAddress() { base = std::stoull(child.Line(), nullptr, 16); }
  std::uint64_t page(std::uint64_t index) const { return base + index * kPageBytes; }
};

TEST_F(InjectorTest, PagesGoOutAndComeBackUnchanged) {
  HeldPages held({Program("hold_pages")});
  held.WaitForAddress();
  held.owner->Register(held.base, 128 * kPageBytes);
  for (std::uint32_t first = 0; first < 128; first += kMaxMovePages) {
    std::vector<std::uint64_t> batch;
    for (std::uint32_t k = 0; k < kMaxMovePages; ++k) batch.push_back(held.page(first + k));
    EXPECT_THAT(held.owner->Move(batch, first), testing::Each(0));
  }
  for (std::size_t page = 0; page < 128; ++page) {
    EXPECT_EQ(std::to_integer<int>(held.owner->slot(page)[4095]), static_cast<int>(page + 1));
  }
  held.child.GoOn();
  EXPECT_EQ(held.owner->ServeUntilEnd(held.base), 128);
  EXPECT_EQ(held.child.Wait(), 0);
}

TEST_F(InjectorTest, RunOverTwoAreasAndHolesGetsEachPagesOwnResult) {
  HeldPages held({Program("hold_pages")});
  held.WaitForAddress();
  held.owner->Register(held.base, 128 * kPageBytes);
  EXPECT_THAT(held.owner->Move({held.page(61)}, 61), testing::ElementsAre(0));
  // 60 is there, 61 is a hole, 62 and 63 end one VMA, 64 and 65 begin the next.
  EXPECT_THAT(held.owner->Move({held.page(60), held.page(61), held.page(62), held.page(63), held.page(64),
                                held.page(65)}, 400),
              testing::ElementsAre(0, ENOENT, 0, 0, 0, 0));
  EXPECT_EQ(std::to_integer<int>(held.owner->slot(404)[0]), 65);
  EXPECT_THAT(held.owner->Move({held.page(70), held.page(71)}, kPlan.victim_slots - 1), testing::ElementsAre(0, ERANGE));
  for (std::uint32_t k : {60u, 62u, 63u, 64u, 65u}) {
    std::memcpy(const_cast<std::byte*>(held.owner->slot(k)), held.owner->slot(400 + k - 60), kPageBytes);
  }
  std::memcpy(const_cast<std::byte*>(held.owner->slot(70)), held.owner->slot(kPlan.victim_slots - 1), kPageBytes);
  held.child.GoOn();
  EXPECT_EQ(held.owner->ServeUntilEnd(held.base), 7);
  EXPECT_EQ(held.child.Wait(), 0);
}

TEST_F(InjectorTest, StagingIsRecycledWithoutAnEvent) {
  HeldPages held({Program("hold_pages")});
  held.WaitForAddress();
  held.owner->Register(held.base, 128 * kPageBytes);
  std::vector<std::uint64_t> batch;
  for (std::uint32_t k = 0; k < kMaxMovePages; ++k) batch.push_back(held.page(k));
  for (int round = 0; round < 20; ++round) {
    ASSERT_THAT(held.owner->Move(batch, 0), testing::Each(0)) << round;
    uffdio_copy copy{.dst = held.base,
                     .src = reinterpret_cast<std::uint64_t>(held.owner->slot(0)),
                     .len = kMaxMovePages * kPageBytes,
                     .mode = 0,
                     .copy = 0};
    ASSERT_EQ(::ioctl(held.owner->injection().uffd.get(), UFFDIO_COPY, &copy), 0) << strerror(errno);
  }
  EXPECT_GE(held.owner->control().move.recycles.load(), 2u);
  EXPECT_EQ(held.owner->control().move.recycle_errno.load(), 0u);
  uffd_msg message;
  EXPECT_EQ(::read(held.owner->injection().uffd.get(), &message, sizeof(message)), -1) << "an event was raised";
  held.child.GoOn();
  EXPECT_EQ(held.child.Wait(), 0);
}

TEST_F(InjectorTest, SharedPageIsRefusedUntilUnshared) {
  HeldPages held({Program("hold_pages"), "fork"});
  held.WaitForAddress();
  held.owner->Register(held.base, 128 * kPageBytes);
  EXPECT_THAT(held.owner->Move({held.page(5)}, 5), testing::ElementsAre(EBUSY));
  EXPECT_EQ(held.owner->Unshare(held.page(5)), 0u);
  EXPECT_THAT(held.owner->Move({held.page(5)}, 5), testing::ElementsAre(0));
  held.child.GoOn();
  EXPECT_EQ(held.owner->ServeUntilEnd(held.base), 1);
  EXPECT_EQ(held.child.Wait(), 0);
}

TEST_F(InjectorTest, HelpersHoldNoDescriptorAndNoCapability) {
  HeldPages held({Program("hold_pages")});
  held.WaitForAddress();
  const auto read = [](const std::string& path) {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const Injection& injection = held.owner->injection();
  for (const auto& [tid, name, count] : {std::tuple{injection.move_tid, "ashlar-mover\n", 2},
                                        std::tuple{injection.unshare_tid, "ashlar-unshare\n", 1}}) {
    const std::string task = absl::StrCat("/proc/", injection.pid, "/task/", tid);
    EXPECT_EQ(read(task + "/comm"), name);
    const std::string status = read(task + "/status");
    EXPECT_THAT(status, testing::HasSubstr("CapEff:\t0000000000000000"));
    EXPECT_THAT(status, testing::HasSubstr("CapPrm:\t0000000000000000"));
    EXPECT_THAT(status, testing::HasSubstr("SigBlk:\tfffffffffffbfeff")) << "all but KILL and STOP";
    EXPECT_THAT(status, testing::HasSubstr("Seccomp:\t2"));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(task + "/fd"), std::filesystem::directory_iterator()),
              count);
  }
  held.child.GoOn();
  EXPECT_EQ(held.child.Wait(), 0);
}

}  // namespace
}  // namespace ashlar::pnode
