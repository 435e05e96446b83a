#include "common/service/daemon_main.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include "common/service/serve.h"
#include "gmock/gmock.h"
#include "tests/unit/common/service/notify_socket.h"

namespace ashlar::service {
namespace {

class DaemonMainTest : public testing::Test {
 protected:
  DaemonMainTest() {
    directory_ = testing::TempDir() + "/daemon-main-XXXXXX";
    EXPECT_NE(::mkdtemp(directory_.data()), nullptr);
    Write(R"(version: 1
cluster: test
nodes:
  - {id: p1, role: pnode, control: "127.0.0.1:7401", fabric: [{kind: tcp, address: "127.0.0.1:7501"}], cache_bytes: 64MiB}
  - {id: m1, role: mnode, control: "127.0.0.1:7402", fabric: [{kind: tcp, address: "127.0.0.1:7502"}], pool_bytes: 64MiB}
defaults: {replicas: 0}
)");
  }
  ~DaemonMainTest() override { std::filesystem::remove_all(directory_); }

  void Write(const std::string& text) { std::ofstream(directory_ + "/t.yaml") << text; }

  int Run(std::vector<std::string> words, absl::FunctionRef<int(DaemonContext&)> run) {
    words.insert(words.begin(), "ashlar-mnode");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    return DaemonMain(static_cast<int>(argv.size()), argv.data(),
                      {.program = "ashlar-mnode", .role = config::NodeRole::kMnode, .summary = "lends memory"}, run);
  }
  int RunAsM1(absl::FunctionRef<int(DaemonContext&)> run) {
    return Run({"--config", directory_ + "/t.yaml", "--id", "m1", "--state-dir", directory_ + "/state"}, run);
  }
  static int NotReached(DaemonContext&) {
    ADD_FAILURE() << "the daemon was started";
    return 0;
  }

  std::string directory_;
};

TEST_F(DaemonMainTest, HandsOverItsNodeAndAHigherIncarnationEachTime) {
  std::vector<Incarnation> incarnations;
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(RunAsM1([&](DaemonContext& context) {
                EXPECT_EQ(context.node.id, "m1");
                EXPECT_EQ(context.topology.cluster, "test");
                EXPECT_EQ(context.state.path(), directory_ + "/state");
                incarnations.push_back(context.incarnation);
                context.stop.Request("enough", 7);
                return context.stop.Wait().exit_code;
              }),
              7);
  }
  EXPECT_GT(incarnations[1], incarnations[0]);
}

TEST_F(DaemonMainTest, ASecondDaemonOfTheNodeEndsWith75) {
  EXPECT_EQ(RunAsM1([&](DaemonContext&) { return RunAsM1(NotReached); }), 75);
}

TEST_F(DaemonMainTest, ABadFileEndsWith78AndTellsSystemd) {
  NotifySocket systemd;
  Write("version: 1\ncluster: 7up\n");
  testing::internal::CaptureStderr();
  EXPECT_EQ(RunAsM1(NotReached), 78);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("t.yaml:"), std::string::npos);
  EXPECT_THAT(systemd.Take(), testing::ElementsAre(testing::StartsWith("STATUS=config: ")));
}

TEST_F(DaemonMainTest, AnUnknownIdOrAnotherRolesIdEndsWith78) {
  for (const char* id : {"m9", "p1"}) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(Run({"--config", directory_ + "/t.yaml", "--id", id, "--state-dir", directory_}, NotReached), 78) << id;
    EXPECT_NE(testing::internal::GetCapturedStderr(), "");
  }
}

TEST_F(DaemonMainTest, CheckConfigTouchesNothing) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(Run({"--check-config", directory_ + "/t.yaml", "--id", "m1"}, NotReached), 0);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), directory_ + "/t.yaml: ok, cluster test, 2 nodes\n");
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/state"));
}

TEST_F(DaemonMainTest, AMissingFileEndsWith78) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(Run({"--config", directory_ + "/none.yaml", "--id", "m1"}, NotReached), 78);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("none.yaml"), std::string::npos);
}

// One object that lives between READY and the end.
struct Node {
  explicit Node(bool* alive) : alive_(alive) { *alive_ = true; }
  ~Node() { *alive_ = false; }
  bool* alive_;
};

TEST_F(DaemonMainTest, ServesFromReadyUntilItIsStopped) {
  NotifySocket systemd;
  bool alive = false;
  EXPECT_EQ(RunAsM1([&](DaemonContext& context) {
              absl::StatusOr<std::unique_ptr<Node>> node = std::make_unique<Node>(&alive);
              EXPECT_TRUE(alive);
              context.stop.Request("the disk is gone", 74);
              return ServeUntilStopped(context, "lending memory", std::move(node));
            }),
            74);
  EXPECT_FALSE(alive);
  EXPECT_THAT(systemd.Take(), testing::ElementsAre("READY=1\nSTATUS=lending memory", "STOPPING=1\nSTATUS=the disk is gone"));
}

TEST_F(DaemonMainTest, AFailedStartIsNeverReadyAndNamesItsReason) {
  NotifySocket systemd;
  EXPECT_EQ(RunAsM1([&](DaemonContext& context) {
              return ServeUntilStopped<Node>(context, "lending memory", absl::DataLossError("torn"), [](const absl::Status&) { return 65; });
            }),
            65);
  EXPECT_THAT(systemd.Take(), testing::ElementsAre(testing::HasSubstr("torn")));
}

TEST(DaemonExitCode, FollowsTheStatus) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::PermissionDeniedError("")), 77);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("")), 78);
  EXPECT_EQ(ExitCodeOf(absl::DataLossError("")), 74);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 69);
}

}  // namespace
}  // namespace ashlar::service
