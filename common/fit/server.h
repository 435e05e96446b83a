// The serving side of FIT: accepts clients that show a one-time token, runs their requests, remembers answers so that a
// resent at-most-once call is answered and not run again. Only on its shard's thread, except IssueLink.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/fit/call.h"
#include "common/fit/connection.h"
#include "common/fit/shard.h"

namespace ashlar::fit {

struct Client {
  NodeId node;
  Incarnation incarnation;
  std::uint16_t shard = 0;
  friend bool operator==(const Client&, const Client&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Client& client) {
    return H::combine(std::move(h), client.node, client.incarnation, client.shard);
  }
};

// The endpoint a request came over, for windows. Dies with the endpoint: hold it by weak_ptr.
class Session {
 public:
  virtual ~Session() = default;
  virtual const Client& client() const = 0;
  virtual std::uint64_t connection_epoch() const = 0;
  // A window on registered memory, valid for this client until revoked or the endpoint's end.
  virtual absl::StatusOr<fabric::RemoteWindow> Grant(fabric::Slice slice, fabric::Access access) = 0;
  // `done` runs when the client can no longer reach the bytes: after the revocation, or the endpoint's destruction.
  virtual void Revoke(fabric::RemoteWindow window, absl::AnyInvocable<void()> done) = 0;
};

// Where an answer goes. Move-only; may be kept and answered later, on the shard's thread. Dropped unanswered: the client
// gets kUnavailable. Answering after the client or the Server is gone is harmless; after the Shard is gone it is not.
class ReplyWriter {
 public:
  class Impl {
   public:
    virtual ~Impl() = default;  // unanswered: answers kUnavailable
    virtual std::span<std::byte> payload() = 0;
    virtual std::span<std::byte> bulk() = 0;
    virtual void Send(Code code, std::uint32_t payload_bytes, std::uint32_t bulk_bytes, Hints hints) = 0;
  };
  explicit ReplyWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::span<std::byte> payload() { return impl_->payload(); }  // 4096 bytes to fill
  std::span<std::byte> bulk() { return impl_->bulk(); }        // 256 KiB, page-aligned; empty: the slot has no bulk
  // Once; bulk_bytes a multiple of 4096.
  void Send(Code code, std::uint32_t payload_bytes = 0, std::uint32_t bulk_bytes = 0, Hints hints = {}) {
    impl_->Send(code, payload_bytes, bulk_bytes, hints);
    impl_.reset();
  }

 private:
  std::unique_ptr<Impl> impl_;
};

// One request, header already validated. The payload is copied out of the wire's memory and stays valid inside Handle
// only. The bulk lies in this side's arena, page-aligned, registered in the shard's domain, and stays as it is until the
// reply is sent, provided the client keeps the protocol: check what you must trust (page CRCs) after you moved it.
struct RequestView {
  wire::Opcode opcode;
  std::span<const std::byte> payload;
  std::span<const std::byte> bulk;
  fabric::Slice bulk_slice;  // the same bytes, to send onward
  Deadline deadline;         // when the caller stops waiting, re-based on arrival
  bool resend = false;
  std::shared_ptr<Session> session;
};

class Handler {
 public:
  virtual ~Handler() = default;
  virtual void Handle(const RequestView& request, ReplyWriter reply) = 0;
  // The last endpoint of that client is gone (it may come back with the same incarnation).
  virtual void OnClientDown(const Client& client) = 0;
};

struct ServerOptions {
  std::string address;  // "127.0.0.1:7502", port 0 = any
  std::uint16_t slots = 32;
  std::uint16_t bulk_slots = 8;
  std::uint64_t token_ttl_ns = 10'000'000'000;
};

class Server {
 public:
  static absl::StatusOr<std::unique_ptr<Server>> Create(Shard& shard, const ServerOptions& options, Handler& handler);
  virtual ~Server() = default;
  virtual std::string address() const = 0;  // with the port that was bound
  // Any thread: a one-time token for that client, bound to it, valid for token_ttl. ResourceExhausted: 4096 are open.
  virtual absl::StatusOr<LinkGrant> IssueLink(const Client& client) = 0;
  virtual void CollectStats(StatList& stats) const = 0;  // any thread
};

}  // namespace ashlar::fit
