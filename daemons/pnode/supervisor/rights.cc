#include "daemons/pnode/supervisor/rights.h"

#include <linux/capability.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/status.h"

namespace ashlar::pnode {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

bool Has(std::uint64_t set, int capability) { return (set >> capability & 1) != 0; }

}  // namespace

std::vector<std::string> MissingBpfCapabilities(std::uint64_t effective) {
  std::vector<std::string> missing;
  if (Has(effective, CAP_SYS_ADMIN)) return missing;
  if (!Has(effective, CAP_BPF)) missing.emplace_back("CAP_BPF");
  if (!Has(effective, CAP_PERFMON)) missing.emplace_back("CAP_PERFMON");
  return missing;
}

std::uint64_t OwnEffectiveCapabilities() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    absl::string_view rest = line;
    std::uint64_t set = 0;
    if (absl::ConsumePrefix(&rest, "CapEff:") && absl::SimpleHexAtoi(absl::StripAsciiWhitespace(rest), &set)) return set;
  }
  return 0;
}

absl::Status ExplainBpfError(int error, std::string_view what, std::string_view detail) {
  const std::string call = absl::StrCat(View(what), ": ", std::strerror(error));
  if (error == EPERM || error == EACCES) {
    const std::vector<std::string> missing = MissingBpfCapabilities(OwnEffectiveCapabilities());
    if (!missing.empty()) {
      return absl::PermissionDeniedError(absl::StrCat(call, ": ashlar-pnode lacks ", absl::StrJoin(missing, " and "),
                                                      "; add AmbientCapabilities=CAP_BPF CAP_PERFMON to its unit, or run it as root"));
    }
    return absl::PermissionDeniedError(absl::StrCat(call, ": it has CAP_BPF and CAP_PERFMON, yet bpf is refused: by the container's seccomp "
                                                          "filter, kernel lockdown, or a verifier: ", View(detail.substr(0, 300))));
  }
  const std::string words = absl::StrCat(call, detail.empty() ? "" : ": ", View(detail.substr(0, 600)));
  if (error == ENOSYS || error == EINVAL || error == ESRCH || error == ENOENT || error == EOPNOTSUPP) {
    return absl::FailedPreconditionError(absl::StrCat(words, " (strace chains need Linux 5.13 or later with CONFIG_BPF_SYSCALL and CONFIG_DEBUG_INFO_BTF)"));
  }
  return ErrnoStatus(error, words);
}

}  // namespace ashlar::pnode
