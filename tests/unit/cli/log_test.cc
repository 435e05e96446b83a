// `ashlar log`: on a store made here, in use and not, whole and damaged. Skips where the file system has no O_DIRECT.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cli/options.h"
#include "cli/verbs.h"
#include "common/base/unique_fd.h"
#include "daemons/snode/replica_log/file_device.h"
#include "daemons/snode/replica_log/replica_log.h"

namespace ashlar::cli {
namespace {

class LogVerb : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/ashlar_cli_log_XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    const UniqueFd probe(::open((name + "/probe").c_str(), O_CREAT | O_RDWR | O_DIRECT | O_CLOEXEC, 0600));
    if (!probe.valid()) GTEST_SKIP() << name << ": the file system has no O_DIRECT";
    std::filesystem::remove(name + "/probe");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::unique_ptr<snode::ReplicaLog> MakeStore() {
    return *snode::ReplicaLog::Open({.store = {.capacity_bytes = 6 << 19, .segment_bytes = 1 << 19, .cluster = "lab", .node = NodeId(7)}},
                                    *snode::FileDevice::Open(directory_));
  }
  Outcome Run(const std::string& verb, bool json = false) {
    std::vector<std::string> words = {"log", verb, directory_};
    if (json) words.push_back("--json");
    const ParsedOptions parsed = ParseOptions(words, false);
    EXPECT_FALSE(parsed.outcome.has_value());
    return verb == "verify" ? RunLogVerify(parsed.options) : RunLogInspect(parsed.options);
  }
  std::string directory_;
};

TEST_F(LogVerb, VerifiesAWholeStoreAndPrintsItsBatches) {
  MakeStore();
  const Outcome verified = Run("verify");
  EXPECT_EQ(verified.exit_code, 0) << verified.err;
  EXPECT_NE(verified.out.find("cluster lab  6 segments: 0 sealed, 1 unsealed, 5 free"), std::string::npos) << verified.out;
  EXPECT_NE(verified.out.find("0 bad entries, 0 live pages lost"), std::string::npos) << verified.out;
  EXPECT_NE(Run("verify", true).out.find("\"schema\": \"ashlar.log-verify/1\""), std::string::npos) << Run("verify", true).out;
  EXPECT_NE(Run("inspect").out.find("seg 00000000 block     0 gen 1 batch"), std::string::npos) << Run("inspect").out;
}

TEST_F(LogVerb, AStoreInUseIsLeftAlone) {
  const auto log = MakeStore();
  const Outcome outcome = Run("verify");
  EXPECT_EQ(outcome.exit_code, 75);
  EXPECT_NE(outcome.err.find(std::to_string(::getpid())), std::string::npos) << outcome.err;
}

TEST_F(LogVerb, StructuralDamageIsNamed) {
  MakeStore();
  std::filesystem::remove(directory_ + "/seg-00000002");
  std::filesystem::resize_file(directory_ + "/seg-00000004", 4096);
  const Outcome outcome = Run("verify");
  EXPECT_EQ(outcome.exit_code, 65);
  EXPECT_NE(outcome.err.find("seg-00000002 is missing"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("seg-00000004 has 4096 bytes"), std::string::npos) << outcome.err;
}

TEST_F(LogVerb, ADirectoryWithoutAStoreIsSaidSo) {
  const Outcome outcome = Run("verify");
  EXPECT_EQ(outcome.exit_code, 69);
  EXPECT_NE(outcome.err.find("is this the log.path of a storage node?"), std::string::npos) << outcome.err;
}

TEST(LogOptions, Parse) {
  const ParsedOptions parsed = ParseOptions({"log", "inspect", "/x", "--segment", "3", "--entries"}, false);
  ASSERT_FALSE(parsed.outcome.has_value());
  EXPECT_EQ(parsed.options.verb, Verb::kLogInspect);
  EXPECT_EQ(parsed.options.log.segment, 3U);
  EXPECT_TRUE(parsed.options.log.entries);
  EXPECT_EQ(ParseOptions({"log", "verify"}, false).outcome->exit_code, 64);
  EXPECT_EQ(ParseOptions({"log", "inspect", "/x", "--segment", "-1"}, false).outcome->exit_code, 64);
}

}  // namespace
}  // namespace ashlar::cli
