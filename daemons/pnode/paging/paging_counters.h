// What one program's paging did. Written by its owner thread alone, read by any thread without a lock.
#pragma once

#include <string_view>

#include "common/base/ids.h"
#include "common/telemetry/counter.h"
#include "common/telemetry/histogram.h"
#include "common/telemetry/stat_list.h"

namespace ashlar::pnode {

struct ProgramCounters {
  // Faults by where the bytes came from.
  Counter faults_zero, faults_victim, faults_remote, faults_ahead, faults_duplicate;
  Counter fetched_pages, prefetched_pages, fetch_retries;
  Counter evicted_pages, skipped_pages, written_back_pages, zero_pages_dropped, zero_ahead_pages, write_back_retries, trimmed_pages;
  Counter superseded_pages;
  Counter adopted_areas, adopted_pages, refused_areas;
  Counter fill_again, fill_gone, move_busy, move_again, move_invalid, move_hole, unshare_pages;
  Counter events_remove, events_unmap, events_remap, events_fork, events_overtaken;
  Counter over_budget, pinned_pages, pushed_pages, held_pages;

  // Gauges.
  Counter limit_pages, resident_pages, staged_pages, victim_pages, remote_pages, local_pages, child_pages, children;
  Counter peak_pages;             // most that ever counted on the limit
  Counter peak_over_limit_pages;  // most that ever was above it
  Counter holding;                // 1: the memory is out of reach and the program waits

  // Of a fault that needed the network: waiting for room, on the wire, COPY; and all of it.
  Histogram queue_ns, wire_ns, copy_ns, total_ns;
  Histogram move_ns;        // one batch, from the command to its answer
  Histogram write_back_ns;  // from dirty to acknowledged

  void CollectTotals(StatList& into, std::string_view labels) const;  // what only grows, and the histograms
  void CollectGauges(StatList& into, std::string_view labels) const;  // how it stands now
  void CollectPeaks(StatList& into, std::string_view labels) const;
  void CollectStats(StatList& into, std::string_view labels) const {
    CollectTotals(into, labels);
    CollectGauges(into, labels);
    CollectPeaks(into, labels);
  }
};

}  // namespace ashlar::pnode
