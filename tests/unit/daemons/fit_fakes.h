// A shard whose clock and timers the test moves, a connection whose calls the test answers, a session that counts its
// windows, and a reply that is kept. For the unit tests of what stands on FIT.
#pragma once

#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/fit/connection.h"
#include "common/fit/server.h"
#include "common/fit/shard.h"

namespace ashlar::fakes {

class Region : public fabric::Region {
 public:
  explicit Region(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes() const override { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

class Shard : public fit::Shard {
 public:
  const fit::ShardOptions& options() const override { return options_; }
  fabric::Device& device() override { ASHLAR_CHECK(false, "no device"); }
  fabric::Domain& domain() override { ASHLAR_CHECK(false, "no domain"); }
  absl::StatusOr<std::unique_ptr<fabric::Region>> Register(std::span<std::byte> bytes) override {
    return std::make_unique<Region>(bytes);
  }
  int Poll() override {
    int done = 0;
    for (; !submitted_.empty(); ++done) {
      auto work = std::move(submitted_.front());
      submitted_.pop_front();
      work();
    }
    while (!timers_.empty() && timers_.begin()->first <= clock.NowNs()) {
      auto work = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      work();
      ++done;
    }
    return done;
  }
  void Arm() override {}
  int event_fd() const override { return -1; }
  std::uint64_t NextTimerNs() const override { return timers_.empty() ? 0 : timers_.begin()->first; }
  void Submit(absl::AnyInvocable<void()> work) override { submitted_.push_back(std::move(work)); }
  void At(std::uint64_t at_ns, absl::AnyInvocable<void()> work) override { timers_.emplace(at_ns, std::move(work)); }
  absl::Status AddFd(int, absl::AnyInvocable<void()>) override { return absl::OkStatus(); }
  void RemoveFd(int) override {}
  void Run(absl::AnyInvocable<void()>) override {}
  void Stop() override {}
  void CollectStats(StatList&) const override {}

  // Moves the clock, running each timer at its time.
  void Advance(absl::Duration by) {
    const std::uint64_t end = clock.NowNs() + static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(by));
    while (!timers_.empty() && timers_.begin()->first <= end) {
      const std::uint64_t at = timers_.begin()->first;
      if (at > clock.NowNs()) clock.Advance(absl::Nanoseconds(at - clock.NowNs()));
      Poll();
    }
    clock.Advance(absl::Nanoseconds(end - clock.NowNs()));
    Poll();
  }

  ManualClock clock;

 private:
  fit::ShardOptions options_;
  std::deque<absl::AnyInvocable<void()>> submitted_;
  std::multimap<std::uint64_t, absl::AnyInvocable<void()>> timers_;
};

template <typename T>
T ReadAt(std::span<const std::byte> payload, std::size_t offset) {
  ASHLAR_CHECK(offset + sizeof(T) <= payload.size(), "payload of {} bytes, wanted {} at {}", payload.size(), sizeof(T), offset);
  T value;
  std::memcpy(&value, payload.data() + offset, sizeof(T));
  return value;
}

class Bytes {  // a payload under construction
 public:
  template <typename T>
  Bytes& Put(const T& value) {
    const auto* from = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), from, from + sizeof(T));
    return *this;
  }
  operator std::span<const std::byte>() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }

 private:
  std::vector<std::byte> bytes_;
};

class Connection : public fit::Connection {
 public:
  struct Call {
    fit::wire::Opcode opcode{};  // 0: a one-sided read
    std::vector<std::byte> payload;
    std::vector<std::byte> bulk;
    std::vector<fit::RemoteCopy> pieces;
    fit::Deadline deadline;
    fit::PendingCall* call = nullptr;
    bool is_read() const { return opcode == fit::wire::Opcode{}; }
  };

  ~Connection() override {
    while (!calls.empty()) Finish(0, {.status = absl::CancelledError("connection ends"), .code = fit::Code::kUnavailable});
  }

  absl::Status Start(fit::wire::Opcode opcode, std::span<const std::byte> payload, std::span<const fabric::Slice> bulk,
                     fit::Deadline deadline, fit::PendingCall& call) override {
    if (refuse_start) return absl::ResourceExhaustedError("fake: queue full");
    Call started{opcode, {payload.begin(), payload.end()}, {}, {}, deadline, &call};
    for (const fabric::Slice& slice : bulk) {
      const auto bytes = slice.region->bytes().subspan(slice.offset, slice.bytes);
      started.bulk.insert(started.bulk.end(), bytes.begin(), bytes.end());
    }
    calls.push_back(std::move(started));
    return absl::OkStatus();
  }
  absl::Status Read(std::span<const fit::RemoteCopy> pieces, fit::Deadline deadline, fit::PendingCall& call) override {
    if (!up) return absl::FailedPreconditionError("fake: not connected");
    calls.push_back({{}, {}, {}, {pieces.begin(), pieces.end()}, deadline, &call});
    return absl::OkStatus();
  }
  void Cancel(fit::PendingCall& call) override {
    for (std::size_t i = 0; i < calls.size(); ++i)
      if (calls[i].call == &call) return Finish(i, {.status = absl::CancelledError("cancelled"), .code = fit::Code::kUnavailable});
  }
  fit::LinkReport report() const override { return {.peer = "fake", .state = state()}; }
  fit::LinkState state() const override { return up ? fit::LinkState::kUp : fit::LinkState::kBackOff; }
  std::uint64_t connection_epoch() const override { return up ? epoch : 0; }
  Incarnation server_incarnation() const override { return incarnation; }
  void CollectStats(StatList&) const override {}

  // Ends call `i`: OnDone, then OnReleased.
  void Finish(std::size_t i, const fit::CallResult& result) {
    fit::PendingCall* call = calls[i].call;
    calls.erase(calls.begin() + static_cast<std::ptrdiff_t>(i));
    call->OnDone(result);
    call->OnReleased();
  }
  void Answer(std::size_t i, fit::Code code, std::span<const std::byte> payload = {}, std::span<const std::byte> bulk = {},
              fit::Hints hints = {}) {
    Finish(i, {.status = code == fit::Code::kOk ? absl::OkStatus() : absl::UnknownError("fake: server's answer"), .code = code,
               .payload = payload, .bulk = bulk, .hints = hints});
  }
  void Lose(std::size_t i) { Finish(i, {.status = absl::DeadlineExceededError("fake: lost"), .code = fit::Code::kUnavailable}); }
  std::size_t Count(fit::wire::Opcode opcode) const {
    std::size_t count = 0;
    for (const Call& call : calls) count += call.opcode == opcode;
    return count;
  }
  // Index of the oldest call of that kind; a failed check if there is none.
  std::size_t Find(fit::wire::Opcode opcode) const {
    for (std::size_t i = 0; i < calls.size(); ++i)
      if (calls[i].opcode == opcode) return i;
    ASHLAR_CHECK(false, "no call with opcode {} among {}", static_cast<int>(opcode), calls.size());
  }

  std::vector<Call> calls;  // under way
  bool refuse_start = false;
  bool up = true;
  std::uint64_t epoch = 1;
  Incarnation incarnation{100};
};

class Session : public fit::Session {
 public:
  explicit Session(fit::Client client) : client_(client) {}
  const fit::Client& client() const override { return client_; }
  std::uint64_t connection_epoch() const override { return 1; }
  absl::StatusOr<fabric::RemoteWindow> Grant(fabric::Slice slice, fabric::Access) override {
    if (refuse) return absl::ResourceExhaustedError("fake: no window");
    const fabric::RemoteWindow window{fabric::RemoteKey(++last_key), slice.offset, slice.bytes};
    windows[last_key] = slice;
    return window;
  }
  void Revoke(fabric::RemoteWindow window, absl::AnyInvocable<void()> done) override {
    windows.erase(window.key.value());
    if (hold_revokes) held.push_back(std::move(done));
    else done();
  }

  std::map<std::uint32_t, fabric::Slice> windows;  // granted and not revoked
  std::vector<absl::AnyInvocable<void()>> held;
  bool refuse = false, hold_revokes = false;
  std::uint32_t last_key = 0;

 private:
  fit::Client client_;
};

// What became of one request.
struct Answer {
  bool sent = false;
  bool dropped = false;
  fit::Code code{};
  fit::Hints hints;
  std::vector<std::byte> payload, bulk;
};

class ReplyImpl : public fit::ReplyWriter::Impl {
 public:
  explicit ReplyImpl(std::shared_ptr<Answer> answer) : answer_(std::move(answer)), bulk_(64 * 4096) {}
  ~ReplyImpl() override { answer_->dropped = !answer_->sent; }
  std::span<std::byte> payload() override { return payload_; }
  std::span<std::byte> bulk() override { return bulk_; }
  void Send(fit::Code code, std::uint32_t payload_bytes, std::uint32_t bulk_bytes, fit::Hints hints) override {
    ASHLAR_CHECK(!answer_->sent, "answered twice");
    answer_->sent = true;
    answer_->code = code;
    answer_->hints = hints;
    answer_->payload.assign(payload_.begin(), payload_.begin() + payload_bytes);
    answer_->bulk.assign(bulk_.begin(), bulk_.begin() + bulk_bytes);
  }

 private:
  std::shared_ptr<Answer> answer_;
  std::array<std::byte, 4096> payload_{};
  std::vector<std::byte> bulk_;
};

}  // namespace ashlar::fakes
