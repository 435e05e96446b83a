// The server against peers that are not `ashlar run`: no privilege needed, no program is ever attached.
#include "daemons/pnode/injection/handoff_server.h"

#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "daemons/pnode/injection/handoff_message.h"
#include "daemons/pnode/injection/packet_socket.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

class RecordingSink : public ProgramSink {
 public:
  absl::StatusOr<ProgramGrant> Admit(const ProgramRequest& request) override {
    absl::MutexLock lock(&mutex_);
    last_name_ = request.name;
    last_uid_ = request.peer.uid;
    return ProgramGrant{.space = SpaceId(++admitted_), .limit_bytes = 1 << 24, .staging_pages = 64, .victim_slots = 64};
  }
  absl::Status Attach(AttachedProgram) override {
    ADD_FAILURE() << "nothing here may be attached";
    return absl::InternalError("");
  }
  void OnGone(SpaceId, GoneReason reason, int) override {
    absl::MutexLock lock(&mutex_);
    EXPECT_EQ(reason, GoneReason::kNeverRan);
    ++gone_;
  }
  bool WaitForGone(std::uint64_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return gone_ >= count; };
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(10)) && gone_ == count;
  }
  std::string last_name_;
  uid_t last_uid_ = ~0u;

 private:
  absl::Mutex mutex_;
  std::uint64_t admitted_ = 0;
  std::uint64_t gone_ = 0;
};

class HandoffServerTest : public testing::Test {
 protected:
  void StartServer(HandoffServer::Options options = {}) {
    options.socket_path = absl::StrCat("/tmp/ashlar-handoff-", ::getpid(), ".sock");
    options.uffd_device = "/dev/null";  // any descriptor will do
    path_ = options.socket_path;
    absl::StatusOr<std::unique_ptr<HandoffServer>> server = HandoffServer::Start(options, &sink_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  // A connection that holds a grant.
  UniqueFd Granted() {
    UniqueFd socket = *ConnectTo(path_);
    auto request = handoff::Make<handoff::RunRequest>();
    handoff::PutText(request.name, "name\x1b");
    EXPECT_TRUE(Send(socket.get(), request).ok());
    absl::StatusOr<Packet> answer = ReceivePacket(socket.get(), absl::Seconds(5));
    EXPECT_TRUE(answer.ok() && handoff::Parse<handoff::Grant>(answer->bytes).ok()) << answer.status();
    EXPECT_EQ(answer->descriptors.size(), 1u);
    return socket;
  }
  static void ExpectHungUp(int socket) {
    EXPECT_TRUE(absl::IsUnavailable(ReceivePacket(socket, absl::Seconds(5)).status()));
  }
  std::uint64_t Malformed() {
    StatList stats;
    server_->AddStats(&stats);
    for (const Stat& stat : stats.values) {
      if (stat.name == "handoff_malformed_total") return stat.value;
    }
    return ~std::uint64_t{0};
  }
  RecordingSink sink_;
  std::string path_;
  std::unique_ptr<HandoffServer> server_;
};

TEST_F(HandoffServerTest, AdmittedAndGoneAgainFreesThePlace) {
  StartServer();
  Granted();
  EXPECT_TRUE(sink_.WaitForGone(1));
  EXPECT_EQ(sink_.last_name_, "name?");
  EXPECT_EQ(sink_.last_uid_, ::geteuid());
  EXPECT_TRUE(server_->Programs().empty());
  EXPECT_EQ(Malformed(), 0u) << "leaving is no fault";
}

TEST_F(HandoffServerTest, AttachWithForeignDescriptorsIsDropped) {
  StartServer();
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  auto attach = handoff::Make<handoff::Attach>();
  attach.blob_address = 0x7f00'0000'0000;
  attach.control_address = 0x7f00'0001'0000;
  attach.victim_address = 0x7f00'0010'0000;
  attach.staging_address = 0x7f00'1000'0000;
  attach.pid = ::getpid();
  for (std::size_t count = 0; count <= handoff::kAttachDescriptors; ++count) {
    UniqueFd socket = Granted();
    const std::vector<int> descriptors(count, null.get());
    ASSERT_TRUE(Send(socket.get(), attach, descriptors).ok());
    ExpectHungUp(socket.get());
  }
  EXPECT_TRUE(sink_.WaitForGone(handoff::kAttachDescriptors + 1));
  EXPECT_EQ(Malformed(), handoff::kAttachDescriptors + 1);
}

TEST_F(HandoffServerTest, MessagesOutOfTurnAreDropped) {
  StartServer();
  UniqueFd early = *ConnectTo(path_);
  ASSERT_TRUE(Send(early.get(), handoff::Make<handoff::Exited>()).ok());
  ExpectHungUp(early.get());
  UniqueFd twice = Granted();
  ASSERT_TRUE(Send(twice.get(), handoff::Make<handoff::RunRequest>()).ok());
  ExpectHungUp(twice.get());
  EXPECT_EQ(Malformed(), 2u);
}

TEST_F(HandoffServerTest, SlowPeersAndTooManyPeersAreRefusedWithWords) {
  StartServer({.max_connections = 1, .request_timeout = absl::Milliseconds(1)});
  UniqueFd silent = *ConnectTo(path_);
  absl::StatusOr<Packet> answer = ReceivePacket(silent.get(), absl::Seconds(5));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(handoff::StatusOf(*handoff::Parse<handoff::Refusal>(answer->bytes))));
  ExpectHungUp(silent.get());

  server_.reset();
  StartServer({.max_connections = 1});
  UniqueFd first = Granted();
  UniqueFd second = *ConnectTo(path_);
  answer = ReceivePacket(second.get(), absl::Seconds(5));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_TRUE(absl::IsResourceExhausted(handoff::StatusOf(*handoff::Parse<handoff::Refusal>(answer->bytes))));
}

TEST_F(HandoffServerTest, StoppingTheServerEndsWhatWasAdmitted) {
  StartServer();
  UniqueFd socket = Granted();
  EXPECT_EQ(server_->Programs().size(), 1u);
  server_->Kill(SpaceId(1), "not running yet: ignored");
  server_->Kill(SpaceId(99), "unknown: ignored");
  server_.reset();
  EXPECT_TRUE(sink_.WaitForGone(1));
  ExpectHungUp(socket.get());
  EXPECT_NE(::access(path_.c_str(), F_OK), 0) << "the socket is left behind";
}

}  // namespace
}  // namespace ashlar::pnode
