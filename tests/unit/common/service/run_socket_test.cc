#include "common/service/run_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "common/base/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/unit/common/service/environment.h"

namespace ashlar::service {
namespace {

TEST(RunSocket, TheVariableWinsAndEachNodeHasItsFolder) {
  ScopedVariable own("ASHLAR_RUNTIME_DIR", "/tmp/x");
  EXPECT_EQ(*RunSocketPath("p1"), "/tmp/x/p1/run.sock");
  EXPECT_EQ(*RunSocketPath("p2"), "/tmp/x/p2/run.sock");
}

TEST(RunSocket, RootUsesRun) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root listens in /run/ashlar";
  ScopedVariable own("ASHLAR_RUNTIME_DIR", std::nullopt);
  EXPECT_EQ(*RunSocketPath("p1"), "/run/ashlar/p1/run.sock");
}

TEST(RunSocket, ADaemonUnderSystemdUsesRunWhoeverItIs) {
  ScopedVariable own("ASHLAR_RUNTIME_DIR", std::nullopt);
  ScopedVariable systemd("RUNTIME_DIRECTORY", "/run/ashlar/p1");
  EXPECT_EQ(*RunSocketPath("p1"), "/run/ashlar/p1/run.sock");
}

TEST(RunSocket, ATooLongPathIsRefusedWithTheFix) {
  ScopedVariable own("ASHLAR_RUNTIME_DIR", "/" + std::string(120, 'x'));
  const auto path = RunSocketPath("p1");
  EXPECT_EQ(path.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(path.status().message().find("ASHLAR_RUNTIME_DIR"), absl::string_view::npos);
}

TEST(RunSocket, IsFoundOnlyIfItIsASocket) {
  std::string directory = testing::TempDir() + "/run-socket-XXXXXX";
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  ScopedVariable own("ASHLAR_RUNTIME_DIR", directory);
  const auto missing = FindRunSocket("p1");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find(directory), absl::string_view::npos) << missing.status();
  ASSERT_EQ(::mkdir((directory + "/p1").c_str(), 0700), 0);
  const std::string path = *RunSocketPath("p1");
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(FindRunSocket("p1").value_or(""), path);
  ::unlink(path.c_str());
  ::rmdir((directory + "/p1").c_str());
  ::rmdir(directory.c_str());
}

}  // namespace
}  // namespace ashlar::service
