// Lines of /proc/PID/maps, and which of them paging may manage. Pure parsing; the kernel's text is trusted no more than
// needed: a line that does not parse is not managed.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "daemons/pnode/paging/area_map.h"

namespace ashlar::pnode {

struct MapsLine {
  AddressRange range;
  bool readable = false, writable = false, shared = false;
  std::uint64_t inode = 0;
  std::string_view name;  // "" for plain anonymous memory

  // Private and anonymous, of any protection: what can have been registered.
  bool Anonymous() const;
  // Of these, what is adopted: readable and writable.
  bool Candidate() const { return readable && writable && Anonymous(); }
};

std::optional<MapsLine> ParseMapsLine(std::string_view line);

}  // namespace ashlar::pnode
