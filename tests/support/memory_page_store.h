// A PageStore that keeps pages in memory, checks its caller as strictly as it can, and breaks on demand. It answers after a
// delay on its own clock, so orders mix; a test in real time sleeps on its event descriptor.
//
// Threads: one at a time.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/crc32c.h"
#include "common/base/unique_fd.h"
#include "daemons/pnode/paging/page_store.h"

namespace ashlar::pnode {

class MemoryPageStore : public PageStore {
 public:
  struct Faults {  // what the next answer is to be; all are called for each request
    std::function<std::uint64_t()> fetch_delay_ns = [] { return std::uint64_t{0}; };
    std::function<std::uint64_t()> write_delay_ns = [] { return std::uint64_t{0}; };
    std::function<absl::Status()> fetch_status = [] { return absl::OkStatus(); };
    std::function<absl::Status()> write_status = [] { return absl::OkStatus(); };
    std::function<bool()> refuse_batch = [] { return false; };
  };

  explicit MemoryPageStore(const Clock& clock = Clock::Real()) : clock_(clock), event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

  Faults faults;
  AckLevel level = AckLevel::kDisk;
  std::uint64_t fetches = 0, writes = 0, trims = 0;
  // The first rule that the caller broke; empty = none.
  std::string violation;

  void SetEvents(PageStoreEvents* events) override { events_ = events; }
  absl::Status AddBuffer(std::span<std::byte> bytes) override {
    buffers_.emplace(bytes.data(), bytes.size());
    return absl::OkStatus();
  }
  void RemoveBuffer(std::span<std::byte> bytes) override {
    for (const Answer& answer : answers_) {
      Check(answer.into.empty() || answer.into.data() < bytes.data() || answer.into.data() >= bytes.data() + bytes.size(),
            "a buffer was removed under a fetch");
    }
    buffers_.erase(bytes.data());
  }
  absl::Status CreateSpace(SpaceId space) override {
    Check(!spaces_.contains(space), "a space id was used twice");
    spaces_[space];
    return absl::OkStatus();
  }
  void DestroySpace(SpaceId space) override {
    spaces_.erase(space);
    for (Answer& answer : answers_) {
      if (answer.space == space) answer.status = absl::CancelledError("destroyed");
    }
  }

  void Fetch(std::span<const FetchRequest> requests) override {
    for (const FetchRequest& request : requests) {
      ++fetches;
      CheckBuffer(request.into);
      Check(!writing_.contains({request.space, request.page}), "a fetch of a page whose write-back is under way");
      Answer answer;
      answer.fetch = true;
      answer.space = request.space;
      answer.page = request.page;
      answer.version = request.version;
      answer.into = request.into;
      answer.cookie = request.cookie;
      answer.status = faults.fetch_status();
      Enqueue(std::move(answer), faults.fetch_delay_ns());
    }
  }

  absl::Status WriteBack(SpaceId space, std::span<const DirtyPage> pages) override {
    Check(pages.size() <= kMaxWriteBackPages && !pages.empty(), "a batch of a wrong size");
    if (faults.refuse_batch()) return absl::ResourceExhaustedError("too many batches");
    std::uint64_t delay_ns = faults.write_delay_ns();
    absl::Status status = faults.write_status();
    for (const DirtyPage& page : pages) {
      ++writes;
      if (!page.bytes.empty()) CheckBuffer(page.bytes);
      Check(PageCrc32c(space, page.page, page.version, page.bytes) == page.crc32c, "a wrong checksum");
      Check(writing_.insert({space, page.page}).second, "two write-backs of a page at once");
      Answer answer;
      answer.space = space;
      answer.page = page.page;
      answer.version = page.version;
      answer.bytes = page.bytes;
      answer.cookie = page.cookie;
      answer.status = status;
      answer.crc32c = page.crc32c;
      Enqueue(std::move(answer), delay_ns);
    }
    return absl::OkStatus();
  }

  void Trim(SpaceId space, std::span<const TrimRange> ranges) override {
    auto found = spaces_.find(space);
    if (found == spaces_.end()) return;
    for (const TrimRange& range : ranges) {
      ++trims;
      auto& pages = found->second;
      auto it = pages.lower_bound(range.first_page);
      while (it != pages.end() && it->first.value() < range.first_page.value() + range.page_count) {
        it = it->second.version <= range.up_to_version ? pages.erase(it) : std::next(it);
      }
    }
  }

  int Poll() override {
    int count = 0;
    std::uint64_t now_ns = clock_.NowNs();
    for (std::size_t i = 0; i < answers_.size() && count < 128;) {
      if (answers_[i].due_ns > now_ns) {
        ++i;
        continue;
      }
      Answer answer = std::move(answers_[i]);
      answers_.erase(answers_.begin() + static_cast<std::ptrdiff_t>(i));
      Deliver(answer);
      ++count;
    }
    return count;
  }
  void Arm() override {}
  int event_fd() const override { return event_.get(); }
  std::uint64_t NextTimerNs() const override {
    std::uint64_t next = 0;
    for (const Answer& answer : answers_) next = next == 0 ? answer.due_ns : std::min(next, answer.due_ns);
    return next;
  }
  std::size_t pending() const { return answers_.size(); }
  bool has_space(SpaceId space) const { return spaces_.contains(space); }
  std::size_t page_count(SpaceId space) const { return spaces_.contains(space) ? spaces_.at(space).size() : 0; }

 private:
  struct Stored {
    Version version;
    std::string bytes;  // empty = zero page
  };
  struct Answer {
    bool fetch = false;
    SpaceId space;
    PageNumber page;
    Version version;
    std::span<std::byte> into;
    std::span<const std::byte> bytes;
    Cookie cookie = 0;
    absl::Status status;
    std::uint32_t crc32c = 0;
    std::uint64_t due_ns = 0;
  };

  void Check(bool rule, const char* what) {
    if (!rule && violation.empty()) violation = what;
  }
  void CheckBuffer(std::span<const std::byte> bytes) {
    auto above = buffers_.upper_bound(const_cast<std::byte*>(bytes.data()));
    bool inside = above != buffers_.begin();
    if (inside) {
      --above;
      inside = bytes.data() + bytes.size() <= above->first + above->second;
    }
    Check(inside && bytes.size() == kPageBytes, "bytes outside of the registered buffers");
  }
  void Enqueue(Answer answer, std::uint64_t delay_ns) {
    answer.due_ns = clock_.NowNs() + delay_ns;
    answers_.push_back(std::move(answer));
  }
  void Deliver(Answer& answer) {
    if (!answer.fetch) {
      writing_.erase({answer.space, answer.page});
      if (answer.status.ok() || absl::IsDeadlineExceeded(answer.status)) Apply(answer);  // a timeout: outcome unknown
      events_->OnWrittenBack(answer.cookie, answer.status, level);
      return;
    }
    if (answer.status.ok()) answer.status = Read(answer);
    events_->OnFetched(answer.cookie, answer.status);
  }
  void Apply(const Answer& answer) {
    auto found = spaces_.find(answer.space);
    if (found == spaces_.end()) return;
    Check(PageCrc32c(answer.space, answer.page, answer.version, answer.bytes) == answer.crc32c,
          "bytes changed while their write-back was under way");
    Stored& stored = found->second[answer.page];
    if (answer.version <= stored.version) return;  // a resend
    stored.version = answer.version;
    stored.bytes.assign(reinterpret_cast<const char*>(answer.bytes.data()), answer.bytes.size());
  }
  absl::Status Read(const Answer& answer) {
    auto found = spaces_.find(answer.space);
    if (found == spaces_.end()) return absl::CancelledError("destroyed");
    auto page = found->second.find(answer.page);
    if (page == found->second.end() || page->second.version != answer.version) {
      std::string have = page == found->second.end() ? "nothing" : std::to_string(page->second.version.value());
      std::string text = "page " + std::to_string(answer.page.value()) + " version " + std::to_string(answer.version.value()) +
                         " is not there but " + have;
      return absl::DataLossError(text);
    }
    if (page->second.bytes.empty()) {
      std::memset(answer.into.data(), 0, kPageBytes);
    } else {
      std::memcpy(answer.into.data(), page->second.bytes.data(), kPageBytes);
    }
    return absl::OkStatus();
  }

  const Clock& clock_;
  UniqueFd event_;
  PageStoreEvents* events_ = nullptr;
  std::map<std::byte*, std::size_t> buffers_;
  std::map<SpaceId, std::map<PageNumber, Stored>> spaces_;
  std::set<std::pair<SpaceId, PageNumber>> writing_;
  std::deque<Answer> answers_;
};

}  // namespace ashlar::pnode
