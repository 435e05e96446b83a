// What `ashlar run` (the shim) and the pnode say on the UNIX socket: fixed-width little-endian structs, one per
// SOCK_SEQPACKET packet, descriptors beside them by SCM_RIGHTS.
//
//   shim                                             pnode
//   RunRequest                                   →   asks for a place
//                                                ←   Grant (1 descriptor: /dev/userfaultfd, if has_device) | Refusal
//   Attach (kAttachDescriptors descriptors)      →   the program stands at its first instruction
//                                                ←   Ready: let it run | Refusal: kill it
//   then, as long as one process of the program lives:
//                                                ←   Killed: the program was or must be killed; print why, see to it
//                                                ←   Hold (1 descriptor): a forked child's userfaultfd, to hold as well
//   Exited: the first process ended              →
// Either side closes when it has nothing to add. The pnode's hang-up means that nobody serves the program any more.
//
// A packet of another size, kind, version, or with another number of descriptors ends the connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ashlar::pnode::handoff {

constexpr std::uint32_t kMagic = 0x48525341;  // "ASRH"
constexpr std::uint16_t kVersion = 2;

enum class Kind : std::uint16_t {
  kRunRequest = 1,
  kGrant = 2,
  kRefusal = 3,
  kAttach = 4,
  kReady = 5,
  kKilled = 6,
  kHold = 7,
  kExited = 8,
};

struct Header {
  std::uint32_t magic;
  std::uint16_t version;
  std::uint16_t kind;
  std::uint32_t size;      // of the whole packet
  std::uint32_t reserved;  // 0
};
static_assert(sizeof(Header) == 16);

// Words for people: at most 511 bytes, zero-filled behind.
struct Words {
  char text[512];
};

struct RunRequest {
  static constexpr Kind kKind = Kind::kRunRequest;
  Header header;
  std::uint64_t limit_bytes;  // wanted for all processes of the program together; 0 = the pnode chooses
  std::uint32_t strace;       // 0 | 1: count its system calls from its first instruction on
  std::uint32_t reserved;     // 0
  char name[64];              // the program's, for status
  char arguments[192];        // cut off where it gets too long
};
static_assert(sizeof(RunRequest) == 288);

struct Grant {
  static constexpr Kind kKind = Kind::kGrant;
  Header header;
  std::uint64_t space_id;
  std::uint64_t limit_bytes;
  std::uint32_t staging_pages;
  std::uint32_t victim_slots;
  std::uint32_t give_up_ms;  // how long the shim waits for Ready before it kills the program
  std::uint32_t has_device;  // 0 | 1
};
static_assert(sizeof(Grant) == 48);

struct Refusal {
  static constexpr Kind kKind = Kind::kRefusal;
  Header header;
  std::uint32_t code;  // absl::StatusCode, never OK
  std::uint32_t reserved;
  Words words;
};
static_assert(sizeof(Refusal) == 536);

struct Attach {
  static constexpr Kind kKind = Kind::kAttach;
  Header header;
  std::uint64_t blob_address;
  std::uint64_t control_address;
  std::uint64_t victim_address;
  std::uint64_t staging_address;
  std::int32_t pid;  // all three as the shim sees them
  std::int32_t move_tid;
  std::int32_t unshare_tid;
  std::int32_t reserved;
};
static_assert(sizeof(Attach) == 64);
// In this order beside Attach.
enum AttachDescriptor : std::size_t {
  kAttachUffd,
  kAttachControl,
  kAttachVictim,
  kAttachMoveEvent,
  kAttachUnshareEvent,
  kAttachPidfd,
  kAttachListener,
  kAttachDescriptors,
};

struct Ready {
  static constexpr Kind kKind = Kind::kReady;
  Header header;
};
struct Killed {
  static constexpr Kind kKind = Kind::kKilled;
  Header header;
  Words words;
};
struct Hold {
  static constexpr Kind kKind = Kind::kHold;
  Header header;
};
struct Exited {
  static constexpr Kind kKind = Kind::kExited;
  Header header;
  std::int32_t wait_status;  // as waitpid gives it
  std::uint32_t reserved;
};
static_assert(sizeof(Killed) == 528 && sizeof(Exited) == 24);

constexpr std::size_t kMaxMessageBytes = sizeof(Refusal);
constexpr std::size_t kMaxDescriptors = kAttachDescriptors;

// A message with its header filled in and everything else zero.
template <typename Message>
Message Make() {
  static_assert(std::is_trivially_copyable_v<Message>);
  Message message{};
  message.header = {kMagic, kVersion, static_cast<std::uint16_t>(Message::kKind), sizeof(Message), 0};
  return message;
}

// The kind of a packet whose header is sound, or InvalidArgument.
absl::StatusOr<Kind> Inspect(std::span<const std::byte> packet);

// The packet as `Message`: InvalidArgument unless it is exactly that. Content is the receiver's to check.
template <typename Message>
absl::StatusOr<Message> Parse(std::span<const std::byte> packet) {
  absl::StatusOr<Kind> kind = Inspect(packet);
  if (!kind.ok()) return kind.status();
  if (*kind != Message::kKind) return absl::InvalidArgumentError("handoff: a message out of turn");
  if (packet.size() != sizeof(Message)) return absl::InvalidArgumentError("handoff: wrong message size");
  Message message;
  std::memcpy(&message, packet.data(), sizeof(message));
  return message;
}

// Text fields: written cut to fit, read up to the first zero, with control characters replaced by '?' (a hostile peer
// must not reach anybody's terminal).
void PutText(std::span<char> field, std::string_view text);
std::string GetText(std::span<const char> field);

// A status as a refusal and back. A code that is none becomes Unknown.
Refusal MakeRefusal(const absl::Status& status);
absl::Status StatusOf(const Refusal& refusal);

}  // namespace ashlar::pnode::handoff
