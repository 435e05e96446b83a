#include "daemons/pnode/injection/handoff_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"
#include "daemons/pnode/injection/attach_check.h"
#include "daemons/pnode/injection/handoff_message.h"
#include "daemons/pnode/injection/helper_protocol.h"
#include "daemons/pnode/injection/packet_socket.h"
#include "daemons/pnode/injection/uffd_setup.h"

namespace ashlar::pnode {

using handoff::Kind;

namespace {

constexpr std::uint64_t kLookEveryNs = 1'000'000'000;

std::uint64_t After(absl::Duration timeout) {
  return MonotonicNs() + static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(timeout));
}

}  // namespace

// What happened so far on one connection; each step allows exactly one kind of message.
enum class HandoffStep { kConnected, kGranted, kRunning, kFirstEnded, kClosed };

struct HandoffServer::Connection {
  UniqueFd socket;
  Peer peer;
  HandoffStep step = HandoffStep::kConnected;
  std::uint64_t deadline_ns = 0;  // of kConnected and kGranted
  ProgramGrant grant;
  ProcessInfo first;  // the program's first process, from kRunning on
  std::vector<ProcessInfo> children;
  int wait_status = 0;
};

absl::StatusOr<std::unique_ptr<HandoffServer>> HandoffServer::Start(Options options, ProgramSink* sink) {
  auto server = std::unique_ptr<HandoffServer>(new HandoffServer(std::move(options), sink));
  ASHLAR_ASSIGN_OR_RETURN(server->listener_, ListenAt(server->options_.socket_path));
  server->wake_fd_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!server->wake_fd_.valid()) return ErrnoStatus(errno, "handoff: eventfd");
  server->device_ = UniqueFd(::open(server->options_.uffd_device.c_str(), O_RDWR | O_CLOEXEC));
  if (!server->device_.valid()) {
    log::Warn("handoff: programs must have the right to userfaultfd themselves device={} error={}",
              server->options_.uffd_device, std::strerror(errno));
  }
  server->thread_ = std::thread([raw = server.get()] { raw->Run(); });
  return server;
}

HandoffServer::HandoffServer(Options options, ProgramSink* sink) : options_(std::move(options)), sink_(sink) {}

HandoffServer::~HandoffServer() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  ::eventfd_write(wake_fd_.get(), 1);
  thread_.join();
  ::unlink(options_.socket_path.c_str());
}

void HandoffServer::Post(Command command) {
  {
    absl::MutexLock lock(&mutex_);
    commands_.push_back(std::move(command));
  }
  ::eventfd_write(wake_fd_.get(), 1);
}

void HandoffServer::Kill(SpaceId space, std::string words) { Post({.space = space, .words = std::move(words)}); }
void HandoffServer::Hold(SpaceId space, UniqueFd uffd) { Post({.space = space, .words = {}, .uffd = std::move(uffd)}); }

void HandoffServer::Run() {
  ::pthread_setname_np(::pthread_self(), "handoff");
  for (;;) {
    std::vector<pollfd> polled = {{listener_.get(), POLLIN, 0}, {wake_fd_.get(), POLLIN, 0}};
    for (const auto& connection : connections_) polled.push_back({connection->socket.get(), POLLIN, 0});
    const int ready = ::poll(polled.data(), polled.size(), PollTimeoutMs());
    ASHLAR_CHECK(ready >= 0 || errno == EINTR, "poll: {}", std::strerror(errno));
    if (ready > 0) {
      for (std::size_t i = 2; i < polled.size(); ++i) {
        if (polled[i].revents != 0) Receive(*connections_[i - 2]);
      }
      if (polled[0].revents != 0) Accept();
    }
    RunCommands();
    LookAtChildren();
    for (const auto& connection : connections_) Expire(*connection);
    std::erase_if(connections_, [](const auto& each) { return each->step == HandoffStep::kClosed; });
    absl::MutexLock lock(&mutex_);
    if (stop_) break;
  }
  for (const auto& connection : connections_) {
    if (connection->step == HandoffStep::kRunning || connection->step == HandoffStep::kFirstEnded) {
      auto killed = handoff::Make<handoff::Killed>();
      handoff::PutText(killed.words.text, "the pnode was stopped");
      Send(connection->socket.get(), killed).IgnoreError();
      KillProcesses(*connection);
    }
    End(*connection, connection->step == HandoffStep::kGranted ? GoneReason::kNeverRan : GoneReason::kShimLost);
  }
  connections_.clear();
}

int HandoffServer::PollTimeoutMs() const {
  return connections_.empty() ? -1 : 250;  // deadlines and children need no more
}

void HandoffServer::Accept() {
  UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket.valid()) return;  // it left again
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (connections_.size() >= options_.max_connections ||
      ::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    turned_away_.Add();
    Send(socket.get(), handoff::MakeRefusal(absl::ResourceExhaustedError("the pnode runs as many programs as it may")))
        .IgnoreError();
    return;
  }
  accepted_.Add();
  auto connection = std::make_unique<Connection>();
  connection->socket = std::move(socket);
  connection->peer = {.uid = credentials.uid, .pid = credentials.pid};
  connection->deadline_ns = After(options_.request_timeout);
  connections_.push_back(std::move(connection));
}

void HandoffServer::Expire(Connection& connection) {
  const bool waits = connection.step == HandoffStep::kConnected || connection.step == HandoffStep::kGranted;
  if (!waits || MonotonicNs() < connection.deadline_ns) return;
  Refuse(connection, absl::DeadlineExceededError("`ashlar run` took too long"));
}

void HandoffServer::Receive(Connection& connection) {
  if (connection.step == HandoffStep::kClosed) return;
  absl::StatusOr<Packet> packet = ReceivePacket(connection.socket.get(), absl::ZeroDuration());
  absl::Status status = packet.ok() ? Take(connection, *std::move(packet)) : packet.status();
  if (status.ok()) return;
  const bool hung_up = absl::IsUnavailable(status);
  if (!hung_up) {
    malformed_.Add();
    if (malformed_lines_.Allow(MonotonicNs())) {
      log::Warn("handoff: connection dropped uid={} pid={} why={} left_out={}", connection.peer.uid,
                connection.peer.pid, status, malformed_lines_.TakeLeftOut());
    }
  }
  switch (connection.step) {
    case HandoffStep::kConnected:
      connection.step = HandoffStep::kClosed;
      break;
    case HandoffStep::kGranted:
      End(connection, GoneReason::kNeverRan);
      break;
    case HandoffStep::kFirstEnded:
      KillProcesses(connection);  // none, if the shim left in good order
      End(connection, GoneReason::kEnded);
      break;
    case HandoffStep::kRunning:
      shims_lost_.Add();
      log::Warn("handoff: `ashlar run` is gone, its program is killed space={} pid={}",
                connection.grant.space.value(), connection.first.pid);
      KillProcesses(connection);
      End(connection, GoneReason::kShimLost);
      break;
    case HandoffStep::kClosed:
      break;
  }
}

absl::Status HandoffServer::Take(Connection& connection, Packet packet) {
  const std::size_t descriptors = connection.step == HandoffStep::kGranted ? handoff::kMaxDescriptors : 0;
  if (packet.descriptors.size() != descriptors) return absl::InvalidArgumentError("handoff: wrong number of descriptors");
  switch (connection.step) {
    case HandoffStep::kConnected:
      return OnRunRequest(connection, packet.bytes);
    case HandoffStep::kGranted:
      return OnAttach(connection, std::move(packet));
    case HandoffStep::kRunning:
      return OnExited(connection, packet.bytes);
    case HandoffStep::kFirstEnded:
    case HandoffStep::kClosed:
      break;
  }
  return absl::InvalidArgumentError("handoff: a message out of turn");
}

absl::Status HandoffServer::OnRunRequest(Connection& connection, std::span<const std::byte> bytes) {
  ASHLAR_ASSIGN_OR_RETURN(const auto request, handoff::Parse<handoff::RunRequest>(bytes));
  if (request.strace > 1 || request.reserved != 0) return absl::InvalidArgumentError("handoff: a request for what this version does not know");
  ProgramRequest wanted{.limit_bytes = request.limit_bytes,
                        .strace = request.strace == 1,
                        .name = handoff::GetText(request.name),
                        .arguments = handoff::GetText(request.arguments),
                        .peer = connection.peer};
  absl::StatusOr<ProgramGrant> grant = sink_->Admit(wanted);
  if (!grant.ok()) {
    Refuse(connection, grant.status());
    return absl::OkStatus();
  }
  connection.grant = *grant;
  connection.step = HandoffStep::kGranted;
  connection.deadline_ns = After(options_.attach_timeout);
  {
    absl::MutexLock lock(&mutex_);
    programs_[grant->space.value()] = {.space = grant->space,
                                       .name = std::move(wanted.name),
                                       .arguments = std::move(wanted.arguments),
                                       .uid = connection.peer.uid};
  }
  auto answer = handoff::Make<handoff::Grant>();
  answer.space_id = grant->space.value();
  answer.limit_bytes = grant->limit_bytes;
  answer.staging_pages = grant->staging_pages;
  answer.victim_slots = grant->victim_slots;
  answer.give_up_ms = static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(absl::ToInt64Milliseconds(grant->give_up), 1, UINT32_MAX));
  answer.has_device = device_.valid() ? 1 : 0;
  const int device = device_.get();
  return Send(connection.socket.get(), answer, std::span(&device, answer.has_device));
}

absl::Status HandoffServer::OnAttach(Connection& connection, Packet packet) {
  using namespace handoff;  // the kAttach… order
  ASHLAR_ASSIGN_OR_RETURN(const auto attach, Parse<handoff::Attach>(packet.bytes));
  const ProgramGrant& grant = connection.grant;
  std::vector<UniqueFd>& fds = packet.descriptors;
  ASHLAR_RETURN_IF_ERROR(CheckAddresses(attach, grant.staging_pages, grant.victim_slots));
  ASHLAR_RETURN_IF_ERROR(CheckUffd(fds[kAttachUffd].get()));
  ASHLAR_RETURN_IF_ERROR(CheckEventFd(fds[kAttachMoveEvent].get()));
  ASHLAR_RETURN_IF_ERROR(CheckEventFd(fds[kAttachUnshareEvent].get()));
  ASHLAR_RETURN_IF_ERROR(CheckListener(fds[kAttachListener].get()));
  ASHLAR_RETURN_IF_ERROR(CheckSealedArea(fds[kAttachControl].get(), sizeof(HelperControl)));
  ASHLAR_RETURN_IF_ERROR(CheckSealedArea(fds[kAttachVictim].get(), grant.victim_slots * kPageBytes));
  ASHLAR_ASSIGN_OR_RETURN(const pid_t pid, ProcessOfPidfd(fds[kAttachPidfd].get()));
  // A child of the peer runs as the peer or is confined by no_new_privs; nobody else's process is taken.
  std::ifstream stat_file(absl::StrCat("/proc/", pid, "/stat"));
  std::string line;
  std::getline(stat_file, line);
  if (!ParseProcStat(line, &connection.first) || connection.first.parent != connection.peer.pid || attach.pid != pid) {
    return absl::PermissionDeniedError("handoff: the program is not a child of the `ashlar run` that hands it over");
  }

  absl::Status status = SetUpUffd(fds[kAttachUffd].get(), attach.staging_address, grant.staging_pages);
  if (status.ok()) {
    AttachedProgram program{.space = grant.space,
                            .injection = {.uffd = std::move(fds[kAttachUffd]),
                                          .control = std::move(fds[kAttachControl]),
                                          .victim = std::move(fds[kAttachVictim]),
                                          .move_event = std::move(fds[kAttachMoveEvent]),
                                          .unshare_event = std::move(fds[kAttachUnshareEvent]),
                                          .pidfd = std::move(fds[kAttachPidfd]),
                                          .addresses = {.blob = attach.blob_address,
                                                        .control = attach.control_address,
                                                        .victim = attach.victim_address,
                                                        .staging = attach.staging_address},
                                          .pid = pid,
                                          .move_tid = attach.move_tid,
                                          .unshare_tid = attach.unshare_tid},
                            .exit_listener = std::move(fds[kAttachListener]),
                            .staging_pages = grant.staging_pages,
                            .victim_slots = grant.victim_slots};
    status = sink_->Attach(std::move(program));
  }
  if (!status.ok()) {
    Refuse(connection, status);
    return absl::OkStatus();
  }
  attached_.Add();
  connection.step = HandoffStep::kRunning;
  {
    absl::MutexLock lock(&mutex_);
    programs_[grant.space.value()].pid = pid;
  }
  return Send(connection.socket.get(), handoff::Make<handoff::Ready>());
}

absl::Status HandoffServer::OnExited(Connection& connection, std::span<const std::byte> bytes) {
  ASHLAR_ASSIGN_OR_RETURN(const auto exited, handoff::Parse<handoff::Exited>(bytes));
  connection.wait_status = exited.wait_status;
  connection.step = HandoffStep::kFirstEnded;
  return absl::OkStatus();
}

void HandoffServer::Refuse(Connection& connection, const absl::Status& status) {
  refused_.Add();
  Send(connection.socket.get(), handoff::MakeRefusal(status)).IgnoreError();
  if (connection.step == HandoffStep::kGranted) {
    End(connection, GoneReason::kNeverRan);
  } else {
    connection.step = HandoffStep::kClosed;
  }
}

// The shim's death has killed the first process already (PDEATHSIG); children have another parent by now, so those seen
// at the last look count, and what they made since.
void HandoffServer::KillProcesses(Connection& connection) {
  KillProcess(connection.first);
  for (const ProcessInfo& child : connection.children) {
    for (const ProcessInfo& below : Descendants(child.pid)) KillProcess(below);
    KillProcess(child);
  }
}

void HandoffServer::End(Connection& connection, GoneReason reason) {
  const bool admitted = connection.step != HandoffStep::kConnected && connection.step != HandoffStep::kClosed;
  connection.step = HandoffStep::kClosed;
  if (!admitted) return;
  {
    absl::MutexLock lock(&mutex_);
    programs_.erase(connection.grant.space.value());
  }
  sink_->OnGone(connection.grant.space, reason, connection.wait_status);
}

void HandoffServer::RunCommands() {
  eventfd_t ignored;
  ::eventfd_read(wake_fd_.get(), &ignored);
  std::deque<Command> commands;
  {
    absl::MutexLock lock(&mutex_);
    commands.swap(commands_);
  }
  for (Command& command : commands) {
    const auto at = std::find_if(connections_.begin(), connections_.end(), [&](const auto& each) {
      return each->grant.space == command.space &&
             (each->step == HandoffStep::kRunning || each->step == HandoffStep::kFirstEnded);
    });
    if (at == connections_.end()) continue;
    Connection& connection = **at;
    if (command.uffd.valid()) {
      const int uffd = command.uffd.get();
      const absl::Status sent = Send(connection.socket.get(), handoff::Make<handoff::Hold>(), std::span(&uffd, 1));
      if (!sent.ok()) log::Warn("handoff: a child's memory has one holder only space={}", command.space.value());
      continue;
    }
    auto killed = handoff::Make<handoff::Killed>();
    handoff::PutText(killed.words.text, command.words);
    Send(connection.socket.get(), killed).IgnoreError();
    connection.children = Descendants(connection.peer.pid);
    KillProcesses(connection);
  }
}

void HandoffServer::LookAtChildren() {
  const std::uint64_t now_ns = MonotonicNs();
  if (now_ns - looked_ns_ < kLookEveryNs) return;
  looked_ns_ = now_ns;
  for (const auto& connection : connections_) {
    if (connection->step != HandoffStep::kRunning && connection->step != HandoffStep::kFirstEnded) continue;
    std::vector<ProcessInfo> children = Descendants(connection->peer.pid);
    std::erase_if(children, [&](const ProcessInfo& each) { return each.pid == connection->first.pid; });
    // Empty may mean that the shim has just died: what was seen last is needed then.
    if (children.empty() && ::kill(connection->peer.pid, 0) != 0) continue;
    connection->children = children;
    absl::MutexLock lock(&mutex_);
    programs_[connection->grant.space.value()].children = std::move(children);
  }
}

std::vector<ProgramStatus> HandoffServer::Programs() const {
  absl::MutexLock lock(&mutex_);
  std::vector<ProgramStatus> programs;
  for (const auto& [space, program] : programs_) programs.push_back(program);
  std::sort(programs.begin(), programs.end(), [](const auto& a, const auto& b) { return a.space < b.space; });
  return programs;
}

void HandoffServer::AddStats(StatList* stats) const {
  stats->Add("handoff_accepted_total", accepted_);
  stats->Add("handoff_turned_away_total", turned_away_);
  stats->Add("handoff_refused_total", refused_);
  stats->Add("handoff_malformed_total", malformed_);
  stats->Add("programs_attached_total", attached_);
  stats->Add("shims_lost_total", shims_lost_);
}

}  // namespace ashlar::pnode
