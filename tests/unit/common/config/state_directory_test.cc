#include "common/config/state_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/unit/common/config/temp_directory.h"

namespace ashlar::config {
namespace {

using ::testing::HasSubstr;

TEST(StateDirectory, IsMadeWithItsParents) {
  TempDirectory temp;
  const auto directory = StateDirectory::Open(temp.path() + "/a/b/c");
  ASSERT_TRUE(directory.ok()) << directory.status();
  struct stat info {};
  ASSERT_EQ(::stat((temp.path() + "/a/b/c").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0007, 0u);
}

TEST(StateDirectory, OneDaemonAtATimeAndTheRefusalNamesThePid) {
  TempDirectory temp;
  {
    const auto first = StateDirectory::Open(temp.path());
    ASSERT_TRUE(first.ok()) << first.status();
    const auto second = StateDirectory::Open(temp.path());
    EXPECT_TRUE(absl::IsUnavailable(second.status())) << second.status();
    EXPECT_THAT(std::string(second.status().message()), HasSubstr("in use by pid " + std::to_string(::getpid())));
  }
  EXPECT_TRUE(StateDirectory::Open(temp.path()).ok()) << "the lock ends with its holder";
}

TEST(StateDirectory, FilesAreReplacedWhole) {
  TempDirectory temp;
  auto directory = StateDirectory::Open(temp.path());
  ASSERT_TRUE(directory.ok());
  EXPECT_TRUE(absl::IsNotFound(directory->ReadFile("x", 10).status()));
  ASSERT_TRUE(directory->SyncFile("x", "longer").ok());
  ASSERT_TRUE(directory->SyncFile("x", "abc").ok());
  EXPECT_EQ(*directory->ReadFile("x", 10), "abc");
  EXPECT_FALSE(std::filesystem::exists(temp.path() + "/x.tmp"));
  EXPECT_TRUE(absl::IsDataLoss(directory->ReadFile("x", 2).status()));
}

TEST(StateDirectory, WhatACrashLeftBehindIsOverwritten) {
  TempDirectory temp;
  auto directory = StateDirectory::Open(temp.path());
  ASSERT_TRUE(directory.ok());
  std::ofstream(temp.path() + "/x.tmp") << "half a record of the crashed";
  ASSERT_TRUE(directory->SyncFile("x", "abc").ok());
  EXPECT_EQ(*directory->ReadFile("x", 10), "abc");
}

TEST(StateDirectory, AFailedWriteLeavesTheOldContent) {
  TempDirectory temp;
  auto directory = StateDirectory::Open(temp.path());
  ASSERT_TRUE(directory.ok());
  ASSERT_TRUE(directory->SyncFile("x", "old").ok());

  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  const absl::Status status = directory->SyncFile("x", "new");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, handler);

  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(temp.path() + "/x"));
  EXPECT_EQ(*directory->ReadFile("x", 10), "old");
  EXPECT_FALSE(std::filesystem::exists(temp.path() + "/x.tmp"));
}

TEST(StateDirectory, AnUnwritablePlaceIsAnErrorThatNamesIt) {
  TempDirectory temp;
  std::ofstream(temp.path() + "/file") << "x";
  const auto in_file = StateDirectory::Open(temp.path() + "/file/state");
  EXPECT_THAT(std::string(in_file.status().message()), HasSubstr(temp.path() + "/file"));
  EXPECT_FALSE(StateDirectory::Open(temp.path() + "/file").ok());
  EXPECT_FALSE(StateDirectory::Open("/proc/ashlar").ok());
  EXPECT_FALSE(StateDirectory::Open("").ok());
}

TEST(StateDirectory, OddThingsInAFilesPlaceAreErrors) {
  TempDirectory temp;
  auto directory = StateDirectory::Open(temp.path());
  ASSERT_TRUE(directory.ok());
  std::filesystem::create_directory(temp.path() + "/x");
  EXPECT_TRUE(absl::IsDataLoss(directory->ReadFile("x", 10).status()));
  EXPECT_FALSE(directory->SyncFile("x", "abc").ok());
  std::filesystem::create_symlink("/etc/passwd", temp.path() + "/link");
  EXPECT_FALSE(directory->ReadFile("link", 10).ok());
  ASSERT_EQ(::mkfifo((temp.path() + "/fifo").c_str(), 0600), 0);
  EXPECT_TRUE(absl::IsDataLoss(directory->ReadFile("fifo", 10).status()));
}

}  // namespace
}  // namespace ashlar::config
