// One-sided READs at the client. FIT does not resend them: their windows die with the endpoint.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/fit/connection_impl.h"

namespace ashlar::fit {

absl::Status ConnectionImpl::CheckPieces(std::span<const RemoteCopy> pieces) const {
  if (pieces.empty()) return absl::InvalidArgumentError("fit: a READ of nothing");
  for (const RemoteCopy& piece : pieces) {
    const fabric::Slice& local = piece.local;
    // Checked here too, because a READ out of bounds costs the connection.
    if (local.bytes > piece.window.bytes || piece.offset > piece.window.bytes - local.bytes)
      return absl::InvalidArgumentError("fit: a READ reaches beyond its window");
    if (local.region == nullptr || local.bytes == 0 || local.bytes > shard_.device().caps().max_message ||
        local.offset + local.bytes > local.region->bytes().size())
      return absl::InvalidArgumentError("fit: the target of a READ is not inside its region");
  }
  return absl::OkStatus();
}

absl::Status ConnectionImpl::Read(std::span<const RemoteCopy> pieces, Deadline deadline, PendingCall& user) {
  if (!LinkIsUp() || closing_)
    return absl::FailedPreconditionError(absl::StrCat("fit: not connected to ", options_.peer));
  ASHLAR_RETURN_IF_ERROR(CheckPieces(pieces));
  if (read_queue_.size() >= options_.max_queued)
    return absl::ResourceExhaustedError(absl::StrCat("fit: ", read_queue_.size(), " reads wait for ", options_.peer));
  ReadCall& read = reads_.Take([this] {
    auto made = std::make_unique<ReadCall>(nullptr);
    made->deadline.SetCallback([this, of = made.get()] {
      ExpireRead(*of, absl::DeadlineExceededError(absl::StrCat("fit: no READ answer from ", options_.peer, " in time")));
    });
    return made;
  });
  read.user = &user;
  read.pieces.assign(pieces.begin(), pieces.end());
  read.posted = 0;
  read.done = false;
  read.started_ns = shard_.now_ns();
  shard_.wheel().Arm(read.deadline, deadline.at_ns);
  read_queue_.push_back(&read);
  PostReads();
  return absl::OkStatus();
}

void ConnectionImpl::PostReads() {
  if (!LinkIsUp()) return;
  std::size_t emptied = 0;
  for (ReadCall* read : read_queue_) {
    for (; read->posted < read->pieces.size() && reads_posted_ < kReadDepth; ++read->posted, ++reads_posted_) {
      const RemoteCopy& piece = read->pieces[read->posted];
      ++read->work_requests;
      link_->Add({.op = fabric::Op::kRead, .signalled = true, .local = std::span(&piece.local, 1),
                  .window = piece.window, .offset = piece.offset},
                 {.kind = WorkTag::Kind::kRead, .owner = read});
    }
    if (read->posted < read->pieces.size()) break;
    ++emptied;
  }
  read_queue_.erase(read_queue_.begin(), read_queue_.begin() + static_cast<std::ptrdiff_t>(emptied));
}

void ConnectionImpl::ExpireRead(ReadCall& read, const absl::Status& status) {
  std::erase(read_queue_, &read);  // what is not posted never will be
  FinishRead(read, status);
}

void ConnectionImpl::FinishRead(ReadCall& read, const absl::Status& status) {
  if (read.done) return;
  read.done = true;
  read.deadline.Cancel();
  if (status.ok()) one_sided_ns_.Add(std::max(shard_.turn_ns(), read.started_ns) - read.started_ns);
  if (absl::IsDeadlineExceeded(status)) deadline_exceeded_.Add();
  read.user->OnDone({.status = status, .code = status.ok() ? Code::kOk : Code::kUnavailable});
  ReleaseReadIfDone(read);
}

void ConnectionImpl::ReleaseReadIfDone(ReadCall& read) {
  if (!read.done || read.work_requests > 0 || read.user == nullptr) return;
  PendingCall* user = std::exchange(read.user, nullptr);
  reads_.Return(read);
  user->OnReleased();
}

}  // namespace ashlar::fit
