#include "daemons/pnode/paging/paging_counters.h"

#include "absl/strings/str_cat.h"

namespace ashlar::pnode {

void ProgramCounters::CollectTotals(StatList& into, std::string_view labels) const {
  auto with = [&](const char* label) {
    return labels.empty() ? std::string(label) : absl::StrCat(std::string(labels), ",", label);
  };
  into.Add("faults_total", faults_zero, with("source=first_touch"));
  into.Add("faults_total", faults_victim, with("source=victim"));
  into.Add("faults_total", faults_remote, with("source=remote"));
  into.Add("faults_total", faults_ahead, with("source=ahead"));
  into.Add("faults_total", faults_duplicate, with("source=duplicate"));
  into.Add("fetched_pages_total", fetched_pages, labels);
  into.Add("fetched_bytes_total", fetched_pages.value() * kPageBytes, labels);
  into.Add("prefetched_pages_total", prefetched_pages, labels);
  into.Add("fetch_retries_total", fetch_retries, labels);
  into.Add("evicted_pages_total", evicted_pages, labels);
  into.Add("skipped_pages_total", skipped_pages, labels);
  into.Add("written_back_pages_total", written_back_pages, labels);
  into.Add("written_back_bytes_total", written_back_pages.value() * kPageBytes, labels);
  into.Add("write_back_retries_total", write_back_retries, labels);
  into.Add("superseded_pages_total", superseded_pages, labels);
  into.Add("zero_pages_dropped_total", zero_pages_dropped, labels);
  into.Add("zero_ahead_pages_total", zero_ahead_pages, labels);
  into.Add("trimmed_pages_total", trimmed_pages, labels);
  into.Add("adopted_areas_total", adopted_areas, labels);
  into.Add("adopted_pages_total", adopted_pages, labels);
  into.Add("refused_areas_total", refused_areas, labels);
  into.Add("fill_again_total", fill_again, labels);
  into.Add("fill_gone_total", fill_gone, labels);
  into.Add("move_refused_total", move_busy, with("errno=EBUSY"));
  into.Add("move_refused_total", move_again, with("errno=EAGAIN"));
  into.Add("move_refused_total", move_invalid, with("errno=EINVAL"));
  into.Add("move_refused_total", move_hole, with("errno=ENOENT"));
  into.Add("unshare_pages_total", unshare_pages, labels);
  into.Add("events_total", events_remove, with("event=remove"));
  into.Add("events_total", events_unmap, with("event=unmap"));
  into.Add("events_total", events_remap, with("event=remap"));
  into.Add("events_total", events_fork, with("event=fork"));
  into.Add("events_overtaken_total", events_overtaken, labels);
  into.Add("over_budget_total", over_budget, labels);
  into.Add("pinned_pages_total", pinned_pages, labels);
  into.Add("pushed_pages_total", pushed_pages, labels);
  into.Add("held_pages_total", held_pages, labels);
  into.Add("fault_queue_ns", queue_ns, labels);
  into.Add("fault_wire_ns", wire_ns, labels);
  into.Add("fault_copy_ns", copy_ns, labels);
  into.Add("fault_total_ns", total_ns, labels);
  into.Add("move_ns", move_ns, labels);
  into.Add("write_back_ns", write_back_ns, labels);
}

void ProgramCounters::CollectGauges(StatList& into, std::string_view labels) const {
  into.Add("limit_pages", limit_pages, labels);
  into.Add("resident_pages", resident_pages, labels);
  into.Add("staged_pages", staged_pages, labels);
  into.Add("victim_pages", victim_pages, labels);
  into.Add("remote_pages", remote_pages, labels);
  into.Add("local_pages", local_pages, labels);
  into.Add("child_pages", child_pages, labels);
  into.Add("children", children, labels);
  into.Add("holding", holding, labels);
}

void ProgramCounters::CollectPeaks(StatList& into, std::string_view labels) const {
  into.Add("peak_pages", peak_pages, labels);
  into.Add("peak_over_limit_pages", peak_over_limit_pages, labels);
}

}  // namespace ashlar::pnode
