#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "cli/verbs.h"
#include "common/base/unique_fd.h"
#include "gtest/gtest.h"

namespace ashlar::cli {
namespace {

class RunPlaceTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/run-place-XXXXXX";
    ASSERT_NE(::mkdtemp(directory_.data()), nullptr);
    ::setenv("ASHLAR_RUNTIME_DIR", directory_.c_str(), 1);
    options_.common.topology = directory_ + "/t.yaml";
    std::ofstream(options_.common.topology) << R"(version: 1
cluster: lab
nodes:
  - {id: p1, role: pnode, control: "127.0.0.1:7401", fabric: [{kind: tcp, address: "127.0.0.1:7501"}], cache_bytes: 64MiB}
  - {id: p2, role: pnode, control: "127.0.0.1:7403", fabric: [{kind: tcp, address: "127.0.0.1:7503"}], cache_bytes: 64MiB}
  - {id: m1, role: mnode, control: "127.0.0.1:7402", fabric: [{kind: tcp, address: "127.0.0.1:7502"}], pool_bytes: 64MiB}
defaults: {replicas: 0}
)";
  }
  void TearDown() override {
    ::unsetenv("ASHLAR_RUNTIME_DIR");
    std::filesystem::remove_all(directory_);
  }

  void Listen(const std::string& id) {
    std::filesystem::create_directories(directory_ + "/" + id);
    sockets_.emplace_back(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    std::strncpy(address.sun_path, SocketOf(id).c_str(), sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(sockets_.back().get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  std::string SocketOf(const std::string& id) const { return directory_ + "/" + id + "/run.sock"; }

  std::string Refusal() {
    const RunPlace place = FindRunPlace(options_);
    if (!place.failure) return "found " + place.socket_path;
    EXPECT_EQ(place.failure->exit_code, 125);
    return place.failure->err;
  }

  std::string directory_;
  std::vector<UniqueFd> sockets_;
  Options options_;
};

TEST_F(RunPlaceTest, IsTheOnlyPnodeThatListens) {
  Listen("p2");
  EXPECT_EQ(FindRunPlace(options_).socket_path, SocketOf("p2"));
}

TEST_F(RunPlaceTest, IsTheOneOfOn) {
  Listen("p1");
  Listen("p2");
  EXPECT_NE(Refusal().find("--on p1 | p2"), std::string::npos);
  options_.run.on = "p1";
  EXPECT_EQ(FindRunPlace(options_).socket_path, SocketOf("p1"));
}

TEST_F(RunPlaceTest, NobodyThereNamesThePnodesAndTheFix) {
  const std::string words = Refusal();
  EXPECT_NE(words.find("no pnode p1 listens"), std::string::npos) << words;
  EXPECT_NE(words.find("start ashlar-pnode --id p2"), std::string::npos) << words;
}

TEST_F(RunPlaceTest, AWrongOnIsRefused) {
  options_.run.on = "m1";
  EXPECT_NE(Refusal().find("programs run on pnodes"), std::string::npos);
  options_.run.on = "p11";
  EXPECT_NE(Refusal().find("no node \"p11\""), std::string::npos);
}

}  // namespace
}  // namespace ashlar::cli
