#include "daemons/pnode/injection/packet_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>

#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

class PacketSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    a_ = UniqueFd(ends[0]);
    b_ = UniqueFd(ends[1]);
  }
  std::size_t OpenDescriptors() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
    return count;
  }
  UniqueFd a_;
  UniqueFd b_;
};

TEST_F(PacketSocketTest, BytesAndDescriptorsArriveTogether) {
  const std::array<std::byte, 3> bytes = {std::byte{1}, std::byte{2}, std::byte{3}};
  const int descriptors[] = {a_.get(), b_.get()};
  ASSERT_TRUE(SendPacket(a_.get(), bytes, descriptors).ok());
  absl::StatusOr<Packet> packet = ReceivePacket(b_.get(), absl::Seconds(1));
  ASSERT_TRUE(packet.ok()) << packet.status();
  EXPECT_EQ(packet->bytes, std::vector(bytes.begin(), bytes.end()));
  ASSERT_EQ(packet->descriptors.size(), 2u);
  EXPECT_NE(::fcntl(packet->descriptors[0].get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(PacketSocketTest, SilenceAndHangUpAreToldApart) {
  EXPECT_TRUE(absl::IsDeadlineExceeded(ReceivePacket(b_.get(), absl::ZeroDuration()).status()));
  a_.Reset();
  EXPECT_TRUE(absl::IsUnavailable(ReceivePacket(b_.get(), absl::Seconds(1)).status()));
  const std::array<std::byte, 1> byte = {};
  EXPECT_TRUE(absl::IsUnavailable(SendPacket(b_.get(), byte, {})));
}

TEST_F(PacketSocketTest, TooMuchIsRefusedAndLeaksNothing) {
  const std::size_t before = OpenDescriptors();
  const std::vector<std::byte> large(handoff::kMaxMessageBytes + 1);
  ASSERT_TRUE(SendPacket(a_.get(), large, {}).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(ReceivePacket(b_.get(), absl::Seconds(1)).status()));

  std::vector<int> many(handoff::kMaxDescriptors + 3, a_.get());
  std::array<std::byte, CMSG_SPACE(sizeof(int) * 16)> control{};
  std::byte byte{};
  iovec part{&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(many.size() * sizeof(int));
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(many.size() * sizeof(int));
  std::memcpy(CMSG_DATA(header), many.data(), many.size() * sizeof(int));
  ASSERT_EQ(::sendmsg(a_.get(), &message, 0), 1);
  EXPECT_TRUE(absl::IsInvalidArgument(ReceivePacket(b_.get(), absl::Seconds(1)).status()));
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST_F(PacketSocketTest, ListenReplacesWhatADeadProcessLeftBehindOnly) {
  const std::string path = "/tmp/ashlar-packet-" + std::to_string(::getpid()) + ".sock";
  {
    absl::StatusOr<UniqueFd> first = ListenAt(path);
    ASSERT_TRUE(first.ok()) << first.status();
    struct stat info;
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0660u);
    EXPECT_TRUE(absl::IsAlreadyExists(ListenAt(path).status()));
    EXPECT_TRUE(ConnectTo(path).ok());
  }
  EXPECT_TRUE(absl::IsUnavailable(ConnectTo(path).status()));
  EXPECT_TRUE(ListenAt(path).ok());
  ::unlink(path.c_str());
  EXPECT_TRUE(absl::IsNotFound(ConnectTo(path).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ListenAt(std::string(200, 'x')).status()));
}

}  // namespace
}  // namespace ashlar::pnode
