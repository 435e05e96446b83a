#include "common/control/control_server.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cerrno>
#include <mutex>
#include <string>
#include <utility>

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/control/grpc_log.h"
#include "common/control/limits.h"
#include "common/control/node_facts.h"
#include "common/control/node_service.h"
#include "common/control/programs_service.h"
#include "common/control/spaces_service.h"
#include "common/control/stats_service.h"
#include "common/control/supervisor_service.h"

namespace ashlar::control {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// Tests listen on port 0, which is no address in a topology; so the port is cut off before it is judged.
absl::StatusOr<config::Address> ListenAddress(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon != text.npos && text.substr(colon) == ":0") {
    ASHLAR_ASSIGN_OR_RETURN(config::Address address, config::ParseAddress(absl::StrCat(View(text.substr(0, colon)), ":1")));
    address.port = 0;
    return address;
  }
  return config::ParseAddress(text);
}

// gRPC does not say why it could not listen: ask the kernel once more.
absl::Status WhyNotListening(const config::Address& address) {
  const bool v6 = address.ip.find(':') != std::string::npos;
  const UniqueFd fd(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage storage{};
  socklen_t size = 0;
  if (v6) {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&storage);
    *in6 = {.sin6_family = AF_INET6, .sin6_port = htons(address.port)};
    ::inet_pton(AF_INET6, address.ip.c_str(), &in6->sin6_addr);
    size = sizeof(sockaddr_in6);
  } else {
    auto* in4 = reinterpret_cast<sockaddr_in*>(&storage);
    *in4 = {.sin_family = AF_INET, .sin_port = htons(address.port)};
    ::inet_pton(AF_INET, address.ip.c_str(), &in4->sin_addr);
    size = sizeof(sockaddr_in);
  }
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  const std::string what = absl::StrCat("control: listen on ", address.ToString());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), size) == 0) return absl::UnavailableError(what);
  switch (errno) {
    case EADDRINUSE:
      return absl::UnavailableError(absl::StrCat(what, ": in use: does this node, or another program, run already?"));
    case EADDRNOTAVAIL:
      return absl::UnavailableError(absl::StrCat(what, ": no such address on this host; correct `control` in the topology"));
    default:
      return ErrnoStatus(errno, what);
  }
}

// gRPC keeps these for the whole process and reads them when a builder is made.
void EnableStandardServicesOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

class GrpcControlServer final : public ControlServer {
 public:
  GrpcControlServer(const ControlServerOptions& options, ControlSources sources) : node_(state_), stats_(state_), programs_(state_), spaces_(state_), supervisor_(state_) {
    state_.identity = options.identity;
    state_.topology = options.topology;
    state_.sources = std::move(sources);
    state_.started_ns = MonotonicNs();
  }

  ~GrpcControlServer() override {
    if (server_) Stop(absl::ZeroDuration());
  }

  absl::Status Listen(const config::Address& address) {
    RouteGrpcLogOnce();
    EnableStandardServicesOnce();
    grpc::ServerBuilder builder;
    grpc::ResourceQuota quota("ashlar-control");
    quota.SetMaxThreads(kMaxThreads);
    builder.SetResourceQuota(quota);
    builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
    builder.SetMaxSendMessageSize(kMaxMessageBytes);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreams);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAliveMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepAliveTimeoutMs);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kKeepAliveMs / 2);
    // With it, two daemons on one port would both seem to listen.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    int port = 0;
    builder.AddListeningPort(address.ToString(), grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&node_);
    builder.RegisterService(&stats_);
    if (state_.sources.programs) builder.RegisterService(&programs_);
    if (state_.sources.spaces) builder.RegisterService(&spaces_);
    if (state_.sources.supervisor) builder.RegisterService(&supervisor_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) return WhyNotListening(address);
    config::Address bound = address;
    bound.port = static_cast<std::uint16_t>(port);
    address_ = bound.ToString();
    SetHealth(Health::kStarting);
    return absl::OkStatus();
  }

  std::string address() const override { return address_; }

  void SetHealth(Health health) override {
    state_.health = health;
    grpc::HealthCheckServiceInterface& service = *server_->GetHealthCheckService();
    for (const char* name : {"", v1::Node::service_full_name(), v1::Stats::service_full_name()}) {
      service.SetServingStatus(name, health == Health::kReady);
    }
    if (state_.sources.spaces) service.SetServingStatus(v1::Spaces::service_full_name(), health == Health::kReady);
    if (state_.sources.programs) service.SetServingStatus(v1::Programs::service_full_name(), health == Health::kReady);
    if (state_.sources.supervisor) service.SetServingStatus(v1::Supervisor::service_full_name(), health == Health::kReady);
  }

  void Stop(absl::Duration grace) override {
    SetHealth(Health::kStopping);
    server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
    server_->Wait();
    server_.reset();
  }

 private:
  ServiceState state_;
  NodeService node_;
  StatsService stats_;
  ProgramsService programs_;
  SpacesService spaces_;
  SupervisorService supervisor_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ControlServer>> ControlServer::Start(const ControlServerOptions& options,
                                                                    ControlSources sources) {
  ASHLAR_CHECK(options.topology != nullptr, "a control server needs the topology id={}", options.identity.id);
  ASHLAR_ASSIGN_OR_RETURN(const config::Address address, ListenAddress(options.address));
  if (!address.is_loopback && !options.topology->insecure) {
    return absl::FailedPreconditionError(
        absl::StrCat("control: ", address.ToString(), " is not loopback and this version speaks plaintext only; write "
                     "`insecure: true` in the topology if the network is yours alone"));
  }
  auto server = std::make_unique<GrpcControlServer>(options, std::move(sources));
  ASHLAR_RETURN_IF_ERROR(server->Listen(address));
  return server;
}

absl::StatusOr<std::unique_ptr<ControlServer>> ControlServer::StartFor(const config::Topology& topology, const config::Node& node,
                                                                       Incarnation incarnation, ControlSources sources) {
  return Start({.address = node.control.ToString(), .identity = IdentityOf(topology, node, incarnation), .topology = &topology},
               std::move(sources));
}

}  // namespace ashlar::control
