#include "common/fabric/counters.h"

#include "absl/strings/str_cat.h"
#include "common/fabric/names.h"

namespace ashlar::fabric {
namespace {

template <std::size_t N>
void AddUp(std::array<Counter, N>& to, const std::array<Counter, N>& from) {
  for (std::size_t i = 0; i < N; ++i) to[i].Add(from[i].value());
}

void AddUp(FabricCounters& to, const FabricCounters& from) {
  AddUp(to.requests, from.requests);
  AddUp(to.failed, from.failed);
  AddUp(to.endpoints, from.endpoints);
  to.unknown.Add(from.unknown.value());
  to.bytes_sent.Add(from.bytes_sent.value());
  to.bytes_received.Add(from.bytes_received.value());
  to.syscalls.Add(from.syscalls.value());
  to.violations.Add(from.violations.value());
  to.strangers.Add(from.strangers.value());
  to.outstanding.Add(from.outstanding.value());
}

std::string Label(std::string_view backend, std::string_view key, std::string_view value) {
  return absl::StrCat("backend=", std::string(backend), ",", std::string(key), "=", std::string(value));
}

}  // namespace

void FabricStats::Add(const FabricCounters* counters) {
  absl::MutexLock lock(&mutex_);
  live_.push_back(counters);
}

void FabricStats::Remove(const FabricCounters* counters) {
  absl::MutexLock lock(&mutex_);
  AddUp(ended_, *counters);
  std::erase(live_, counters);
}

void FabricStats::CollectStats(std::string_view backend, StatList& stats) const {
  FabricCounters sum;
  {
    absl::MutexLock lock(&mutex_);
    AddUp(sum, ended_);
    for (const FabricCounters* counters : live_) AddUp(sum, *counters);
  }
  for (std::size_t op = 1; op < sum.requests.size(); ++op) {
    stats.Add("fabric_wr_total", sum.requests[op], Label(backend, "op", Name(static_cast<Op>(op))));
  }
  for (std::size_t status = 1; status < sum.failed.size(); ++status) {
    stats.Add("fabric_completion_failed_total", sum.failed[status],
              Label(backend, "status", Name(static_cast<Status>(status))));
  }
  for (std::size_t state = 0; state < sum.endpoints.size(); ++state) {
    stats.Add("fabric_endpoint_state", sum.endpoints[state],
              Label(backend, "state", Name(static_cast<EndpointState>(state))));
  }
  const std::string only_backend = absl::StrCat("backend=", std::string(backend));
  stats.Add("fabric_bytes_total", sum.bytes_sent, Label(backend, "dir", "out"));
  stats.Add("fabric_bytes_total", sum.bytes_received, Label(backend, "dir", "in"));
  stats.Add("fabric_completion_unknown_total", sum.unknown, only_backend);
  stats.Add("fabric_outstanding", sum.outstanding, only_backend);
  stats.Add("fabric_syscalls_total", sum.syscalls, only_backend);
  stats.Add("fabric_violation_total", sum.violations, only_backend);
  stats.Add("fabric_stranger_total", sum.strangers, only_backend);
}

}  // namespace ashlar::fabric
