// A range of a program's addresses.
#pragma once

#include <cstdint>

namespace ashlar::pnode {

struct AddressRange {
  std::uint64_t start = 0;
  std::uint64_t end = 0;  // one past the last
  std::uint64_t size() const { return end - start; }
  friend bool operator==(const AddressRange&, const AddressRange&) = default;
};

}  // namespace ashlar::pnode
