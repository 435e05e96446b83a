#include "daemons/pnode/injection/process_tree.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

TEST(ProcessTree, StatLineWithAnyNameIsRead) {
  ProcessInfo process;
  const std::string tail = " S 7 1 1 0 -1 4194624 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";
  ASSERT_TRUE(ParseProcStat("42 (a) b) (c)" + tail, &process));
  EXPECT_EQ(process.pid, 42);
  EXPECT_EQ(process.parent, 7);
  EXPECT_EQ(process.name, "a) b) (c");
  EXPECT_EQ(process.start_ticks, 98765u);
  EXPECT_FALSE(process.executed) << "PF_FORKNOEXEC stands in 4194624";
}

TEST(ProcessTree, ChildIsToldApartByWhetherItExecuted) {
  int status = 0;
  const pid_t child = ::fork();
  if (child == 0) ::pause();
  const std::vector<ProcessInfo> found = Descendants(::getpid());
  ASSERT_EQ(found.size(), 1u);
  EXPECT_FALSE(found[0].executed);
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
}

TEST(ProcessTree, DamagedStatLinesAreRefused) {
  ProcessInfo process;
  for (const char* line : {"", "42", "42 (a", "42 a) S 7", ")(", "(a) S 7", "42 (a) S 7 1 1", "42 (a) S x"}) {
    EXPECT_FALSE(ParseProcStat(line, &process)) << line;
  }
}

TEST(ProcessTree, GrandchildrenAreFoundAndKilledOnlyAsThemselves) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::fork() == 0 && ::write(ready[1], "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const std::vector<ProcessInfo> found = Descendants(::getpid());
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].pid, child);
  EXPECT_EQ(found[1].parent, child);
  EXPECT_EQ(ProcessOfThread(child), child);

  ProcessInfo older = found[0];
  older.start_ticks -= 1;  // the pid of a process that is long gone
  KillProcess(older);
  EXPECT_EQ(::waitpid(child, nullptr, WNOHANG), 0);
  KillProcess(found[1]);
  KillProcess(found[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace ashlar::pnode
