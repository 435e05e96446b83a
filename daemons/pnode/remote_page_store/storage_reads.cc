// Pages read from the storage nodes while their home is gone or not filled yet. A page is exactly the version that was
// acknowledged, or it is asked for at the next storage node; an older one is never served.
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "daemons/pnode/remote_page_store/remote_page_store.h"

namespace ashlar::pnode {
namespace wire = fit::wire;
using fit::Code;

void RemotePageStore::DispatchToStorage(FetchOp* op) {
  RemoteSpace& space = *op->space;
  if (space.rehome == RehomeState::kFencing || storages_.empty()) return Wait(op);
  // Somebody waits there: that extent is refilled before others.
  const std::uint64_t number = ExtentOf(op->request.page);
  if (space.missed.size() < 64 && (space.missed.empty() || space.missed.back() != number)) space.missed.push_back(number);
  bool maybe_later = false;
  for (StorageLink& storage : storages_) {
    const StorageView& view = space.storage[storage.index];
    const bool fenced = view.fenced == space.epoch;
    if ((op->not_at >> storage.index & 1) != 0 || (fenced && !view.keeps)) continue;
    if (fenced && storage.up()) return Gather(op, nullptr, &storage, /*by_message=*/true);
    maybe_later = true;
  }
  if (maybe_later) return Wait(op);
  FinishFetch(op, absl::DataLossError(absl::StrCat("no storage node has version ", op->request.version.value(), " of page ",
                                                   op->request.page.value(), ", which was acknowledged")));
}

bool RemotePageStore::SendRecoverRead(ReadCall& call) {
  std::array<std::byte, sizeof(wire::RecoverRequest) + kReadPages * sizeof(wire::u64)> payload;
  const RemoteSpace& space = *call.ops[0]->space;
  const wire::RecoverRequest head{.space = space.id.value(), .epoch = space.epoch.value(), .first_page = 0,
                                  .count = static_cast<std::uint32_t>(call.count), .mode = static_cast<std::uint32_t>(wire::RecoverMode::kList)};
  std::memcpy(payload.data(), &head, sizeof(head));
  fit::Deadline deadline{UINT64_MAX};
  for (std::size_t i = 0; i < call.count; ++i) {
    const wire::u64 page = call.ops[i]->request.page.value();
    std::memcpy(payload.data() + sizeof(head) + i * sizeof(page), &page, sizeof(page));
    deadline.at_ns = std::min(deadline.at_ns, call.ops[i]->deadline_ns);
  }
  const std::size_t bytes = sizeof(head) + call.count * sizeof(wire::u64);
  return call.storage->connection->Start(wire::Opcode::kRecoverRead, std::span(payload).first(bytes), {}, deadline, call).ok();
}

void RemotePageStore::RecoverReadDone(ReadCall& call, const fit::CallResult& result) {
  recover_read_ns_.Add(Now() - call.started_ns);
  call.again = true;  // a page that did not come is asked for again, here or at the next storage node
  for (std::size_t i = 0; i < call.count; ++i) call.results[i] = absl::UnavailableError("");
  RemoteSpace& space = *call.ops[0]->space;
  StorageView& view = space.storage[call.storage->index];
  if (!result.status.ok()) {
    if (result.code == Code::kNotFound) view.keeps = false;
    if (result.code == Code::kStaleEpoch || result.code == Code::kUnavailable) ArmTick();
    return;
  }
  call.answered = true;
  wire::ListReply head{};
  if (result.payload.size() >= sizeof(head)) std::memcpy(&head, result.payload.data(), sizeof(head));
  if (head.count != call.count || result.payload.size() < sizeof(head) + call.count * sizeof(wire::PageHave)) return;
  for (std::size_t i = 0; i < call.count; ++i) {
    wire::PageHave have;
    std::memcpy(&have, result.payload.data() + sizeof(head) + i * sizeof(have), sizeof(have));
    call.results[i] = TakeRecovered(*call.ops[i], have, result.bulk, *call.storage);
    if (call.results[i].ok()) call.storage->pages_read.Add(), fetch_pages_recovered_.Add();
  }
}

absl::Status RemotePageStore::TakeRecovered(FetchOp& op, const wire::PageHave& have, std::span<const std::byte> bulk, const StorageLink& from) {
  const FetchRequest& request = op.request;
  const bool zero = have.bulk_index == wire::kNoBulk;
  const absl::Status again = absl::UnavailableError("");
  if (have.page != request.page.value() || (!zero && have.bulk_index >= bulk.size() / kPageBytes)) return again;
  if (have.code == static_cast<std::uint32_t>(Code::kUnavailable) || have.code == static_cast<std::uint32_t>(Code::kExhausted)) return again;
  const bool this_version = have.code == static_cast<std::uint32_t>(Code::kOk) && have.version == request.version.value() &&
                            have.origin == request.space.value();
  if (this_version) {
    if (zero) std::memset(request.into.data(), 0, kPageBytes);
    else std::memcpy(request.into.data(), bulk.data() + have.bulk_index * kPageBytes, kPageBytes);
    const std::span<const std::byte> checked = zero ? std::span<const std::byte>() : request.into;
    if (PageCrc32c(request.space, request.page, request.version, checked) == have.crc32c) return absl::OkStatus();
    damaged_on_the_way_.Add();
  }
  op.not_at |= std::uint64_t{1} << from.index;
  return again;
}

}  // namespace ashlar::pnode
