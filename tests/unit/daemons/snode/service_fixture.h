// What the tests of a snode's calls share: a service on a log on a SimDisk, requests by hand, answers that are kept.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "common/base/mapping.h"
#include "daemons/snode/append_service.h"
#include "tests/unit/daemons/fit_fakes.h"
#include "tests/unit/daemons/snode/replica_log/log_fixture.h"

namespace ashlar::snode {

namespace wire = fit::wire;
using fakes::Answer;
using fakes::ReadAt;
using fit::Code;
using wire::Opcode;
constexpr std::uint64_t kSpace = 5;

struct Page {
  std::uint64_t page;
  std::uint64_t version;
  bool zero = false;
  std::uint32_t crc_error = 0;
};

class ServiceFixture : public testing::Test {
 protected:
  ServiceFixture() : bulk_(*Mapping::Anonymous(64 * kPageBytes)) { log::SetLevel(log::Level::kError); }
  void SetUp() override { Start(); }
  void Start() {
    service_.reset();
    auto device = std::make_unique<SimDisk>(&medium_);
    disk_ = device.get();
    auto log = ReplicaLog::Open(TestOptions(), std::move(device), shard_.clock);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = log->get();
    service_ = *AppendService::Create(
        shard_, *std::move(log), [this](const absl::Status& why) { failed_ = why; }, shard_.clock);
  }
  std::shared_ptr<Answer> Send(Opcode opcode, std::span<const std::byte> payload, std::size_t bulk_pages = 0) {
    auto answer = std::make_shared<Answer>();
    const fit::RequestView request{.opcode = opcode,
                                   .payload = payload,
                                   .bulk = bulk_.bytes().first(bulk_pages * kPageBytes),
                                   .deadline = {shard_.clock.NowNs() + 2'000'000'000},
                                   .session = session_};
    service_->Handle(request, fit::ReplyWriter(std::make_unique<fakes::ReplyImpl>(answer)));
    return answer;
  }
  // What the eventfd and the timers do in a daemon.
  void Settle() {
    for (int i = 0; i < 20; ++i) {
      service_->Poll();
      shard_.Poll();
    }
  }
  std::shared_ptr<Answer> Call(Opcode opcode, std::span<const std::byte> payload, std::size_t bulk_pages = 0) {
    auto answer = Send(opcode, payload, bulk_pages);
    Settle();
    return answer;
  }
  static wire::SpaceList List(std::uint32_t count = 0, std::uint64_t epoch = 1) { return {kSpace, epoch, 1, count, 0}; }
  static wire::OpenRequest OpenRequest(std::uint64_t epoch = 1) {
    return {.space = kSpace, .epoch = epoch, .owner_node = 1, .owner_incarnation = 10, .view = 1, .ack = 2};
  }
  std::shared_ptr<Answer> Open(std::uint64_t epoch = 1) {
    return Call(Opcode::kOpenSpace, fakes::Bytes().Put(OpenRequest(epoch)));
  }
  // Fills the bulk buffer as the mnode does and builds the payload.
  fakes::Bytes AppendPayload(const std::vector<Page>& pages, std::uint64_t epoch = 1) {
    fakes::Bytes payload;
    payload.Put(wire::AppendHead{.ticket = 9, .count = static_cast<std::uint32_t>(pages.size()), .flags = 0});
    std::uint32_t next = 0;
    for (const Page& page : pages) {
      std::uint32_t crc = PageCrc32c(SpaceId(kSpace), PageNumber(page.page), Version(page.version), {});
      if (!page.zero) {
        const TestPage bytes(kSpace, page.page, page.version);
        std::memcpy(bulk_.bytes().data() + next * kPageBytes, bytes.bytes().data(), kPageBytes);
        crc = bytes.crc();
      }
      payload.Put(wire::PageAppend{kSpace, epoch, page.page, page.version, 0, crc ^ page.crc_error,
                                   page.zero ? wire::kNoBulk : next++});
    }
    return payload;
  }
  std::shared_ptr<Answer> Append(const std::vector<Page>& pages, std::uint64_t epoch = 1) {
    return Call(Opcode::kAppendPages, AppendPayload(pages, epoch), pages.size());
  }
  static wire::PageResult Result(const Answer& answer, std::size_t i = 0) {
    return ReadAt<wire::PageResult>(answer.payload, sizeof(wire::ListReply) + i * sizeof(wire::PageResult));
  }
  static Code CodeAt(const Answer& answer, std::size_t i = 0) { return static_cast<Code>(Result(answer, i).code); }
  std::uint64_t Held(std::uint64_t page) {
    std::array<std::byte, kPageBytes> bytes;
    const auto stored = log_->ReadPage(SpaceId(kSpace), PageNumber(page), bytes);
    if (!stored.ok()) return 0;
    EXPECT_TRUE(stored->zero ||
                std::memcmp(bytes.data(), TestPage(kSpace, page, stored->version.value()).bytes().data(), kPageBytes) ==
                    0);
    return stored->version.value();
  }

  fakes::Shard shard_;
  SimMedium medium_;
  SimDisk* disk_ = nullptr;
  ReplicaLog* log_ = nullptr;
  Mapping bulk_;
  absl::Status failed_;
  std::shared_ptr<fakes::Session> session_ =
      std::make_shared<fakes::Session>(fit::Client{NodeId(2), Incarnation(20), 0});
  std::unique_ptr<AppendService> service_;
};

}  // namespace ashlar::snode
