// A node's state directory: where it keeps what must outlive it, and which only one daemon at a time may use.
//
// Threads: one thread at a time.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace ashlar::config {

class StateDirectory {
 public:
  // Creates it (0750) with the parents it lacks, and locks it until this object or the process ends. Errors: Unavailable,
  // naming the pid, while another daemon has it (exit 75); PermissionDenied (77); others as the system gives them.
  static absl::StatusOr<StateDirectory> Open(const std::string& path);

  const std::string& path() const { return path_; }

  // The whole of a file of at most `max_bytes`. NotFound if there is none; DataLoss if it is longer or no plain file.
  absl::StatusOr<std::string> ReadFile(const std::string& name, std::size_t max_bytes) const;

  // Replaces a file as one step: after a crash at any moment there is the old content or the new. On OK the new content
  // is on stable storage, its name too; on an error the old content stands, or nobody knows (the last fsync failed).
  absl::Status SyncFile(const std::string& name, std::string_view content);

 private:
  StateDirectory(std::string path, UniqueFd directory, UniqueFd lock)
      : path_(std::move(path)), directory_(std::move(directory)), lock_(std::move(lock)) {}

  std::string path_;
  UniqueFd directory_;
  UniqueFd lock_;  // holds the flock
};

}  // namespace ashlar::config
