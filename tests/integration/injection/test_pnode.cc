#include "tests/integration/injection/test_pnode.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/telemetry/log.h"
#include "daemons/pnode/injection/helper_protocol.h"
#include "daemons/pnode/injection/uffd_abi.h"

namespace ashlar::pnode {
namespace {

constexpr std::uint32_t kStagingPages = 256;
constexpr std::uint32_t kVictimSlots = 64;

void* MapShared(int fd, std::size_t size) {
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ASHLAR_CHECK(at != MAP_FAILED, "mmap: {}", std::strerror(errno));
  return at;
}

}  // namespace

class TestPnode::Owner {
 public:
  Owner(TestPnode* pnode, AttachedProgram program) : pnode_(pnode), program_(std::move(program)) {
    control_ = static_cast<HelperControl*>(MapShared(injection().control.get(), sizeof(HelperControl)));
    victim_ = static_cast<std::byte*>(MapShared(injection().victim.get(), kVictimSlots * kPageBytes));
    wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    thread_ = std::thread([this] { Run(); });
  }
  ~Owner() {
    stop_ = true;
    ::eventfd_write(wake_.get(), 1);
    thread_.join();
    ::munmap(control_, sizeof(HelperControl));
    ::munmap(victim_, kVictimSlots * kPageBytes);
  }

  void Post(ExitTicket ticket) {
    absl::MutexLock lock(&mutex_);
    tickets_.push_back(std::move(ticket));
    ::eventfd_write(wake_.get(), 1);
  }
  pid_t pid() const { return program_.injection.pid; }

 private:
  const Injection& injection() const { return program_.injection; }
  int uffd() const { return injection().uffd.get(); }

  void Run() {
    for (std::uint64_t round = 0; !stop_; ++round) {
      pollfd polled[2] = {{uffd(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
      ::poll(polled, 2, pnode_->options_.evict ? 1 : 50);
      eventfd_t ignored;
      ::eventfd_read(wake_.get(), &ignored);
      ReadEvents();
      LetGo();
      // Not more often: an instruction may need several pages at once, and must get to run between two batches.
      if (!pnode_->options_.evict || MonotonicNs() < next_move_ns_) continue;
      next_move_ns_ = MonotonicNs() + 2'000'000;
      if (round % 8 == 0 || regions_.empty()) Adopt();
      ForgetEndedThreads();
      MoveSome();
    }
  }

  void ReadEvents() {
    std::vector<std::uint64_t> faults = std::move(parked_);
    parked_.clear();
    uffd_msg message;
    while (::read(uffd(), &message, sizeof(message)) == sizeof(message)) {
      switch (message.event) {
        case UFFD_EVENT_PAGEFAULT:
          faults.push_back(message.arg.pagefault.address & ~std::uint64_t{kPageBytes - 1});
          break;
        case UFFD_EVENT_REMOVE:
        case UFFD_EVENT_UNMAP:
          away_.erase(away_.lower_bound(message.arg.remove.start), away_.lower_bound(message.arg.remove.end));
          regions_.clear();
          break;
        case UFFD_EVENT_REMAP: {
          std::map<std::uint64_t, Page> moved;
          const std::uint64_t from = message.arg.remap.from;
          for (auto at = away_.lower_bound(from); at != away_.end() && at->first < from + message.arg.remap.len;) {
            moved.emplace(at->first - from + message.arg.remap.to, at->second);
            at = away_.erase(at);
          }
          away_.merge(moved);
          regions_.clear();
          break;
        }
        case UFFD_EVENT_FORK:
          ::close(static_cast<int>(message.arg.fork.ufd));
          break;
      }
    }
    for (const std::uint64_t fault : faults) {
      if (!Fill(fault)) parked_.push_back(fault);
    }
  }

  // False: the map is changing, try again after the events.
  bool Fill(std::uint64_t address) {
    static constexpr Page kZero{};
    const auto at = away_.find(address);
    uffdio_copy copy{.dst = address,
                     .src = reinterpret_cast<std::uint64_t>(at != away_.end() ? at->second.data() : kZero.data()),
                     .len = kPageBytes,
                     .mode = 0,
                     .copy = 0};
    const int error = ::ioctl(uffd(), UFFDIO_COPY, &copy) == 0 ? 0 : errno;
    if (error == EAGAIN) return false;
    if (error == EEXIST) {
      uffdio_range range{address, kPageBytes};
      ::ioctl(uffd(), UFFDIO_WAKE, &range);
    }
    if (error == 0) ++pnode_->served_;
    if (error != 0 && error != EEXIST) std::fprintf(stderr, "fill %lx: %s\n", address, std::strerror(error));
    if (at != away_.end()) away_.erase(at);
    return true;
  }

  // Threads that want to end: their pages come back and stay until they are gone.
  void LetGo() {
    std::vector<ExitTicket> tickets;
    {
      absl::MutexLock lock(&mutex_);
      tickets.swap(tickets_);
    }
    for (ExitTicket& ticket : tickets) {
      if (pnode_->options_.evict) {
        std::vector<std::uint64_t> evicted;  // not those that another ending thread needs
        std::set<std::uint64_t> pinned;
        for (const AddressRange& range : ticket.ranges()) {
          for (std::uint64_t page = range.start; page < range.end; page += kPageBytes) {
            if (!Pinned(page)) evicted.push_back(page);
            pinned.insert(page);
          }
        }
        pinned_[ticket.tid()].insert(pinned.begin(), pinned.end());
        Adopt();
        MoveOut(evicted);  // the worst moment for it
        while (pnode_->options_.bring_back_before_exit && !BringBack(pinned)) ReadEvents();
      }
      ticket.Continue();
    }
  }
  bool BringBack(const std::set<std::uint64_t>& pages) {
    return std::all_of(pages.begin(), pages.end(), [&](std::uint64_t page) { return !away_.contains(page) || Fill(page); });
  }
  bool Pinned(std::uint64_t page) const {
    return std::any_of(pinned_.begin(), pinned_.end(), [&](const auto& each) { return each.second.contains(page); });
  }
  void ForgetEndedThreads() {
    std::erase_if(pinned_, [&](const auto& each) {
      return ::access(absl::StrCat("/proc/", pid(), "/task/", each.first).c_str(), F_OK) != 0;
    });
  }

  void Adopt() {
    std::ifstream maps(absl::StrCat("/proc/", pid(), "/maps"));
    regions_.clear();
    for (std::string line; std::getline(maps, line);) {
      std::istringstream words(line);
      std::uint64_t begin = 0;
      std::uint64_t end = 0;
      char dash;
      std::string rights, offset, device, inode, name;
      words >> std::hex >> begin >> dash >> end >> rights >> offset >> device >> inode >> name;
      if (rights != "rw-p" || inode != "0" || name == "[stack]" || begin == injection().addresses.staging) continue;
      uffdio_register area{.range = {begin, end - begin}, .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
      if (::ioctl(uffd(), UFFDIO_REGISTER, &area) == 0) regions_.push_back({begin, end});
    }
  }

  void MoveSome() {
    std::vector<std::uint64_t> batch;
    for (int tries = 0; tries < 64 && batch.size() < kMaxMovePages && !regions_.empty(); ++tries) {
      if (region_ >= regions_.size()) region_ = 0;
      const AddressRange& region = regions_[region_];
      cursor_ = std::max(cursor_, region.start);
      while (batch.size() < kMaxMovePages && cursor_ < region.end) {
        if (!Pinned(cursor_) && !away_.contains(cursor_)) batch.push_back(cursor_);
        cursor_ += kPageBytes;
      }
      if (cursor_ >= region.end) {
        cursor_ = 0;
        ++region_;
      }
    }
    MoveOut(batch);
  }

  // MOVE takes pages from unregistered memory too, where nobody would be asked for them again: so only adopted ones.
  void MoveOut(std::vector<std::uint64_t> pages) {
    std::erase_if(pages, [&](std::uint64_t page) {
      return std::none_of(regions_.begin(), regions_.end(),
                          [&](const AddressRange& region) { return region.start <= page && page < region.end; });
    });
    if (pages.empty() || pages.size() > kMaxMovePages) return;
    MoveMailbox& box = control_->move;
    for (std::uint32_t k = 0; k < pages.size(); ++k) {
      box.entries[k].address = pages[k];
      box.entries[k].victim_slot = k;
      box.entries[k].result = kResultPending;
    }
    box.count = static_cast<std::uint32_t>(pages.size());
    const std::uint32_t sequence = box.command + 1;
    box.command = sequence;
    ::syscall(SYS_futex, &box.command, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    while (box.done != sequence && !stop_) {
      pollfd gone{injection().pidfd.get(), POLLIN, 0};
      if (::poll(&gone, 1, 0) > 0) return;
      ::sched_yield();
    }
    for (std::uint32_t k = 0; k < pages.size(); ++k) {
      if (box.entries[k].result != 0) continue;
      std::memcpy(away_[pages[k]].data(), victim_ + k * kPageBytes, kPageBytes);
      ++pnode_->moved_;
    }
  }

  using Page = std::array<std::byte, kPageBytes>;
  TestPnode* const pnode_;
  AttachedProgram program_;
  HelperControl* control_ = nullptr;
  std::byte* victim_ = nullptr;
  UniqueFd wake_;
  std::atomic<bool> stop_{false};
  absl::Mutex mutex_;
  std::vector<ExitTicket> tickets_ ABSL_GUARDED_BY(mutex_);
  std::map<std::uint64_t, Page> away_;
  std::map<pid_t, std::set<std::uint64_t>> pinned_;
  std::vector<std::uint64_t> parked_;
  std::vector<AddressRange> regions_;
  std::size_t region_ = 0;
  std::uint64_t cursor_ = 0;
  std::uint64_t next_move_ns_ = 0;
  std::thread thread_;
};

TestPnode::TestPnode(TestPnodeOptions options) : options_(std::move(options)) {
  char folder[] = "/tmp/ashlar-test-XXXXXX";
  ASHLAR_CHECK(::mkdtemp(folder) != nullptr, "mkdtemp");
  socket_path_ = absl::StrCat(folder, "/run.sock");
  auto guard = Guard::Start([this](ExitTicket ticket) { OnThreadExit(std::move(ticket)); });
  ASHLAR_CHECK(guard.ok(), "{}", guard.status());
  guard_ = *std::move(guard);
  auto server = HandoffServer::Start({.socket_path = socket_path_}, this);
  ASHLAR_CHECK(server.ok(), "{}", server.status());
  server_ = *std::move(server);
}

TestPnode::~TestPnode() {
  server_.reset();
  guard_.reset();
  ::unlink(socket_path_.c_str());
  ::rmdir(socket_path_.substr(0, socket_path_.rfind('/')).c_str());
}

absl::StatusOr<ProgramGrant> TestPnode::Admit(const ProgramRequest& request) {
  if (!options_.admit.ok()) return options_.admit;
  absl::MutexLock lock(&mutex_);
  return ProgramGrant{.space = SpaceId(next_space_++),
                      .limit_bytes = request.limit_bytes,
                      .staging_pages = kStagingPages,
                      .victim_slots = kVictimSlots,
                      .give_up = absl::Seconds(10)};
}

absl::Status TestPnode::Attach(AttachedProgram program) {
  if (!options_.attach.ok()) return options_.attach;
  const SpaceId space = program.space;
  const absl::Status watched = guard_->Add(space, std::move(program.exit_listener));
  if (!watched.ok()) return watched;
  auto owner = std::make_shared<Owner>(this, std::move(program));
  absl::MutexLock lock(&mutex_);
  owners_[space.value()] = std::move(owner);
  return absl::OkStatus();
}

void TestPnode::OnThreadExit(ExitTicket ticket) {
  ++exits_;
  std::shared_ptr<Owner> owner;
  {
    absl::MutexLock lock(&mutex_);
    const auto at = owners_.find(ticket.space().value());
    if (at != owners_.end()) owner = at->second;
  }
  if (owner != nullptr && owner->pid() == ticket.pid()) owner->Post(std::move(ticket));
}

void TestPnode::OnGone(SpaceId space, GoneReason reason, int wait_status) {
  std::shared_ptr<Owner> owner;
  absl::MutexLock lock(&mutex_);
  const auto at = owners_.find(space.value());
  if (at != owners_.end()) {
    owner = std::move(at->second);
    owners_.erase(at);
  }
  gone_.push_back({reason, wait_status});
}

TestPnode::Gone TestPnode::WaitForGone() {
  absl::MutexLock lock(&mutex_);
  const auto any = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !gone_.empty(); };
  ASHLAR_CHECK(mutex_.AwaitWithTimeout(absl::Condition(&any), absl::Seconds(10)), "no program is gone");
  const Gone gone = gone_.front();
  gone_.erase(gone_.begin());
  return gone;
}

}  // namespace ashlar::pnode
