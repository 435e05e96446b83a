// What the pnode checks about a program before it takes it: everything in an Attach message comes from a user's process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "daemons/pnode/injection/handoff_message.h"
#include "daemons/pnode/injection/injector.h"

namespace ashlar::pnode {

// Page-aligned, in user space, apart from each other.
absl::Status CheckAddresses(const handoff::Attach& attach, std::uint32_t staging_pages, std::uint32_t victim_slots);

// What the kernel says a descriptor is.
absl::Status CheckUffd(int fd);
absl::Status CheckEventFd(int fd);
absl::Status CheckListener(int fd);
absl::Status CheckSealedArea(int fd, std::size_t size);  // a memfd of that size that can't change it
absl::StatusOr<pid_t> ProcessOfPidfd(int fd);             // in our pid namespace; NotFound when it has ended

}  // namespace ashlar::pnode
