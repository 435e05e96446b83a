#include "daemons/pnode/supervisor/syscall_names.h"

#include <array>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "daemons/pnode/supervisor/strace_info.h"

namespace ashlar::pnode {
namespace {

constexpr std::array<std::string_view, kNumbers> MakeNames() {
  std::array<std::string_view, kNumbers> names{};
#define ASHLAR_SYSCALL(name, number) \
  if (number < kNumbers) names[number] = #name;
#include "syscall_table.inc"
#undef ASHLAR_SYSCALL
  names[kForeignNumber] = "foreign";
  return names;
}
constexpr std::array<std::string_view, kNumbers> kNames = MakeNames();

}  // namespace

std::string SyscallName(std::uint32_t number) {
  if (number < kNumbers && !kNames[number].empty()) return std::string(kNames[number]);
  return absl::StrCat("syscall_", number);
}

}  // namespace ashlar::pnode
