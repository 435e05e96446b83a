// What the replica log counts. Written by its thread, read by any.
#pragma once

#include "common/telemetry/counter.h"
#include "common/telemetry/histogram.h"

namespace ashlar::snode {

struct LogCounters {
  Histogram commit_ns;           // submit to durable, per batch
  Histogram batch_pages;         // entries of a batch, those of the cleaner included
  Counter appended_pages_total;  // taken in, durable
  Counter already_pages_total;
  Counter superseded_pages_total;
  Counter refused_pages_total;  // stale epoch, unknown or ended space, bad crc, two versions
  Counter cleaned_pages_total;  // copied forward
  Counter cleaned_segments_total;
  Counter sealed_segments_total;
  Counter fences_total;  // epochs raised
  Counter trims_total;
  Counter ended_spaces_total;
  Counter marks_total;
  Counter exhausted_total;  // appends refused for want of room
  Counter write_errors_total;
  Counter bytes_written_total;  // blocks, headers included
  Counter payload_bytes_total;  // page bytes of appends
  Counter queued_bytes;
  Histogram read_ns;  // recovery reads, a call of up to 64 pages
  Counter read_pages_total;
  Counter read_errors_total;  // reads that ended in an error of the disk
  Counter bad_pages_total;    // versions found unreadable, by any reader
  Counter bad_pages;          // of them not yet replaced
  Counter scrubbed_pages_total;
  Counter scrub_passes_total;
  Counter suspect_spaces;     // spaces that may have lost pages nobody can name
  Counter start_ns;           // how long the start took
};

}  // namespace ashlar::snode
