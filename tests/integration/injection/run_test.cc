// `ashlar run` from outside: what a user sees of a program that runs under a pnode.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "daemons/pnode/injection/handoff_message.h"
#include "daemons/pnode/injection/launcher.h"
#include "daemons/pnode/injection/packet_socket.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/injection/test_pnode.h"

namespace ashlar::pnode {
namespace {

using testing::HasSubstr;

std::string Program(const char* name) { return absl::StrCat(ASHLAR_TEST_PROGRAMS, "/", name); }

// A started command; its output and error lines are read to the end by Wait. Killed after 30 s.
class Command {
 public:
  explicit Command(std::vector<std::string> argv) {
    EXPECT_EQ(::pipe2(out_, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(err_, O_CLOEXEC), 0);
    std::vector<char*> pointers;
    for (std::string& word : argv) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(out_[1], 1);
      ::dup2(err_[1], 2);
      ::alarm(30);
      ::execvp(pointers[0], pointers.data());
      ::_exit(99);
    }
    ::close(out_[1]);
    ::close(err_[1]);
  }
  ~Command() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(out_[0]);
    ::close(err_[0]);
  }

  pid_t pid() const { return pid_; }
  std::string Line() {
    std::string line;
    for (char byte; ::read(out_[0], &byte, 1) == 1 && byte != '\n';) line += byte;
    return line;
  }
  int WaitStatus(int options = 0) {
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, options), pid_);
    if (!WIFSTOPPED(status)) pid_ = -1;
    return status;
  }
  // Exit code; -1000 - signal if a signal ended it.
  int Wait() {
    ReadAll(out_[0], &out);
    ReadAll(err_[0], &err);
    const int status = WaitStatus();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1000 - WTERMSIG(status);
  }
  std::string out;
  std::string err;

 private:
  static void ReadAll(int fd, std::string* text) {
    char buffer[4096];
    for (ssize_t n; (n = ::read(fd, buffer, sizeof(buffer))) > 0;) text->append(buffer, static_cast<std::size_t>(n));
  }
  pid_t pid_ = -1;
  int out_[2];
  int err_[2];
};

class RunTest : public testing::Test {
 protected:
  void SetUp() override {
    UniqueFd uffd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
    const UniqueFd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
    if (!uffd.valid() && !device.valid()) GTEST_SKIP() << "no right to userfaultfd: " << strerror(errno);
    if (::geteuid() != 0) GTEST_SKIP() << "the pnode's part needs CAP_SYS_PTRACE";
  }
  TestPnode& Start(TestPnodeOptions options = {}) {
    pnode_ = std::make_unique<TestPnode>(std::move(options));
    return *pnode_;
  }
  std::vector<std::string> Shim(std::vector<std::string> argv) {
    std::vector<std::string> all = {ASHLAR_RUN_SHIM, pnode_->socket_path(), "67108864"};
    all.insert(all.end(), argv.begin(), argv.end());
    return all;
  }
  std::unique_ptr<TestPnode> pnode_;
};

TEST_F(RunTest, ExitStatusIsTheProgramsOwn) {
  Start();
  EXPECT_EQ(Command(Shim({"/bin/true"})).Wait(), 0);
  EXPECT_EQ(Command(Shim({"false"})).Wait(), 1);
  EXPECT_EQ(Command(Shim({"sh", "-c", "exit 7"})).Wait(), 7);
  EXPECT_EQ(Command(Shim({"sh", "-c", "kill -TERM $$"})).Wait(), 128 + SIGTERM);
  EXPECT_EQ(Command(Shim({Program("static_sum")})).Wait(), 42);
  const TestPnode::Gone gone = pnode_->WaitForGone();
  EXPECT_EQ(gone.reason, GoneReason::kEnded);
  EXPECT_EQ(gone.wait_status, 0);
}

TEST_F(RunTest, MissingAndNotExecutableProgramsSaySo) {
  Start();
  Command missing(Shim({"/no/such/program"}));
  EXPECT_EQ(missing.Wait(), 127);
  EXPECT_THAT(missing.err, HasSubstr("/no/such/program: No such file"));
  Command file(Shim({"/etc/passwd"}));
  EXPECT_EQ(file.Wait(), 126);
  EXPECT_THAT(file.err, HasSubstr("/etc/passwd: Permission denied"));
  EXPECT_EQ(pnode_->WaitForGone().reason, GoneReason::kNeverRan);
}

TEST_F(RunTest, WithoutPnodeItFailsAtOnceWithTheFix) {
  Command command({ASHLAR_RUN_SHIM, "/tmp/no-such-ashlar/run.sock", "0", "/bin/true"});
  EXPECT_EQ(command.Wait(), 125);
  EXPECT_THAT(command.err, HasSubstr("no pnode runs here; start ashlar-pnode"));
}

TEST_F(RunTest, RefusalsReachTheUser) {
  Start({.admit = absl::ResourceExhaustedError("cache_bytes is 1 GiB, 2 GiB asked for")});
  Command full(Shim({"/bin/true"}));
  EXPECT_EQ(full.Wait(), 125);
  EXPECT_THAT(full.err, HasSubstr("cache_bytes is 1 GiB, 2 GiB asked for"));

  Start({.attach = absl::UnavailableError("no mnode answers")});
  Command late(Shim({"echo", "ran"}));
  EXPECT_EQ(late.Wait(), 125);
  EXPECT_THAT(late.err, HasSubstr("no mnode answers"));
  EXPECT_EQ(late.out, "") << "the program ran";
  EXPECT_EQ(pnode_->WaitForGone().reason, GoneReason::kNeverRan);
}

TEST_F(RunTest, PrivilegedProgramIsRefused) {
  Start();
  const std::string copy = pnode_->socket_path() + ".setuid";
  std::filesystem::copy_file("/bin/true", copy);
  ASSERT_EQ(::chmod(copy.c_str(), 04755), 0);
  Command command(Shim({copy}));
  EXPECT_EQ(command.Wait(), 125);
  EXPECT_THAT(command.err, HasSubstr("is setuid, setgid or has file capabilities"));
  std::filesystem::remove(copy);
}

TEST_F(RunTest, ProgramOf32BitsIsRefused) {
  Start();
  // ELF32, i386, one loaded segment: mov $1,%eax; xor %ebx,%ebx; int $0x80
  static const unsigned char kElf32[] = {
      0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 1, 0, 0, 0, 0x54, 0x80, 0x04, 0x08,
      0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x34, 0, 0x20, 0, 1, 0, 0, 0, 0, 0, 0, 0,
      1, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x04, 0x08, 0, 0x80, 0x04, 0x08, 0x5d, 0, 0, 0, 0x5d, 0, 0, 0, 5, 0, 0, 0,
      0, 0x10, 0, 0, 0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80};
  const std::string path = pnode_->socket_path() + ".elf32";
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(kElf32), sizeof(kElf32));
  ASSERT_EQ(::chmod(path.c_str(), 0755), 0);
  Command command(Shim({path}));
  const int code = command.Wait();
  std::filesystem::remove(path);
  if (code == 126 || code == 0) GTEST_SKIP() << "this kernel runs no 32-bit programs (code " << code << ")";
  EXPECT_EQ(code, 125);
  EXPECT_THAT(command.err, HasSubstr("is not a 64-bit x86 program"));
}

TEST_F(RunTest, ProgramSeesItsOwnWorld) {
  Start();
  const std::vector<std::vector<std::string>> looks = {
      {Program("list_descriptors")},
      {"env"},
      {"pwd"},
      {"sh", "-c", "grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status; ulimit -n; umask; ps -o pgid= -p $$ | wc -l"},
  };
  for (const std::vector<std::string>& look : looks) {
    Command plain(look);
    ASSERT_EQ(plain.Wait(), 0);
    Command command(Shim(look));
    EXPECT_EQ(command.Wait(), 0) << command.err;
    EXPECT_EQ(command.out, plain.out);
    EXPECT_EQ(command.err, "");
  }
}

// An ordinary user has no right to userfaultfd; the pnode's descriptor of the device is enough.
TEST_F(RunTest, OrdinaryUserNeedsOnlyTheSocket) {
  TestPnode& pnode = Start({.evict = true});
  const std::string& socket = pnode.socket_path();
  ASSERT_EQ(::chmod(socket.substr(0, socket.rfind('/')).c_str(), 0755), 0);
  ASSERT_EQ(::chmod(socket.c_str(), 0666), 0);
  std::vector<std::string> argv = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"};
  for (const std::string& word : Shim({Program("thread_churn"), "10"})) argv.push_back(word);
  Command reachable({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", "test", "-x", ASHLAR_RUN_SHIM});
  if (reachable.Wait() != 0) GTEST_SKIP() << "no setpriv, or the build folder is closed to other users";
  Command command(argv);
  EXPECT_EQ(command.Wait(), 0) << command.err;
  EXPECT_GT(pnode.moved(), 0u);
}

TEST_F(RunTest, ThreadsEndAndAreJoinedWhileTheirPagesAreTakenAway) {
  TestPnode& pnode = Start({.evict = true});
  Command command(Shim({Program("thread_churn"), "50"}));
  EXPECT_EQ(command.Wait(), 0) << command.err;
  EXPECT_GE(pnode.exits(), 200u) << "some are looked at twice";
  EXPECT_GE(pnode.moved(), 200u) << "at least one page of each ending thread";
  RecordProperty("moved", static_cast<int>(pnode.moved()));
}

// The counter-proof: let go while the thread descriptor is away, and the join never ends.
TEST_F(RunTest, WithoutTheGuardJoinWouldHang) {
  Start({.evict = true, .bring_back_before_exit = false});
  Command command(Shim({Program("thread_churn"), "5"}));
  for (int i = 0; i < 20; ++i) {
    int status = 0;
    ASSERT_EQ(::waitpid(command.pid(), &status, WNOHANG), 0) << "it ended; the guard is not needed any more?";
    ::usleep(50'000);
  }
}

TEST_F(RunTest, OutputOfUnmodifiedProgramsIsTheSameUnderEviction) {
  Start({.evict = true});
  const std::vector<std::vector<std::string>> programs = {
      {"python3", "-c", "x=[str(i)*3 for i in range(200000)]; import hashlib; print(hashlib.sha256(''.join(x).encode()).hexdigest())"},
      {"sh", "-c", "seq 1 20000 | sort -r | md5sum"},
      {"sort", "-r", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"},
  };
  for (const std::vector<std::string>& program : programs) {
    Command plain(program);
    const int expected = plain.Wait();
    Command command(Shim(program));
    EXPECT_EQ(command.Wait(), expected) << command.err;
    EXPECT_EQ(command.out, plain.out);
  }
  EXPECT_GT(pnode_->moved(), 0u);
}

TEST_F(RunTest, SignalReachesTheProgram) {
  Start();
  Command command(Shim({"sh", "-c", "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.02; done"}));
  EXPECT_EQ(command.Line(), "ready");
  ::kill(command.pid(), SIGTERM);
  EXPECT_EQ(command.Wait(), 9);
  EXPECT_EQ(command.out, "caught\n");
}

TEST_F(RunTest, StoppingAndGoingOnFollowTheProgram) {
  Start();
  Command command(Shim({"sh", "-c", "kill -STOP $$; echo on"}));
  const int status = command.WaitStatus(WUNTRACED);
  ASSERT_TRUE(WIFSTOPPED(status));
  EXPECT_EQ(WSTOPSIG(status), SIGSTOP);
  ::kill(command.pid(), SIGCONT);
  EXPECT_EQ(command.Wait(), 0);
  EXPECT_EQ(command.out, "on\n");
}

TEST_F(RunTest, KilledByThePnodeSaysWhy) {
  Start();
  Command command(Shim({"sh", "-c", "echo ready; sleep 30"}));
  EXPECT_EQ(command.Line(), "ready");
  pnode_->server().Kill(SpaceId(1), "a page of it is lost (version 7 of page 9)");
  EXPECT_EQ(command.Wait(), 128 + SIGKILL);
  EXPECT_THAT(command.err, HasSubstr("sh was killed: a page of it is lost (version 7 of page 9)"));
}

TEST_F(RunTest, StoppedPnodeEndsTheProgram) {
  Start();
  Command command(Shim({"sh", "-c", "echo ready; sleep 30"}));
  EXPECT_EQ(command.Line(), "ready");
  pnode_.reset();
  EXPECT_EQ(command.Wait(), 128 + SIGKILL);
  EXPECT_THAT(command.err, HasSubstr("the pnode was stopped"));
}

// The first process ended, a daemonised one lives on under the same filter; it is still seen, and its end ends the space.
TEST_F(RunTest, DaemonisedChildLivesOn) {
  Start();
  Command command(Shim({"sh", "-c", "sleep 30 >/dev/null 2>&1 & echo $!"}));
  const pid_t child = std::stoi(command.Line());
  EXPECT_EQ(command.Wait(), 0);
  EXPECT_EQ(::kill(child, 0), 0);
  EXPECT_EQ(pnode_->server().Programs().size(), 1u);
  ::kill(child, SIGKILL);
  EXPECT_EQ(pnode_->WaitForGone().reason, GoneReason::kEnded);
  EXPECT_TRUE(pnode_->server().Programs().empty());
}

pid_t KeeperOf(pid_t shim) {
  pid_t keeper = 0;
  std::ifstream(absl::StrCat("/proc/", shim, "/task/", shim, "/children")) >> keeper;
  return keeper;
}

bool Ends(pid_t pid) {
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  pollfd one{pidfd.get(), POLLIN, 0};
  return !pidfd.valid() || ::poll(&one, 1, 5000) == 1;
}

TEST_F(RunTest, KilledShimTakesTheProgramWithIt) {
  Start();
  Command command(Shim({"sh", "-c", "sleep 30 & echo $$; echo $!; wait"}));
  const pid_t first = std::stoi(command.Line());
  const pid_t child = std::stoi(command.Line());
  // The pnode looks for children once a second.
  const std::uint64_t end_ns = MonotonicNs() + 5'000'000'000;
  while (MonotonicNs() < end_ns && (pnode_->server().Programs().empty() || pnode_->server().Programs()[0].children.empty())) {
    ::usleep(20'000);
  }
  ASSERT_EQ(pnode_->server().Programs()[0].children.size(), 1u);
  EXPECT_EQ(pnode_->server().Programs()[0].children[0].name, "sleep");
  ::kill(KeeperOf(command.pid()), SIGKILL);
  EXPECT_EQ(command.WaitStatus(), kExitAshlarFailed << 8);
  EXPECT_TRUE(Ends(first));
  EXPECT_TRUE(Ends(child));
  EXPECT_EQ(pnode_->WaitForGone().reason, GoneReason::kShimLost);
}

TEST_F(RunTest, KilledRunTakesTheProgramWithIt) {
  Start();
  Command command(Shim({"sh", "-c", "sleep 30 & echo $$; echo $!; wait"}));
  const pid_t first = std::stoi(command.Line());
  const pid_t child = std::stoi(command.Line());
  ::kill(command.pid(), SIGKILL);
  EXPECT_TRUE(Ends(first));
  EXPECT_TRUE(Ends(child));
}

// A pnode that is killed can't say anything: its connection just ends.
TEST_F(RunTest, LostPnodeEndsTheProgramAndSaysSo) {
  const std::string path = absl::StrCat("/tmp/ashlar-lost-", ::getpid(), ".sock");
  UniqueFd listener = *ListenAt(path);
  Command command({ASHLAR_RUN_SHIM, path, "0", "sh", "-c", "echo ready; sleep 30 & wait"});
  UniqueFd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(ReceivePacket(connection.get(), absl::Seconds(5)).ok());
  auto grant = handoff::Make<handoff::Grant>();
  grant.space_id = 1;
  grant.limit_bytes = 64 << 20;
  grant.staging_pages = 64;
  grant.victim_slots = 64;
  grant.give_up_ms = 5000;
  ASSERT_TRUE(Send(connection.get(), grant).ok());
  absl::StatusOr<Packet> attach = ReceivePacket(connection.get(), absl::Seconds(5));
  ASSERT_TRUE(attach.ok()) << attach.status();
  ASSERT_TRUE(Send(connection.get(), handoff::Make<handoff::Ready>()).ok());
  EXPECT_EQ(command.Line(), "ready");
  connection.Reset();
  attach->descriptors.clear();
  EXPECT_EQ(command.Wait(), 128 + SIGKILL);
  EXPECT_THAT(command.err, HasSubstr("nobody can serve its memory any more"));
  ::unlink(path.c_str());
}

TEST_F(RunTest, RandomBytesAreCountedAndHarmless) {
  Start();
  std::mt19937 random(20260);
  constexpr int kPeers = 200;
  for (int i = 0; i < kPeers; ++i) {
    UniqueFd socket = *ConnectTo(pnode_->socket_path());
    auto request = handoff::Make<handoff::RunRequest>();
    std::vector<std::byte> bytes(sizeof(request));
    std::memcpy(bytes.data(), &request, sizeof(request));
    if (i % 2 == 0) {
      bytes.resize(1 + random() % 700);
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    } else {
      bytes[random() % sizeof(handoff::Header)] ^= static_cast<std::byte>(1 + random() % 255);
    }
    ASSERT_TRUE(SendPacket(socket.get(), bytes, {}).ok());
    absl::StatusOr<Packet> answer = ReceivePacket(socket.get(), absl::Seconds(5));
    EXPECT_TRUE(absl::IsUnavailable(answer.status())) << "not hung up: " << answer.status();
  }
  StatList stats;
  pnode_->server().AddStats(&stats);
  for (const Stat& stat : stats.values) {
    if (stat.name == "handoff_malformed_total") {
      EXPECT_EQ(stat.value, static_cast<std::uint64_t>(kPeers));
    }
  }
  EXPECT_EQ(Command(Shim({"/bin/true"})).Wait(), 0);
}

// Prints; what it costs to load the shim's own libraries stands apart, because that is the command's and not the launch's.
TEST_F(RunTest, LaunchCost) {
  Start();
  const std::vector<std::string> commands[] = {{"/bin/true"}, {ASHLAR_RUN_SHIM}, Shim({"/bin/true"})};
  const int codes[] = {0, 64, 0};
  constexpr std::size_t kRounds = 40;
  std::vector<std::uint64_t> took_us[std::size(commands)];
  for (std::size_t i = 0; i < kRounds; ++i) {
    for (std::size_t k = 0; k < std::size(commands); ++k) {
      const std::uint64_t start_ns = MonotonicNs();
      Command command(commands[k]);
      ASSERT_EQ(command.Wait(), codes[k]);
      took_us[k].push_back((MonotonicNs() - start_ns) / 1000);
    }
  }
  for (auto& each : took_us) std::sort(each.begin(), each.end());
  std::printf("launch p50 (p99) us: plain %lu (%lu), shim without a program %lu (%lu), under a pnode %lu (%lu); n=%zu\n",
              took_us[0][kRounds / 2], took_us[0].back(), took_us[1][kRounds / 2], took_us[1].back(),
              took_us[2][kRounds / 2], took_us[2].back(), kRounds);
}

}  // namespace
}  // namespace ashlar::pnode
