#include "common/control/link_opener.h"

#include <pthread.h>

#include <memory>
#include <thread>
#include <utility>

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_unary_call.h>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "common/control/channel.h"
#include "common/control/conversion.h"
#include "common/control/grpc_status.h"
#include "proto/ashlar/v1/node.grpc.pb.h"

namespace ashlar::control {
namespace {

using Done = absl::AnyInvocable<void(absl::StatusOr<fit::LinkGrant>)>;

class GrpcLinkOpener;

// One ask under way; its address is the completion queue's tag.
struct Ask {
  GrpcLinkOpener* opener = nullptr;
  Done done;
  grpc::ClientContext context;
  v1::OpenLinkResponse response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::OpenLinkResponse>> reader;
};

class GrpcLinkOpener final : public fit::LinkOpener {
 public:
  GrpcLinkOpener(const LinkOpenerOptions& options, grpc::CompletionQueue& queue)
      : options_(options), queue_(queue), stub_(v1::Node::NewStub(OpenChannel(options.control_address))) {
    ToProto({.client_node = options.client_node,
             .client_incarnation = options.client_incarnation,
             .client_shard = options.client_shard,
             .backend = static_cast<int>(ToProto(options.backend)),
             .server_node = options.server_node},
            &request_);
  }

  ~GrpcLinkOpener() override {
    absl::MutexLock lock(&mutex_);
    for (Ask* ask : asks_) ask->context.TryCancel();
    mutex_.Await(absl::Condition(+[](absl::flat_hash_set<Ask*>* asks) { return asks->empty(); }, &asks_));
  }

  void OpenLink(Done done) override {
    auto ask = std::make_unique<Ask>();
    ask->opener = this;
    ask->done = std::move(done);
    ask->context.set_deadline(absl::ToChronoTime(absl::Now() + options_.timeout));
    ask->reader = stub_->AsyncOpenLink(&ask->context, request_, &queue_);
    absl::MutexLock lock(&mutex_);  // so that Completed, on its thread, finds it in asks_
    ask->reader->Finish(&ask->response, &ask->status, ask.get());
    asks_.insert(ask.release());
  }

  // On the queue's thread. Frees `ask`.
  void Completed(Ask* ask) {
    const std::unique_ptr<Ask> owned(ask);
    owned->done(Result(*owned));
    owned->done = nullptr;  // what it holds goes before the destructor may return
    absl::MutexLock lock(&mutex_);
    asks_.erase(ask);
  }

 private:
  absl::StatusOr<fit::LinkGrant> Result(const Ask& ask) const {
    const std::string who = absl::StrCat("open link to ", options_.peer, " at ", options_.control_address);
    if (!ask.status.ok()) return FromGrpc(ask.status, who);
    absl::StatusOr<fit::LinkGrant> grant = FromProto(ask.response, options_.server_node);
    if (!grant.ok()) return Annotate(std::move(grant).status(), who);
    return grant;
  }

  const LinkOpenerOptions options_;
  grpc::CompletionQueue& queue_;
  std::unique_ptr<v1::Node::Stub> stub_;
  v1::OpenLinkRequest request_;
  absl::Mutex mutex_;  // a leaf
  absl::flat_hash_set<Ask*> asks_ ABSL_GUARDED_BY(mutex_);  // owned; those under way
};

class GrpcLinkOpeners final : public LinkOpeners {
 public:
  GrpcLinkOpeners() : thread_([this] { Run(); }) {}
  ~GrpcLinkOpeners() override {
    queue_.Shutdown();
    thread_.join();
  }

  std::unique_ptr<fit::LinkOpener> For(const LinkOpenerOptions& options) override {
    return std::make_unique<GrpcLinkOpener>(options, queue_);
  }

 private:
  void Run() {
    ::pthread_setname_np(::pthread_self(), "ashlar-links");
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
      Ask* ask = static_cast<Ask*>(tag);
      ask->opener->Completed(ask);
    }
  }

  grpc::CompletionQueue queue_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<LinkOpeners> LinkOpeners::Create() { return std::make_unique<GrpcLinkOpeners>(); }

}  // namespace ashlar::control
