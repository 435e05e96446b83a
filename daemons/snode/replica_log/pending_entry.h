// An entry on its way into a batch, and who waits for it.
#pragma once

#include <cstdint>
#include <memory>

#include "daemons/snode/replica_log/batch_format.h"
#include "daemons/snode/replica_log/open_record.h"

namespace ashlar::snode {

class Waiter;  // replica_log.cc: one call of Append, OpenSpace, …

enum class EntrySource : std::uint8_t { kControl, kAppend, kCleaner };

struct PendingEntry {
  disk::Entry entry{};  // block is set when its batch is placed
  EntrySource source = EntrySource::kAppend;
  const std::byte* data = nullptr;  // one 4 KiB-aligned block, borrowed until the entry is decided; nullptr = none
  std::shared_ptr<Waiter> waiter;   // nullptr for the cleaner's
  std::uint32_t index = 0;          // of this entry in the waiter's call
  std::uint64_t ticket = 0;         // order of arrival over both queues
  std::shared_ptr<const OpenRecord> open;  // of an open entry
  std::shared_ptr<void> owned;             // keeps `data` alive when the log made it (opens, the cleaner's buffers)
  // The cleaner's copies: where the original lies, and the batch in which a trim or end was first written.
  std::uint32_t from_segment = 0;
  std::uint16_t from_block = 0;
  std::uint64_t first_written_seq = 0;

  // A trim or an end: it must outlive what it hides.
  bool hides() const { return entry.kind == disk::EntryKind::kTrim || entry.kind == disk::EntryKind::kEnd; }
};

}  // namespace ashlar::snode
