// A pnode's page store, mnodes, and snodes that only remember, in one process on one clock: all real but the disks.
#pragma once

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
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
    bool damaged = false;          // unreadable
  };
  std::map<std::uint64_t, std::uint64_t> epochs;
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
      case kFenceEpoch: return Fence(request, std::move(reply));
      case kRecoverRead: return RecoverRead(request, std::move(reply));
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
  int appends = 0, bad_crc = 0, recover_reads = 0, stale = 0;

 private:
  bool Stale(std::uint64_t space, std::uint64_t epoch, fit::ReplyWriter& reply) {
    if (epoch >= disk_.epochs[space]) return false;
    ++stale;
    fit::MessageWriter out(reply.payload());
    out.Put(fit::wire::ListReply{.next = disk_.epochs[space], .count = 0, .flags = 0});
    reply.Send(fit::Code::kStaleEpoch, out.size());
    return true;
  }
  void Fence(const fit::RequestView& request, fit::ReplyWriter reply) {
    fit::wire::FenceRequest fence;
    std::memcpy(&fence, request.payload.data(), sizeof(fence));
    if (disk_.ended.contains(fence.space)) return reply.Send(fit::Code::kNotFound);
    if (Stale(fence.space, fence.epoch, reply)) return;
    disk_.spaces[fence.space];
    disk_.epochs[fence.space] = fence.epoch;
    fit::MessageWriter out(reply.payload());
    out.Put(fit::wire::FenceReply{.epoch = fence.epoch, .era = 1, .view = 1, .durable_batch_seq = 1});
    reply.Send(fit::Code::kOk, out.size());
  }
  void RecoverRead(const fit::RequestView& request, fit::ReplyWriter reply) {
    ++recover_reads;
    fit::wire::RecoverRequest want;
    std::memcpy(&want, request.payload.data(), sizeof(want));
    const auto space = disk_.spaces.find(want.space);
    if (space == disk_.spaces.end() || want.epoch > disk_.epochs[want.space]) return reply.Send(fit::Code::kNotFound);
    if (Stale(want.space, want.epoch, reply)) return;
    std::vector<std::uint64_t> pages(want.mode == 1 ? want.count : 0);
    std::uint64_t next = 0;
    if (!pages.empty()) std::memcpy(pages.data(), request.payload.data() + sizeof(want), want.count * sizeof(std::uint64_t));
    if (want.mode == 2) {
      next = fit::wire::kNoNextPage;
      for (auto it = space->second.lower_bound(want.first_page); it != space->second.end(); ++it) {
        if (it->first / kExtentPages != want.first_page / kExtentPages || pages.size() == want.count) {
          next = it->first / kExtentPages != want.first_page / kExtentPages ? it->first / kExtentPages * kExtentPages : it->first;
          break;
        }
        pages.push_back(it->first);
      }
    }
    fit::MessageWriter out(reply.payload());
    out.Put(fit::wire::ListReply{.next = next, .count = static_cast<std::uint32_t>(pages.size()), .flags = 0});
    std::uint32_t bulk = 0;
    for (const std::uint64_t page : pages) {
      fit::wire::PageHave have{.origin = want.space, .page = page, .version = 0, .crc32c = 0, .bulk_index = fit::wire::kNoBulk,
                               .code = static_cast<std::uint32_t>(fit::Code::kNotFound), .layer = 0};
      if (const auto it = space->second.find(page); it != space->second.end()) {
        have.version = it->second.version;
        have.code = static_cast<std::uint32_t>(it->second.damaged ? fit::Code::kDataLoss : fit::Code::kOk);
        have.crc32c = PageCrc32c(SpaceId(want.space), PageNumber(page), Version(have.version), it->second.bytes);
        if (!it->second.bytes.empty() && !it->second.damaged) {
          std::copy(it->second.bytes.begin(), it->second.bytes.end(), reply.bulk().begin() + bulk * static_cast<std::ptrdiff_t>(kPageBytes));
          have.bulk_index = bulk++;
        }
      }
      out.Put(have);
    }
    reply.Send(fit::Code::kOk, out.size(), bulk * static_cast<std::uint32_t>(kPageBytes));
  }
  void Open(const fit::RequestView& request, fit::ReplyWriter reply) {
    fit::wire::OpenRequest open;
    std::memcpy(&open, request.payload.data(), sizeof(open));
    if (disk_.ended.contains(open.space)) return reply.Send(fit::Code::kNotFound);
    if (Stale(open.space, open.epoch, reply)) return;
    disk_.spaces[open.space];
    disk_.epochs[open.space] = open.epoch;
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
      if (Stale(page.space, page.epoch, reply)) return;
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
        held_page = {page.version, {bytes.begin(), bytes.end()}, false};
      }
      out.Put(fit::wire::PageResult{page.page, held_page.version, static_cast<std::uint32_t>(code), 2});
    }
    reply.Send(fit::Code::kOk, out.size());
  }
  void Trim(const fit::RequestView& request, fit::ReplyWriter reply) {
    const auto message = fit::ReadMessage<fit::wire::SpaceList, fit::wire::TrimRange>(request.payload, 126);
    if (Stale(message->head.space, message->head.epoch, reply)) return;
    if (!disk_.spaces.contains(message->head.space)) return reply.Send(fit::Code::kNotFound);
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

 private:
  std::unique_ptr<fit::Server>& server_;
  fit::Client client_;
};

class Cluster : public pnode::PageStoreEvents {
 public:
  static constexpr NodeId kPnode{1};
  static constexpr std::size_t kBufferPages = 512, kMostNodes = 3;
  static NodeId MnodeId(std::size_t i) { return NodeId(2 + 10 * i); }
  static NodeId SnodeId(std::size_t i) { return NodeId(3 + 10 * i); }

  struct Options {
    std::uint32_t replicas = 1;
    std::uint64_t extents = 8;
    std::size_t mnodes = 1, snodes = 1;
    std::uint64_t replace_after_ns = 3'000'000'000;
    pnode::RemotePageStoreOptions store;
  };
  explicit Cluster(Options options) : options_(std::move(options)) {
    log::SetLevel(std::getenv("ASHLAR_SIM_TRACE") != nullptr ? log::Level::kDebug : log::Level::kError);
    if (options_.replicas == 0) options_.snodes = 0;
    p_device_ = network.OpenDevice();
    for (auto& node : mnodes_) node.device = network.OpenDevice();
    for (auto& node : snodes_) node.device = network.OpenDevice();
    buffer_ = *Mapping::Anonymous(kBufferPages * kPageBytes);
  }
  ~Cluster() override {
    StopPnode();
    for (std::size_t i = 0; i < options_.mnodes; ++i) StopMnode(i);
    for (std::size_t i = 0; i < options_.snodes; ++i) StopSnode(i);
  }

  void StartSnode(std::uint64_t incarnation, std::size_t i = 0) {
    Snode& node = snodes_[i];
    node.handler = std::make_unique<FakeSnode>(disks[i]);
    node.shard = *fit::Shard::Create(*node.device, {.node = SnodeId(i), .incarnation = Incarnation(incarnation), .clock = &clock});
    node.server = *fit::Server::Create(*node.shard, {.address = absl::StrCat("s", i + 1)}, *node.handler);
  }
  void StopSnode(std::size_t i = 0) {
    Snode& node = snodes_[i];
    if (node.handler != nullptr) node.handler->held.clear();
    node.server.reset();
    node.shard.reset();
    node.handler.reset();
  }
  bool SnodeRuns(std::size_t i) const { return snodes_[i].handler != nullptr; }
  bool MnodeRuns(std::size_t i) const { return mnodes_[i].service != nullptr; }
  void StartMnode(std::uint64_t incarnation, std::size_t i = 0) {
    Mnode& node = mnodes_[i];
    node.shard = *fit::Shard::Create(*node.device, {.node = MnodeId(i), .incarnation = Incarnation(incarnation), .clock = &clock});
    mnode::MemoryServiceOptions options{.incarnation = Incarnation(incarnation),
        .pool_bytes = options_.extents * kExtentBytes, .huge_pages = Mapping::HugePages::kNo, .replicas = options_.replicas,
        .replace_after_ns = options_.replace_after_ns, .intake_bytes = 8 << 20};
    for (std::size_t s = 0; s < options_.snodes; ++s) options.snodes.push_back({.name = absl::StrCat("s", s + 1), .node = SnodeId(s)});
    node.service = *mnode::MemoryService::Create(*node.shard, options, clock);
    for (std::size_t s = 0; s < options_.snodes; ++s) {
      node.openers[s] = std::make_unique<Opener>(snodes_[s].server, fit::Client{MnodeId(i), Incarnation(incarnation), 0});
      mnode::Replicator& replicator = node.service->replicas()->member(s);
      replicator.Attach(*fit::Connection::Create(*node.shard, {.peer = absl::StrCat("s", s + 1), .server_node = SnodeId(s)}, *node.openers[s], &replicator));
    }
    node.server = *fit::Server::Create(*node.shard, {.address = absl::StrCat("m", i + 1)}, *node.service);
  }
  void StopMnode(std::size_t i = 0) {
    mnodes_[i].server.reset();
    mnodes_[i].service.reset();
    mnodes_[i].shard.reset();
  }
  void StartPnode(std::uint64_t incarnation) {
    p_shard_ = *fit::Shard::Create(*p_device_, {.node = kPnode, .incarnation = Incarnation(incarnation), .clock = &clock});
    store = std::make_unique<pnode::RemotePageStore>(*p_shard_, options_.store, clock);
    store->SetEvents(this);
    openers_.clear();
    const auto connect = [&](std::string name, NodeId node, std::unique_ptr<fit::Server>& server, auto& link) {
      openers_.push_back(std::make_unique<Opener>(server, fit::Client{kPnode, Incarnation(incarnation), 0}));
      link.Attach(*fit::Connection::Create(*p_shard_, {.peer = name, .server_node = node}, *openers_.back(), &link));
    };
    for (std::size_t i = 0; i < options_.mnodes; ++i) {
      const std::string name = absl::StrCat("m", i + 1);
      connect(name, MnodeId(i), mnodes_[i].server, store->AddHome({.name = name, .extents = options_.extents}));
    }
    for (std::size_t i = 0; i < options_.snodes; ++i) {
      const std::string name = absl::StrCat("s", i + 1);
      connect(name, SnodeId(i), snodes_[i].server, store->AddStorage(name));
    }
    if (!store->AddBuffer(buffer_.bytes()).ok()) std::abort();
  }
  void StopPnode() {
    store.reset();
    p_shard_.reset();
  }
  void StartAll() {
    for (std::size_t i = 0; i < options_.snodes; ++i) StartSnode(300, i);
    for (std::size_t i = 0; i < options_.mnodes; ++i) StartMnode(200, i);
    StartPnode(100);
  }
  // The mnode that the space lives on now; mnodes if none.
  std::size_t HomeOf(SpaceId space) const {
    for (const pnode::SpaceReport& report : store->board().Read())
      if (report.space == space && report.home.size() == 2) return static_cast<std::size_t>(report.home[1] - '1');
    return options_.mnodes;
  }
  pnode::RehomeState StateOf(SpaceId space) const {
    for (const pnode::SpaceReport& report : store->board().Read())
      if (report.space == space) return report.state;
    return pnode::RehomeState::kSeeking;
  }

  void Turn() {
    if (store) store->Poll();
    for (Mnode& node : mnodes_)
      if (node.shard && !node.stopped) node.shard->Poll();
    for (Snode& node : snodes_)
      if (node.shard && !node.stopped) node.shard->Poll();
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
  std::uint64_t MnodeStat(std::string_view name, std::size_t i = 0) const {
    StatList stats;
    mnodes_[i].service->CollectStats(stats);
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

  // As by SIGSTOP: it lives and does nothing.
  void PauseMnode(std::size_t i, bool paused) { mnodes_[i].stopped = paused; }

  ManualClock clock;
  fabric::MemoryNetwork network{clock};
  std::array<FakeDisk, kMostNodes> disks;
  FakeDisk& disk = disks[0];
  FakeSnode& snode_at(std::size_t i) { return *snodes_[i].handler; }
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

  struct Mnode {
    std::unique_ptr<fabric::Device> device;
    std::unique_ptr<fit::Shard> shard;
    std::array<std::unique_ptr<Opener>, kMostNodes> openers;
    std::unique_ptr<mnode::MemoryService> service;
    std::unique_ptr<fit::Server> server;
    bool stopped = false;
  };
  struct Snode {
    std::unique_ptr<fabric::Device> device;
    std::unique_ptr<fit::Shard> shard;
    std::unique_ptr<FakeSnode> handler;
    std::unique_ptr<fit::Server> server;
    bool stopped = false;
  };
  Options options_;
  std::unique_ptr<fabric::Device> p_device_;
  std::array<Mnode, kMostNodes> mnodes_;
  std::array<Snode, kMostNodes> snodes_;
  Mapping buffer_;
  std::unique_ptr<fit::Shard> p_shard_;
  std::vector<std::unique_ptr<Opener>> openers_;

 public:
  std::unique_ptr<FakeSnode>& snode = snodes_[0].handler;
  std::unique_ptr<mnode::MemoryService>& service = mnodes_[0].service;
};

}  // namespace ashlar
