#include "common/fit/token_table.h"

#include "absl/strings/str_cat.h"

namespace ashlar::fit {

constexpr std::uint64_t kWindowNs = 1'000'000'000;

absl::StatusOr<TokenTable::Issued> TokenTable::Issue(const Client& client, std::uint64_t connection_epoch,
                                                     std::uint64_t now_ns) {
  Issued issued;
  FillRandom(issued.token);
  absl::MutexLock lock(&mutex_);
  if (open_.size() >= kMaxOpen) absl::erase_if(open_, [&](const auto& item) { return item.second.expires_ns <= now_ns; });
  if (open_.size() >= kMaxOpen)
    return absl::ResourceExhaustedError(absl::StrCat("fit: ", kMaxOpen, " links are asked for and not yet connected"));
  do {
    FillRandom(std::as_writable_bytes(std::span(&issued.token_id, 1)));
  } while (issued.token_id == 0 || open_.contains(issued.token_id));
  open_[issued.token_id] = {issued.token, client, connection_epoch, now_ns + ttl_ns_};
  return issued;
}

bool TokenTable::IsOpen(std::uint64_t token_id, std::uint64_t now_ns) const {
  absl::MutexLock lock(&mutex_);
  auto found = open_.find(token_id);
  return found != open_.end() && now_ns < found->second.expires_ns;
}

absl::StatusOr<TokenTable::Entry> TokenTable::Redeem(const wire::Hello& hello, std::uint64_t now_ns) {
  absl::MutexLock lock(&mutex_);
  auto found = open_.find(hello.token_id);
  if (found == open_.end()) return absl::UnauthenticatedError("fit: no such token; it was used, or never issued here");
  Entry entry = found->second;
  if (!IsProved(entry.token, hello)) return absl::UnauthenticatedError("fit: the hello was not made with its token");
  open_.erase(found);
  if (now_ns >= entry.expires_ns) return absl::UnauthenticatedError("fit: the token has expired; ask for a new link");
  if (hello.connection_epoch != entry.connection_epoch || hello.shard != entry.client.shard)
    return absl::UnauthenticatedError("fit: the token was issued for another link");
  return entry;
}

bool FailureBrake::Closed(std::string_view source, std::uint64_t now_ns) const {
  auto found = sources_.find(std::string(source));
  return found != sources_.end() && now_ns < found->second.closed_until_ns;
}

bool FailureBrake::RecordFailure(std::string_view source, std::uint64_t now_ns) {
  if (sources_.size() >= kMaxSources)  // forget who has been quiet; at worst the brake starts again
    absl::erase_if(sources_, [&](const auto& item) {
      return now_ns >= item.second.closed_until_ns && now_ns - item.second.window_start_ns > kWindowNs;
    });
  if (sources_.size() >= kMaxSources) sources_.clear();
  Source& of = sources_[std::string(source)];
  if (now_ns - of.window_start_ns > kWindowNs) of = {now_ns, 0, of.closed_until_ns};
  if (++of.failures <= kMaxFailures || now_ns < of.closed_until_ns) return false;
  of.closed_until_ns = now_ns + kWindowNs;
  return true;
}

}  // namespace ashlar::fit
