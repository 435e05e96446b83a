// The real FaultSource: one userfaultfd, and /proc/PID of the process behind it. Facts about the calls: 10-paging §8, §12.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "daemons/pnode/paging/fault_source.h"

namespace ashlar::pnode {

class UffdSource : public FaultSource {
 public:
  struct Process {
    pid_t pid = 0;
    UniqueFd pidfd;
    std::vector<AddressRange> excluded;  // staging: registered, but never adopted
  };

  // The descriptor has had its UFFDIO_API; it is made non-blocking. Opens the files of /proc/PID it needs.
  static absl::StatusOr<std::unique_ptr<UffdSource>> Create(UniqueFd uffd, Process process);

  int Read(std::vector<MemoryEvent>& into) override;
  Filled Copy(std::uint64_t address, std::span<const std::byte> bytes, bool wake) override;
  int ZeroFill(std::uint64_t address) override;
  bool Changing() override;
  int CheckRegistered(AddressRange range) override;
  void Wake(AddressRange range) override;
  int Register(AddressRange range) override;
  int FindPresent(AddressRange range, std::vector<AddressRange>& into) override;
  int ListCandidates(std::vector<AddressRange>& into) override;
  AddressRange FindMapping(std::uint64_t address) override;
  std::uint64_t ResidentAnonymousPages() override;
  bool NoThreadDropsPages() override;
  bool ThreadAlive(std::uint32_t thread) override;
  bool Gone() override;
  int fd() const override { return uffd_.get(); }
  int process_fd() const override { return ended_ ? -1 : process_.pidfd.get(); }

 private:
  int Probe();
  UffdSource(UniqueFd uffd, Process process) : uffd_(std::move(uffd)), process_(std::move(process)) {}
  int ReadMaps();

  UniqueFd uffd_;
  Process process_;  // pid 0: a forked child, of which only the memory is known
  UniqueFd maps_, pagemap_, statm_;
  std::string maps_text_;
  bool ended_ = false;
};

}  // namespace ashlar::pnode
