// A pnode's page store, an mnode and a snode that only remembers, in one process on one clock: all real but the disk.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/crc32c.h"
#include "common/base/mapping.h"
#include "common/fabric/memory/network.h"
#include "common/fit/connection.h"
#include "common/fit/message.h"
#include "common/fit/server.h"
#include "common/telemetry/log.h"
#include "daemons/mnode/memory_service.h"
#include "daemons/pnode/remote_page_store/remote_page_store.h"

namespace ashlar {

// What survives a restart of the snode.
struct FakeDisk {
  struct Page {
    std::uint64_t version = 0;
    std::vector<std::byte> bytes;  // empty: a zero page
  };
  std::map<std::uint64_t, std::map<std::uint64_t, Page>> spaces;  // opened and not ended
  std::set<std::uint64_t> ended;
};

// Keeps the contract of the snode's messages: checks what comes, answers level 2, refuses spaces that are not open.
class FakeSnode : public fit::Handler {
 public:
  explicit FakeSnode(FakeDisk& disk) : disk_(disk) {}
  void Handle(const fit::RequestView& request, fit::ReplyWriter reply) override {
    using enum fit::wire::Opcode;
    if (hold) return held.push_back(std::move(reply));
    switch (request.opcode) {
      case kOpenSpace: return Open(request, std::move(reply));
      case kAppendPages: return Append(request, std::move(reply));
      case kTrim: return Trim(request, std::move(reply));
      case kDestroySpace: {
        const auto message = fit::ReadMessage<fit::wire::SpaceList, fit::wire::u64>(request.payload, 0);
        disk_.spaces.erase(message->head.space);
        disk_.ended.insert(message->head.space);
        return reply.Send(fit::Code::kOk);
      }
      default: return reply.Send(fit::Code::kUnknownOpcode);
    }
  }
  void OnClientDown(const fit::Client&) override {}

  bool hold = false;  // answers nothing any more
  bool full = false;
  std::vector<fit::ReplyWriter> held;
  int appends = 0, bad_crc = 0;

 private:
  void Open(const fit::RequestView& request, fit::ReplyWriter reply) {
    fit::wire::OpenRequest open;
    std::memcpy(&open, request.payload.data(), sizeof(open));
    if (disk_.ended.contains(open.space)) return reply.Send(fit::Code::kNotFound);
    disk_.spaces[open.space];
    fit::MessageWriter out(reply.payload());
    out.Put(fit::wire::FenceReply{.epoch = open.epoch, .era = 1, .view = open.view, .durable_batch_seq = 1});
    reply.Send(fit::Code::kOk, out.size());
  }
  void Append(const fit::RequestView& request, fit::ReplyWriter reply) {
    ++appends;
    if (full) return reply.Send(fit::Code::kExhausted, 0, 0, {.retry_after_ms = 50});
    const auto message = fit::ReadMessage<fit::wire::AppendHead, fit::wire::PageAppend>(request.payload, 64);
    fit::MessageWriter out(reply.payload());
    out.Put(fit::wire::ListReply{.next = message->head.ticket, .count = message->head.count, .flags = 0});
    for (std::uint32_t i = 0; i < message->head.count; ++i) {
      const fit::wire::PageAppend page = message->item(i);
      const auto space = disk_.spaces.find(page.space);
      if (space == disk_.spaces.end()) return reply.Send(fit::Code::kNotFound);
      std::span<const std::byte> bytes;
      if (page.bulk_index != fit::wire::kNoBulk) bytes = request.bulk.subspan(page.bulk_index * kPageBytes, kPageBytes);
      FakeDisk::Page& held_page = space->second[page.page];
      fit::Code code = fit::Code::kOk;
      if (PageCrc32c(SpaceId(page.space), PageNumber(page.page), Version(page.version), bytes) != page.crc32c) {
        ++bad_crc;
        code = fit::Code::kDataLoss;
      } else if (page.version < held_page.version) {
        code = fit::Code::kSuperseded;
      } else {
        if (page.version == held_page.version) code = fit::Code::kAlready;
        held_page = {page.version, {bytes.begin(), bytes.end()}};
      }
      out.Put(fit::wire::PageResult{page.page, held_page.version, static_cast<std::uint32_t>(code), 2});
    }
    reply.Send(fit::Code::kOk, out.size());
  }
  void Trim(const fit::RequestView& request, fit::ReplyWriter reply) {
    const auto message = fit::ReadMessage<fit::wire::SpaceList, fit::wire::TrimRange>(request.payload, 126);
    auto& pages = disk_.spaces[message->head.space];
    for (std::uint32_t i = 0; i < message->head.count; ++i) {
      const fit::wire::TrimRange range = message->item(i);
      std::erase_if(pages, [&](const auto& page) {
        return page.first >= range.first_page && page.first - range.first_page < range.page_count && page.second.version <= range.up_to_version;
      });
    }
    reply.Send(fit::Code::kOk);
  }
  FakeDisk& disk_;
};

// Asks a server that may not be there.
class Opener : public fit::LinkOpener {
 public:
  Opener(std::unique_ptr<fit::Server>& server, fit::Client client) : server_(server), client_(client) {}
  void OpenLink(absl::AnyInvocable<void(absl::StatusOr<fit::LinkGrant>)> done) override {
    if (server_ == nullptr) return done(absl::UnavailableError("nobody there"));
    done(server_->IssueLink(client_));
  }
  void SetIncarnation(std::uint64_t incarnation) { client_.incarnation = Incarnation(incarnation); }

 private:
  std::unique_ptr<fit::Server>& server_;
  fit::Client client_;
};

class Cluster : public pnode::PageStoreEvents {
 public:
  static constexpr NodeId kPnode{1}, kMnode{2}, kSnode{3};
  static constexpr std::size_t kBufferPages = 512;

  struct Options {
    std::uint32_t replicas = 1;
    std::uint64_t extents = 8;
    pnode::RemotePageStoreOptions store;
  };
  explicit Cluster(Options options) : options_(std::move(options)) {
    log::SetLevel(log::Level::kError);
    options_.store.home = "m1";
    p_device_ = network.OpenDevice();
    m_device_ = network.OpenDevice();
    s_device_ = network.OpenDevice();
    buffer_ = *Mapping::Anonymous(kBufferPages * kPageBytes);
  }
  ~Cluster() override {
    StopPnode();
    StopMnode();
    StopSnode();
  }

  void StartSnode(std::uint64_t incarnation) {
    snode = std::make_unique<FakeSnode>(disk);
    s_shard_ = *fit::Shard::Create(*s_device_, {.node = kSnode, .incarnation = Incarnation(incarnation), .clock = &clock});
    s_server_ = *fit::Server::Create(*s_shard_, {.address = "s1"}, *snode);
  }
  void StopSnode() {
    if (snode != nullptr) snode->held.clear();
    s_server_.reset();
    s_shard_.reset();
    snode.reset();
  }
  void StartMnode(std::uint64_t incarnation) {
    m_shard_ = *fit::Shard::Create(*m_device_, {.node = kMnode, .incarnation = Incarnation(incarnation), .clock = &clock});
    service = *mnode::MemoryService::Create(*m_shard_, {.incarnation = Incarnation(incarnation),
        .pool_bytes = options_.extents * kExtentBytes, .huge_pages = Mapping::HugePages::kNo, .replicas = options_.replicas,
        .intake_bytes = 8 << 20, .replicator = {.snode = "s1"}}, clock);
    if (options_.replicas > 0) {
      to_snode_.SetIncarnation(incarnation);
      service->replicator()->Attach(
          *fit::Connection::Create(*m_shard_, {.peer = "s1", .server_node = kSnode}, to_snode_, service->replicator()));
    }
    m_server_ = *fit::Server::Create(*m_shard_, {.address = "m1"}, *service);
  }
  void StopMnode() {
    m_server_.reset();
    service.reset();
    m_shard_.reset();
  }
  void StartPnode(std::uint64_t incarnation) {
    p_shard_ = *fit::Shard::Create(*p_device_, {.node = kPnode, .incarnation = Incarnation(incarnation), .clock = &clock});
    to_mnode_.SetIncarnation(incarnation);
    store = std::make_unique<pnode::RemotePageStore>(*p_shard_, options_.store, clock);
    store->SetEvents(this);
    store->Attach(*fit::Connection::Create(*p_shard_, {.peer = "m1", .server_node = kMnode}, to_mnode_, store.get()));
    if (!store->AddBuffer(buffer_.bytes()).ok()) std::abort();
  }
  void StopPnode() {
    store.reset();
    p_shard_.reset();
  }
  void StartAll() {
    if (options_.replicas > 0) StartSnode(300);
    StartMnode(200);
    StartPnode(100);
  }

  void Turn() {
    if (store) store->Poll();
    if (m_shard_) m_shard_->Poll();
    if (s_shard_) s_shard_->Poll();
  }
  bool RunUntil(const std::function<bool()>& reached, int ms = 10000) {
    for (int i = 0; i <= ms; ++i) {
      for (int turn = 0; turn < 4; ++turn) {
        Turn();
        if (reached()) return true;
      }
      clock.Advance(absl::Milliseconds(1));
    }
    return false;
  }
  void Run(int ms) { RunUntil([] { return false; }, ms); }

  std::span<std::byte> Slot(std::size_t i) { return buffer_.bytes().subspan(i * kPageBytes, kPageBytes); }

  // Writes one page and waits for the answer; resends what may be sent again, `tries` times.
  absl::Status Write(SpaceId space, std::uint64_t page, std::uint64_t version, unsigned char fill, int tries = 1) {
    for (;; Run(20)) {
      if (fill != 0) std::fill(Slot(0).begin(), Slot(0).end(), std::byte{fill});
      const std::span<const std::byte> bytes = fill != 0 ? std::span<const std::byte>(Slot(0)) : std::span<const std::byte>();
      const pnode::DirtyPage dirty{PageNumber(page), Version(version), bytes,
                                   PageCrc32c(space, PageNumber(page), Version(version), bytes), ++last_cookie};
      if (absl::Status taken = store->WriteBack(space, std::span(&dirty, 1)); !taken.ok()) return taken;
      if (!RunUntil([&] { return results.contains(last_cookie); }, 20000)) return absl::InternalError("never answered");
      if (results[last_cookie].ok() || --tries <= 0) return results[last_cookie];
    }
  }
  absl::Status Read(SpaceId space, std::uint64_t page, std::uint64_t version) {
    std::fill(Slot(1).begin(), Slot(1).end(), std::byte{0x99});
    const pnode::FetchRequest request{space, PageNumber(page), Version(version), Slot(1), ++last_cookie};
    store->Fetch(std::span(&request, 1));
    if (!RunUntil([&] { return results.contains(last_cookie); }, 20000)) return absl::InternalError("never answered");
    return results[last_cookie];
  }
  bool SlotIs(std::size_t i, unsigned char fill) {
    return std::all_of(Slot(i).begin(), Slot(i).end(), [fill](std::byte b) { return b == std::byte{fill}; });
  }
  std::uint64_t MnodeStat(std::string_view name) const {
    StatList stats;
    service->CollectStats(stats);
    return Sum(stats, name);
  }
  std::uint64_t StoreStat(std::string_view name, std::string_view label = "") const {
    StatList stats;
    store->CollectStats(stats);
    return Sum(stats, name, label);
  }

  void OnFetched(pnode::Cookie cookie, const absl::Status& status) override { EndOnce(cookie, status); }
  void OnWrittenBack(pnode::Cookie cookie, const absl::Status& status, pnode::AckLevel reached) override {
    EndOnce(cookie, status);
    level = reached;
  }
  void OnSpaceLost(SpaceId space, const absl::Status& reason) override { lost[space.value()] = reason; }

  ManualClock clock;
  fabric::MemoryNetwork network{clock};
  FakeDisk disk;
  std::unique_ptr<FakeSnode> snode;
  std::unique_ptr<mnode::MemoryService> service;
  std::unique_ptr<pnode::RemotePageStore> store;
  std::map<pnode::Cookie, absl::Status> results;
  std::map<std::uint64_t, absl::Status> lost;
  pnode::AckLevel level = pnode::AckLevel::kHome;
  pnode::Cookie last_cookie = 0;
  int ended_twice = 0;

 private:
  void EndOnce(pnode::Cookie cookie, const absl::Status& status) { ended_twice += !results.emplace(cookie, status).second; }
  static std::uint64_t Sum(const StatList& stats, std::string_view name, std::string_view label = "") {
    std::uint64_t sum = 0;
    for (const Stat& stat : stats.values)
      if (stat.name == name && stat.labels.find(label) != std::string::npos) sum += stat.value;
    return sum;
  }

  Options options_;
  std::unique_ptr<fabric::Device> p_device_, m_device_, s_device_;
  Mapping buffer_;
  std::unique_ptr<fit::Shard> p_shard_, m_shard_, s_shard_;
  std::unique_ptr<fit::Server> m_server_, s_server_;
  Opener to_mnode_{m_server_, {kPnode, Incarnation(0), 0}}, to_snode_{s_server_, {kMnode, Incarnation(0), 0}};
};

}  // namespace ashlar
