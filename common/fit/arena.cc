#include "common/fit/arena.h"

#include <cstring>

#include "common/base/status.h"

namespace ashlar::fit {

absl::StatusOr<std::shared_ptr<Arena>> Arena::Create(fabric::Domain& domain, wire::ArenaShape shape,
                                                     std::uint32_t receive_cells) {
  ASHLAR_ASSIGN_OR_RETURN(Mapping mapping,
                          Mapping::Anonymous(shape.Bytes() + std::uint64_t{receive_cells} * kCellBytes));
  std::shared_ptr<Arena> arena(new Arena(shape, std::move(mapping)));
  ASHLAR_ASSIGN_OR_RETURN(arena->region_, domain.Register(arena->bytes()));
  return arena;
}

void Arena::WriteHeader(std::uint32_t slot, const wire::Header& header) const {
  std::memcpy(bytes().data() + shape_.SlotOffset(slot), &header, sizeof(header));
}

}  // namespace ashlar::fit
