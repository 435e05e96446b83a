#include "daemons/pnode/supervisor/rights.h"

#include <linux/capability.h>

#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ashlar::pnode {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t Bit(int capability) { return std::uint64_t{1} << capability; }

TEST(Rights, NamesWhatIsMissing) {
  EXPECT_THAT(MissingBpfCapabilities(0), ElementsAre("CAP_BPF", "CAP_PERFMON"));
  EXPECT_THAT(MissingBpfCapabilities(Bit(CAP_BPF)), ElementsAre("CAP_PERFMON"));
  EXPECT_THAT(MissingBpfCapabilities(Bit(CAP_PERFMON)), ElementsAre("CAP_BPF"));
  EXPECT_THAT(MissingBpfCapabilities(Bit(CAP_BPF) | Bit(CAP_PERFMON)), IsEmpty());
  EXPECT_THAT(MissingBpfCapabilities(Bit(CAP_SYS_ADMIN)), IsEmpty());
}

TEST(Rights, ErrorsSayWhatToDo) {
  const absl::Status refused = ExplainBpfError(EPERM, "load", "");
  EXPECT_EQ(refused.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("CAP_BPF"));
  const absl::Status old = ExplainBpfError(EINVAL, "load", "unknown program type");
  EXPECT_EQ(old.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(old.message()), HasSubstr("5.13"));
}

}  // namespace
}  // namespace ashlar::pnode
