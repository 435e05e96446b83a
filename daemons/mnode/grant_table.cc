#include "daemons/mnode/grant_table.h"

#include <utility>

namespace ashlar::mnode {

std::optional<fabric::RemoteWindow> GrantTable::Grant(const std::shared_ptr<fit::Session>& session, ExtentIndex extent) {
  std::vector<Entry>& entries = grants_[extent.value()];
  std::erase_if(entries, [](const Entry& entry) { return entry.session.expired(); });
  for (const Entry& entry : entries)
    if (entry.session.lock() == session) return entry.window;
  absl::StatusOr<fabric::RemoteWindow> window = session->Grant(
      {&region_, Pool::OffsetOf(extent), static_cast<std::uint32_t>(kExtentBytes)}, fabric::Access::kRemoteRead);
  if (!window.ok()) {
    refused_.Add();
    return std::nullopt;
  }
  entries.push_back({session, *window});
  return *window;
}

void GrantTable::RevokeAll(ExtentIndex extent, absl::AnyInvocable<void()> done) {
  struct Join {
    absl::AnyInvocable<void()> done;
    std::size_t left = 1;  // revocations under way, and this function
  };
  auto join = std::make_shared<Join>();
  join->done = std::move(done);
  const auto arrive = [join] {
    if (--join->left == 0) join->done();
  };
  for (Entry& entry : std::exchange(grants_[extent.value()], {})) {
    const std::shared_ptr<fit::Session> session = entry.session.lock();
    if (session == nullptr) continue;
    ++join->left;
    session->Revoke(entry.window, arrive);
  }
  arrive();
}

}  // namespace ashlar::mnode
