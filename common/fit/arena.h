// Registered memory in the shape of slots and bulk buffers: what an endpoint grants its peer to write into, and what each
// side builds its own frames in.
//
// Held by shared_ptr: whoever may still look at the bytes (a handler whose request lies there) keeps them, and a new
// endpoint gets other memory. Drop() gives up the registration when the device goes; the bytes stay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "common/base/mapping.h"
#include "common/fabric/contract.h"
#include "common/fit/wire.h"

namespace ashlar::fit {

class Arena {
 public:
  // `receive_cells`: 64-byte buffers behind the granted part, one per posted receive; 0 = none.
  static absl::StatusOr<std::shared_ptr<Arena>> Create(fabric::Domain& domain, wire::ArenaShape shape,
                                                       std::uint32_t receive_cells);

  const wire::ArenaShape& shape() const { return shape_; }
  std::span<std::byte> bytes() const { return mapping_.bytes(); }
  std::span<std::byte> payload(std::uint32_t slot) const {
    return bytes().subspan(shape_.SlotOffset(slot) + sizeof(wire::Header), wire::kMaxPayloadBytes);
  }
  std::span<std::byte> bulk(std::uint32_t slot) const {  // empty: that slot has none
    return slot < shape_.bulk_slots ? bytes().subspan(shape_.BulkOffset(slot), wire::kBulkBytes) : std::span<std::byte>();
  }
  void WriteHeader(std::uint32_t slot, const wire::Header& header) const;

  fabric::Slice Granted() const { return {region_.get(), 0, static_cast<std::uint32_t>(shape_.Bytes())}; }
  fabric::Slice SlotSlice(std::uint32_t slot, std::uint32_t size) const { return {region_.get(), shape_.SlotOffset(slot), size}; }
  fabric::Slice BulkSlice(std::uint32_t slot, std::uint32_t size) const { return {region_.get(), shape_.BulkOffset(slot), size}; }
  fabric::Slice CellSlice(std::uint32_t cell) const { return {region_.get(), CellOffset(cell), kCellBytes}; }
  std::span<const std::byte> cell(std::uint32_t cell) const { return bytes().subspan(CellOffset(cell), kCellBytes); }

  void Drop() { region_.reset(); }

  static constexpr std::uint32_t kCellBytes = 64;  // an ArenaHello

 private:
  Arena(wire::ArenaShape shape, Mapping mapping) : shape_(shape), mapping_(std::move(mapping)) {}
  std::uint64_t CellOffset(std::uint32_t cell) const { return shape_.Bytes() + std::uint64_t{cell} * kCellBytes; }

  wire::ArenaShape shape_;
  Mapping mapping_;
  std::unique_ptr<fabric::Region> region_;
};

}  // namespace ashlar::fit
