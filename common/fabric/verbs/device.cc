#include "common/fabric/verbs/device.h"

#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/fabric/verbs/address.h"
#include "common/fabric/verbs/endpoint.h"
#include "common/fabric/verbs/listener.h"
#include "common/fabric/verbs/memlock.h"
#include "common/fabric/verbs/parts.h"
#include "common/fabric/verbs/probe.h"
#include "common/telemetry/log.h"

namespace ashlar::fabric {
namespace verbs {
namespace {

class VerbsDevice final : public Device {
 public:
  explicit VerbsDevice(std::shared_ptr<DeviceContext> context) : context_(std::move(context)) {}

  std::string_view backend() const override { return "verbs"; }
  const Caps& caps() const override { return context_->caps; }
  absl::StatusOr<std::unique_ptr<Domain>> OpenDomain() override { return VerbsDomain::Open(context_); }
  absl::StatusOr<std::unique_ptr<CompletionQueue>> OpenQueue(int depth) override { return VerbsQueue::Create(context_, depth); }
  absl::StatusOr<std::unique_ptr<Listener>> Listen(std::string_view address) override { return VerbsListener::Create(context_, address); }
  absl::StatusOr<std::unique_ptr<Endpoint>> Connect(std::string_view address, Domain& domain, CompletionQueue& queue,
                                                    const EndpointOptions& options, std::span<const std::byte> hello,
                                                    std::uint64_t connect_timeout_ns) override {
    ASHLAR_ASSIGN_OR_RETURN(SocketAddress peer, ParseSocketAddress(address));
    ASHLAR_ASSIGN_OR_RETURN(const VerbsEndpoint::Parts parts, MakeParts(context_, domain, queue, options, hello, std::string(address)));
    return VerbsEndpoint::Connecting(parts, peer, hello, MonotonicNs() + connect_timeout_ns);
  }
  void CollectStats(StatList& stats) const override { context_->stats->CollectStats(backend(), stats); }

 private:
  std::shared_ptr<DeviceContext> context_;
};

std::string DeviceNames() {
  int count = 0;
  ibv_device** devices = ::ibv_get_device_list(&count);
  std::vector<std::string> names;
  for (int i = 0; devices != nullptr && i < count; ++i) names.push_back(::ibv_get_device_name(devices[i]));
  if (devices != nullptr) ::ibv_free_device_list(devices);
  return names.empty() ? "none at all; is the driver loaded, and /dev/infiniband there?" : absl::StrJoin(names, " ");
}

// Where rdma_cm sees an address. The contexts belong to librdmacm and stay open.
struct Place {
  ibv_context* context = nullptr;
  std::uint8_t port = 0;
};
absl::StatusOr<Place> FindDevice(SocketAddress address) {
  Owned<rdma_event_channel> channel(::rdma_create_event_channel());
  if (channel == nullptr) return ErrnoStatus(errno, absl::StrCat("fabric: rdma_cm can't be used; RDMA devices: ", DeviceNames()));
  rdma_cm_id* raw = nullptr;
  if (::rdma_create_id(channel.get(), &raw, nullptr, RDMA_PS_TCP) != 0) return ErrnoStatus(errno, "fabric: rdma_create_id");
  Owned<rdma_cm_id> id(raw);
  if (::rdma_bind_addr(raw, address.get()) != 0 || raw->verbs == nullptr) {
    return absl::NotFoundError(absl::StrCat("fabric: no RDMA device has the address ", Print(address.get()), "; devices: ", DeviceNames()));
  }
  return Place{.context = raw->verbs, .port = raw->port_num};
}

absl::Status CheckPlace(const VerbsOptions& options, const Place& place) {
  const std::string name = ::ibv_get_device_name(place.context->device);
  if (!options.device.empty() && options.device != name) {
    return absl::FailedPreconditionError(absl::StrCat("fabric: ", options.address, " is an address of RDMA device ", name, ", not of ", options.device,
                                                      "; devices: ", DeviceNames()));
  }
  if (options.port != 0 && options.port != place.port) {
    return absl::FailedPreconditionError(absl::StrCat("fabric: ", options.address, " is on port ", place.port, " of RDMA device ", name, ", not on ",
                                                      options.port));
  }
  return absl::OkStatus();
}

// The place in the port's GID table of `address`; 0 if it is not there (InfiniBand: its addresses are IPoIB's).
int GidIndexOf(const Place& place, const SocketAddress& address) {
  const ibv_gid wanted = GidOfAddress(address);
  std::vector<ibv_gid_entry> entries(256);
  const ssize_t count = ::ibv_query_gid_table(place.context, entries.data(), entries.size(), 0);
  int found = 0;
  for (ssize_t i = 0; i < count; ++i) {
    const ibv_gid_entry& entry = entries[static_cast<std::size_t>(i)];
    if (entry.port_num != place.port || !std::equal(std::begin(wanted.raw), std::end(wanted.raw), entry.gid.raw)) continue;
    found = static_cast<int>(entry.gid_index);
    if (entry.gid_type == IBV_GID_TYPE_ROCE_V2) break;
  }
  return found;
}

absl::StatusOr<SocketAddress> AddressOfGidAt(const Place& place, int index) {
  ibv_gid gid{};
  if (::ibv_query_gid(place.context, place.port, index, &gid) != 0) {
    return absl::NotFoundError(absl::StrCat("fabric: port ", place.port, " of ", ::ibv_get_device_name(place.context->device), " has no GID ", index));
  }
  absl::StatusOr<SocketAddress> address = AddressOfGid(gid);
  if (!address.ok()) return Annotate(address.status(), absl::StrCat("fabric: gid_index ", index));
  return address;
}

}  // namespace

absl::StatusOr<VerbsEndpoint::Parts> MakeParts(const std::shared_ptr<DeviceContext>& device, Domain& domain, CompletionQueue& queue,
                                               const EndpointOptions& options, std::span<const std::byte> hello, std::string peer_name) {
  auto* verbs_domain = dynamic_cast<VerbsDomain*>(&domain);
  auto* verbs_queue = dynamic_cast<VerbsQueue*>(&queue);
  if (verbs_domain == nullptr || verbs_queue == nullptr) return absl::InvalidArgumentError("fabric: the domain or queue belongs to another backend");
  VerbsEndpoint::Parts parts{.setup = {.caps = &device->caps, .domain = &domain, .queue = verbs_queue, .options = options},
                             .device = device,
                             .domain = verbs_domain,
                             .queue = verbs_queue,
                             .peer_name = std::move(peer_name)};
  ASHLAR_RETURN_IF_ERROR(CheckedEndpoint::CheckSetup(parts.setup, hello));
  if (!device->caps.native_imm && options.send_depth < 2) {
    return absl::InvalidArgumentError("fabric: without WRITE_WITH_IMM an immediate takes two places: send_depth must be at least 2");
  }
  return parts;
}

}  // namespace verbs

absl::StatusOr<std::unique_ptr<Device>> OpenVerbsDevice(const VerbsOptions& options) {
  using namespace verbs;
  ASHLAR_ASSIGN_OR_RETURN(const SocketAddress address, ParseSocketAddress(options.address));
  auto context = std::make_shared<DeviceContext>();
  context->source = WithPort(address, 0);
  ASHLAR_ASSIGN_OR_RETURN(const Place place, FindDevice(context->source));
  ASHLAR_RETURN_IF_ERROR(CheckPlace(options, place));
  if (options.gid_index >= 0) {
    ASHLAR_ASSIGN_OR_RETURN(context->source, AddressOfGidAt(place, options.gid_index));
  }
  const int gid_index = options.gid_index >= 0 ? options.gid_index : GidIndexOf(place, context->source);
  ASHLAR_ASSIGN_OR_RETURN(DeviceFacts facts, ProbeDevice({.context = place.context, .port = place.port, .gid_index = gid_index}));
  facts.immediate_works = facts.immediate_works && options.native_imm;
  ASHLAR_ASSIGN_OR_RETURN(context->caps, ConcludeCaps(facts));
  context->context = place.context;
  context->name = facts.name;
  context->events = std::make_unique<AsyncEvents>(place.context);
  log::Info("fabric: RDMA device opened device={} port={} gid_index={} source={} inline={} slices={} reads={} immediate={}", context->name, place.port,
            gid_index, Print(context->source.get()), context->caps.max_inline, context->caps.max_slices, context->caps.max_reads,
            context->caps.native_imm ? "native" : "message");
  return std::make_unique<VerbsDevice>(std::move(context));
}

absl::Status CheckLockedMemory(std::uint64_t needed_bytes) { return verbs::CheckMemlock(verbs::ReadMemlock(), needed_bytes); }

}  // namespace ashlar::fabric
