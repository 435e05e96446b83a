#include "common/base/check.h"
#include "common/fit/server_impl.h"

namespace ashlar::fit {

absl::StatusOr<fabric::RemoteWindow> SessionImpl::Grant(fabric::Slice slice, fabric::Access access) {
  if (link_ == nullptr || !link_->up()) return absl::UnavailableError("fit: the client's endpoint is gone");
  return link_->endpoint().Grant(slice, access);
}

void SessionImpl::Revoke(fabric::RemoteWindow window, absl::AnyInvocable<void()> done) {
  if (link_ == nullptr) return queue_->Submit(std::move(done));  // the window died with the endpoint
  waiting_.push_back({window, std::move(done)});
  PostRevocations();
}

void SessionImpl::PostRevocations() {
  while (link_ != nullptr && link_->up() && !waiting_.empty() && in_flight_.size() < Link::kMaxRevocations) {
    Revocation next = std::move(waiting_.front());
    waiting_.pop_front();
    std::uint64_t number = next_number_++;
    in_flight_[number] = std::move(next.done);
    // On an error the endpoint goes, and the window with it; OnGone runs `done`.
    if (absl::Status posted = link_->endpoint().Revoke(next.window, Link::RevokeWrId(number)); !posted.ok())
      return link_->Fail(posted);
  }
}

void SessionImpl::OnRevoked(std::uint64_t number) {
  auto found = in_flight_.find(number);
  if (found == in_flight_.end()) return;
  auto done = std::move(found->second);
  in_flight_.erase(found);
  std::move(done)();
  PostRevocations();
}

void SessionImpl::OnGone() {
  link_ = nullptr;
  auto in_flight = std::exchange(in_flight_, {});
  auto waiting = std::exchange(waiting_, {});
  for (auto& [number, done] : in_flight) std::move(done)();
  for (Revocation& revocation : waiting) std::move(revocation.done)();
}

ServerLink::ServerLink(ServerImpl& server, std::shared_ptr<CallerRecord> record, const Link::Options& options,
                       std::unique_ptr<fabric::Endpoint> endpoint, std::shared_ptr<Arena> in)
    : server_(server), record_(std::move(record)),
      session_(std::make_shared<SessionImpl>(server.shard().submit_queue(), record_->client, options.peer.connection_epoch)),
      link_(server.shard(), options, std::move(endpoint), std::move(in), *this, server.link_counters()) {
  session_->Bind(&link_);
}

void ServerLink::OnUp() {
  log::Info("fit: client connected node={:016x} incarnation={} shard={} epoch={}", record_->client.node.value(),
            record_->client.incarnation.value(), record_->client.shard, link_.connection_epoch());
}

void ServerLink::OnFrame(std::uint32_t imm, std::uint32_t byte_len) { server_.OnRequest(*this, imm, byte_len); }
void ServerLink::OnControl(std::uint32_t imm) { server_.OnCancel(*this, imm); }

void ServerLink::OnRetired(const WorkTag& tag, bool) {
  if (tag.kind == WorkTag::Kind::kRevoke) return session_->OnRevoked(tag.number);
  if (tag.kind == WorkTag::Kind::kFrame) server_.OnFrameRetired(*record_, tag.slot);
}

void ServerLink::OnFailed(const absl::Status& reason) {
  if (server_.log_limit().Allow(server_.shard().now_ns()))
    log::Warn("fit: client link lost node={:016x} incarnation={} shard={} reason={} left_out={}",
              record_->client.node.value(), record_->client.incarnation.value(), record_->client.shard, reason,
              server_.log_limit().TakeLeftOut());
}

void ServerLink::OnGone() {
  session_->OnGone();
  server_.OnLinkGone(*this);
}

}  // namespace ashlar::fit
