#include "common/fabric/memory/network.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <deque>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/fabric/memory/endpoint.h"
#include "common/fabric/region.h"

namespace ashlar::fabric {
namespace {

constexpr Caps kCaps{.max_inline = 0, .max_slices = kMaxSlices, .max_message = 1u << 20, .max_reads = 32};
constexpr std::size_t kMaxWaiting = 64;

// Windows of two endpoints never have one base: a key of another connection is refused.
std::uint64_t NextWindowBase() {
  static std::uint64_t last = 0;
  return ++last << 41;
}

absl::StatusOr<CheckedEndpoint::Setup> MakeSetup(Domain& domain, CompletionQueue& queue, const EndpointOptions& options,
                                                 std::span<const std::byte> hello) {
  auto* memory_queue = dynamic_cast<memory::MemoryQueue*>(&queue);
  if (memory_queue == nullptr) return absl::InvalidArgumentError("fabric: the queue belongs to another backend");
  CheckedEndpoint::Setup setup{
      .caps = &kCaps, .domain = &domain, .queue = memory_queue, .options = options, .window_base = NextWindowBase()};
  ASHLAR_RETURN_IF_ERROR(CheckedEndpoint::CheckSetup(setup, hello));
  return setup;
}

}  // namespace

class MemoryPendingPeer final : public PendingPeer {
 public:
  MemoryPendingPeer(MemoryNetwork& network, EndpointId connector, std::uint32_t seed, std::span<const std::byte> hello)
      : network_(network), connector_(connector), seed_(seed), hello_(hello.begin(), hello.end()) {}
  ~MemoryPendingPeer() override {
    auto* connector = network_.Find(connector_);
    if (connector != nullptr && !accepted_) connector->Lost(absl::UnavailableError("fabric: the peer did not accept the connection"));
  }
  std::span<const std::byte> hello() const override { return hello_; }
  std::string address() const override { return absl::StrCat("memory:", connector_.value()); }
  absl::StatusOr<std::unique_ptr<Endpoint>> Accept(Domain& domain, CompletionQueue& queue, const EndpointOptions& options,
                                                   std::span<const std::byte> hello_ack) override {
    ASHLAR_ASSIGN_OR_RETURN(CheckedEndpoint::Setup setup, MakeSetup(domain, queue, options, hello_ack));
    auto* connector = network_.Find(connector_);
    if (connector == nullptr || connector->state() != EndpointState::kConnecting || accepted_) {
      return absl::UnavailableError("fabric: the peer has gone meanwhile");
    }
    if (options.epoch_seed != seed_) return absl::UnavailableError("fabric: the peer speaks of another connection epoch");
    auto endpoint = std::make_unique<memory::MemoryEndpoint>(setup, network_, static_cast<memory::MemoryQueue&>(queue), address());
    endpoint->Join(*connector);
    endpoint->Accepted(hello_);
    endpoint->Send({.kind = memory::Frame::Kind::kAccepted, .payload = {hello_ack.begin(), hello_ack.end()}});
    accepted_ = true;
    return endpoint;
  }

 private:
  MemoryNetwork& network_;
  const EndpointId connector_;
  const std::uint32_t seed_;
  const std::vector<std::byte> hello_;
  bool accepted_ = false;
};

namespace memory {

class MemoryListener final : public Listener {
 public:
  MemoryListener(MemoryNetwork& network, std::string address)
      : network_(network), address_(std::move(address)), event_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) {
    network_.listeners_[address_] = this;
  }
  ~MemoryListener() override { network_.listeners_.erase(address_); }

  std::string address() const override { return address_; }
  int event_fd() const override { return event_fd_.get(); }
  std::unique_ptr<PendingPeer> Accept() override {
    if (waiting_.empty()) return nullptr;
    std::uint64_t ignored = 0;
    [[maybe_unused]] const auto n = ::read(event_fd_.get(), &ignored, sizeof(ignored));
    std::unique_ptr<PendingPeer> peer = std::move(waiting_.front());
    waiting_.pop_front();
    return peer;
  }
  void Arrive(std::unique_ptr<PendingPeer> peer) {
    if (waiting_.size() == kMaxWaiting) return;  // dropping it fails the connector
    waiting_.push_back(std::move(peer));
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(event_fd_.get(), &one, sizeof(one));
  }

 private:
  MemoryNetwork& network_;
  const std::string address_;
  UniqueFd event_fd_;
  std::deque<std::unique_ptr<PendingPeer>> waiting_;
};

}  // namespace memory

class MemoryDevice final : public Device {
 public:
  explicit MemoryDevice(MemoryNetwork& network) : network_(network) {}

  std::string_view backend() const override { return "memory"; }
  const Caps& caps() const override { return kCaps; }
  absl::StatusOr<std::unique_ptr<Domain>> OpenDomain() override { return std::make_unique<PlainDomain>(); }
  absl::StatusOr<std::unique_ptr<CompletionQueue>> OpenQueue(int depth) override {
    auto queue = std::make_unique<memory::MemoryQueue>(depth, stats_);
    if (queue->event_fd() < 0) return ErrnoStatus(errno, "fabric: eventfd of a completion queue");
    return queue;
  }
  absl::StatusOr<std::unique_ptr<Listener>> Listen(std::string_view address) override {
    std::string name(address);
    if (name.empty() || name.ends_with(":0")) {
      if (!name.empty()) name.pop_back();
      name += std::to_string(++network_.last_port_);
    }
    if (network_.listeners_.contains(name)) return absl::AlreadyExistsError(absl::StrCat("fabric: somebody listens on ", name));
    return std::make_unique<memory::MemoryListener>(network_, std::move(name));
  }
  absl::StatusOr<std::unique_ptr<Endpoint>> Connect(std::string_view address, Domain& domain, CompletionQueue& queue,
                                                    const EndpointOptions& options, std::span<const std::byte> hello,
                                                    std::uint64_t connect_timeout_ns) override {
    ASHLAR_ASSIGN_OR_RETURN(CheckedEndpoint::Setup setup, MakeSetup(domain, queue, options, hello));
    auto endpoint = std::make_unique<memory::MemoryEndpoint>(setup, network_, static_cast<memory::MemoryQueue&>(queue),
                                                             absl::StrCat("memory peer ", std::string(address)));
    endpoint->FailAt(network_.clock_.NowNs() + connect_timeout_ns);
    const auto listener = network_.listeners_.find(address);
    if (listener == network_.listeners_.end()) {
      endpoint->Lost(absl::UnavailableError(absl::StrCat("fabric: nobody listens on ", std::string(address))));
    } else {
      listener->second->Arrive(std::make_unique<MemoryPendingPeer>(network_, endpoint->id(), options.epoch_seed, hello));
    }
    return endpoint;
  }
  void CollectStats(StatList& stats) const override { stats_->CollectStats(backend(), stats); }

 private:
  MemoryNetwork& network_;
  const std::shared_ptr<FabricStats> stats_ = std::make_shared<FabricStats>();
};

MemoryNetwork::~MemoryNetwork() {
  ASHLAR_CHECK(endpoints_.empty() && listeners_.empty(), "a memory network must outlive what was made from it");
}

std::unique_ptr<Device> MemoryNetwork::OpenDevice() { return std::make_unique<MemoryDevice>(*this); }

memory::MemoryEndpoint* MemoryNetwork::Find(EndpointId id) const {
  const auto found = endpoints_.find(id);
  return found == endpoints_.end() ? nullptr : found->second;
}

std::vector<EndpointId> MemoryNetwork::endpoints() const {
  std::vector<EndpointId> ids;
  for (const auto& [id, endpoint] : endpoints_) ids.push_back(id);
  return ids;
}

void MemoryNetwork::Cut(EndpointId endpoint) {
  auto* one = Find(endpoint);
  if (one != nullptr) one->Cut();
}

void MemoryNetwork::Hold(EndpointId sender) {
  if (auto* endpoint = Find(sender)) endpoint->Hold();
}

void MemoryNetwork::Release(EndpointId sender, std::size_t frames) {
  if (auto* endpoint = Find(sender)) endpoint->Release(frames);
}

std::size_t MemoryNetwork::held(EndpointId sender) const {
  const auto* endpoint = Find(sender);
  return endpoint == nullptr ? 0 : endpoint->held();
}

std::optional<std::uint64_t> MemoryNetwork::NextDeliveryNs() const {
  std::optional<std::uint64_t> next;
  for (const auto& [id, endpoint] : endpoints_) {
    const std::uint64_t due_ns = endpoint->next_due_ns();
    if (due_ns > clock_.NowNs() && (!next.has_value() || due_ns < *next)) next = due_ns;
  }
  return next;
}

}  // namespace ashlar::fabric
