// What strace(1) counts of a program: the other opinion.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ashlar::pnode {

struct Counts {
  std::uint64_t calls = 0;
  std::uint64_t errors = 0;
  friend bool operator==(const Counts&, const Counts&) = default;
};
using CountsByName = std::map<std::string, Counts>;

// Runs `strace -f -c` over the words. nullopt: there is no strace here.
std::optional<CountsByName> CountWithStrace(const std::vector<std::string>& words);

}  // namespace ashlar::pnode
