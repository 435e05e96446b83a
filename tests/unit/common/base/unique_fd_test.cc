#include "common/base/unique_fd.h"

#include <fcntl.h>

#include <gtest/gtest.h>

namespace ashlar {
namespace {

bool IsOpen(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, ClosesOnceAndMoves) {
  UniqueFd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int fd = first.get();
  UniqueFd second = std::move(first);
  EXPECT_FALSE(first.valid());  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_TRUE(IsOpen(fd));
  second.Reset();
  EXPECT_FALSE(IsOpen(fd));
}

}  // namespace
}  // namespace ashlar
