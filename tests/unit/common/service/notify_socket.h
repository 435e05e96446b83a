// Stands in for systemd: a datagram socket named in NOTIFY_SOCKET, from which a test reads what the daemon said.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/unit/common/service/environment.h"

namespace ashlar::service {

class NotifySocket {
 public:
  NotifySocket() : path_(testing::TempDir() + "/notify-" + std::to_string(::getpid())) {
    ::unlink(path_.c_str());
    fd_.Reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    variable_ = std::make_unique<ScopedVariable>("NOTIFY_SOCKET", path_);
  }
  ~NotifySocket() { ::unlink(path_.c_str()); }

  // Everything said so far, one message each.
  std::vector<std::string> Take() {
    std::vector<std::string> messages;
    char buffer[4096];
    ssize_t got = 0;
    while ((got = ::recv(fd_.get(), buffer, sizeof(buffer), 0)) >= 0) messages.emplace_back(buffer, static_cast<std::size_t>(got));
    return messages;
  }

 private:
  std::string path_;
  UniqueFd fd_;
  std::unique_ptr<ScopedVariable> variable_;
};

}  // namespace ashlar::service
