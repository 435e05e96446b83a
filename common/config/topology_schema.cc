#include "common/config/topology_schema.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace ashlar::config {
namespace {

using enum Presence;

constexpr std::uint64_t kVersion = 1;
constexpr std::uint64_t kSegmentBytes = 64 * kMiB;  // of the replica log
constexpr std::uint64_t kMinSegments = 8;           // fewer leave the cleaner no room
constexpr std::size_t kMaxIdLength = 31;
constexpr std::size_t kMaxHostLength = 253;
constexpr std::size_t kMaxPathLength = 1024;

absl::Status Refused(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " ", absl::string_view(why.data(), why.size())));
}

// Ids stand in unit names, socket paths and certificates, so their letters are few.
absl::StatusOr<std::string> ParseId(std::string_view text) {
  const auto allowed = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return absl::ascii_islower(byte) || absl::ascii_isdigit(byte) || c == '-';
  };
  if (text.empty() || text.size() > kMaxIdLength || !absl::ascii_islower(static_cast<unsigned char>(text[0])) ||
      !std::all_of(text.begin(), text.end(), allowed)) {
    return Refused(text, "is not a name of 1 to 31 lower-case letters, digits and dashes that starts with a letter");
  }
  return std::string(text);
}

absl::StatusOr<std::string> ParseHost(std::string_view text) {
  const auto allowed = [](char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == ':'; };
  if (text.empty() || text.size() > kMaxHostLength || !std::all_of(text.begin(), text.end(), allowed)) {
    return Refused(text, "is not a host name or address");
  }
  return std::string(text);
}

absl::StatusOr<std::string> ParseLogPath(std::string_view text) {
  if (text.empty() || text.size() > kMaxPathLength) return Refused(text, "is not a path of 1 to 1024 bytes");
  if (text.find('\0') != std::string_view::npos) return Refused(text, "holds a NUL byte");
  for (absl::string_view part : absl::StrSplit(absl::string_view(text.data(), text.size()), '/')) {
    if (part == "." || part == "..") return Refused(text, "has \".\" or \"..\" in it; write the path without");
  }
  if (text.find_first_not_of('/') == std::string_view::npos) return Refused(text, "is the root directory");
  return std::string(text);
}

template <NodeRole kRole>
Applies OnlyFor(const Node& node) {
  if (node.role == NodeRole::kUnknown) return Applies::kUnknown;
  return node.role == kRole ? Applies::kYes : Applies::kNo;
}
constexpr auto OnlyPnode = OnlyFor<NodeRole::kPnode>;
constexpr auto OnlyMnode = OnlyFor<NodeRole::kMnode>;
constexpr auto OnlySnode = OnlyFor<NodeRole::kSnode>;

const std::vector<Key<FabricEndpoint>>& FabricKeys() {
  static const std::vector<Key<FabricEndpoint>> keys = {
      {"kind", kRequired,
       WordField(&FabricEndpoint::kind, Words<FabricKind>{{{"tcp", FabricKind::kTcp}},
                                                          {{"verbs", "this build has tcp only; write kind: tcp"},
                                                           {"shm", "this build has tcp only; write kind: tcp"}}}),
       "what carries the data path"},
      {"address", kRequired,
       TextField(&FabricEndpoint::address, R"(a quoted address such as "10.0.0.11:7501")", ParseAddress, true),
       "where this node listens for links"},
  };
  return keys;
}

const std::vector<Key<LogSettings>>& LogKeys() {
  static const std::vector<Key<LogSettings>> keys = {
      {"path", kRequired, TextField(&LogSettings::path, "a directory", ParseLogPath),
       "directory of the segments; relative to --state-dir"},
      {"capacity_bytes", kRequired,
       SizeField(&LogSettings::capacity_bytes, {.min = kMinSegments * kSegmentBytes, .multiple = kSegmentBytes}),
       "size of the log, preallocated in segments of 64 MiB at first start"},
  };
  return keys;
}

const std::vector<Key<Node>>& NodeKeys() {
  static const std::vector<Key<Node>> keys = {
      {"id", kRequired, TextField(&Node::id, "a name", ParseId), "the node's name, never reused for another disk"},
      {"role", kRequired,
       WordField(&Node::role, Words<NodeRole>{{{"pnode", NodeRole::kPnode}, {"mnode", NodeRole::kMnode}, {"snode", NodeRole::kSnode}}, {}}),
       "processor, memory or storage daemon"},
      {"host", kOptional, TextField(&Node::host, "a host name", ParseHost),
       "failure domain; nodes with the same word share a machine"},
      {"control", kRequired, TextField(&Node::control, R"(a quoted address such as "10.0.0.11:7401")", ParseAddress, true),
       "where this node's gRPC services listen"},
      {"fabric", kRequired, ListField(&Node::fabric, FabricKeys), "data-path endpoints, in order of preference"},
      {"cache_bytes", kRequired, SizeField(&Node::cache_bytes, {.min = 16 * kMiB}), "bound of the local page cache",
       "pnode", OnlyPnode},
      {"victim_percent", kOptional, IntegerField(&Node::victim_percent, {.min = 2, .max = 50}),
       "part of each program's limit that stages evicted pages", "pnode", OnlyPnode},
      {"pool_bytes", kRequired, SizeField(&Node::pool_bytes, {.min = 8 * kMiB, .multiple = kExtentBytes}),
       "memory lent to pnodes, registered and pinned at start", "mnode", OnlyMnode},
      {"huge_pages", kOptional,
       WordField(&Node::huge_pages, Words<HugePages>{{{"no", HugePages::kNo}, {"try", HugePages::kTry}},
                                                     {{"require", "write huge_pages: try"}}}),
       "whether the pool sits in huge pages", "mnode", OnlyMnode},
      {"weight", kOptional, IntegerField(&Node::weight, {.min = 0, .max = 1000}),
       "share of the spaces with placement: weight; 0: only if no other mnode is there", "mnode", OnlyMnode},
      {"log", kRequired, MappingField(&Node::log, LogKeys), "the replica log", "snode", OnlySnode},
  };
  return keys;
}

const std::vector<Key<Timeouts>>& TimeoutKeys() {
  const auto milliseconds = [](int n) { return absl::Milliseconds(n); };
  static const std::vector<Key<Timeouts>> keys = {
      {"call", kOptional, DurationField(&Timeouts::call, {milliseconds(10), absl::Minutes(5)}), "one FIT call"},
      {"keep_alive", kOptional, DurationField(&Timeouts::keep_alive, {milliseconds(10), absl::Minutes(1)}),
       "without sending, before a keep-alive goes out"},
      {"suspect", kOptional, DurationField(&Timeouts::suspect, {milliseconds(20), absl::Minutes(5)}),
       "of silence, before a peer is suspected; at least twice keep_alive"},
      {"fail_over", kOptional, DurationField(&Timeouts::fail_over, {milliseconds(10), absl::Minutes(5)}),
       "without a link to an mnode, before its spaces get another home"},
      {"replace", kOptional, DurationField(&Timeouts::replace, {milliseconds(100), absl::Hours(1)}),
       "without a link to an snode, before another one keeps its spaces"},
      {"give_up", kOptional, DurationField(&Timeouts::give_up, {absl::Seconds(1), absl::Hours(7 * 24)}),
       "a program waits this long for a page or a write-back, then on_give_up decides"},
  };
  return keys;
}

const std::vector<Key<Defaults>>& DefaultsKeys() {
  static const std::vector<std::pair<std::string_view, std::string_view>> later_acks = {
      {"memory", "write ack: disk"},
      {"disk:2", "write ack: disk"},
      {"home", "`home` is only ever reached; for pages that no snode keeps write replicas: 0"}};
  static const std::vector<Key<Defaults>> keys = {
      {"ack", kOptional, WordField(&Defaults::ack, Words<AckLevel>{{{"disk", AckLevel::kDisk}}, later_acks}),
       "what a write-back waits for"},
      {"replicas", kOptional, IntegerField(&Defaults::replicas,
                    {.min = 0, .max = 1, .beyond = "more than one is not known to this version (" ASHLAR_VERSION ") yet"}),
       "snodes that keep each page; with 0 a lost mnode takes its pages along"},
      {"placement", kOptional,
       WordField(&Defaults::placement, Words<Placement>{{{"most_free", Placement::kMostFree}, {"weight", Placement::kWeight}}, {}}),
       "which mnode a new space goes to"},
      {"on_give_up", kOptional,
       WordField(&Defaults::on_give_up, Words<OnGiveUp>{{{"hold", OnGiveUp::kHold}, {"kill", OnGiveUp::kKill}}, {}}),
       "what happens to a program that waited give_up"},
      {"timeouts", kOptional, MappingField(&Defaults::timeouts, TimeoutKeys), "how long to wait for what"},
  };
  return keys;
}

}  // namespace

const std::vector<Key<Topology>>& TopologyKeys() {
  static const std::vector<Key<Topology>> keys = {
      {"version", kRequired, IntegerField(&Topology::version, {.min = kVersion, .max = kVersion, .beyond = "a newer program reads it"}),
       "of this file's format; a newer one is refused"},
      {"cluster", kRequired, TextField(&Topology::cluster, "a name", ParseId),
       "sent in every handshake; a node of another cluster is refused"},
      {"nodes", kRequired, ListField(&Topology::nodes, NodeKeys), "every daemon of the cluster"},
      {"defaults", kOptional, MappingField(&Topology::defaults, DefaultsKeys), "for every program"},
      {"insecure", kOptional, BoolField(&Topology::insecure), "allow plaintext on addresses off loopback"},
      {"log_level", kOptional,
       WordField(&Topology::log_level,
                 Words<log::Level>{{{"debug", log::Level::kDebug},
                                    {"info", log::Level::kInfo},
                                    {"warn", log::Level::kWarn},
                                    {"error", log::Level::kError}},
                                   {}}),
       "least severe lines that are logged"},
  };
  return keys;
}

std::vector<KeyDocument> DescribeTopology() {
  std::vector<KeyDocument> documents;
  DescribeKeys("", TopologyKeys(), documents);
  return documents;
}

}  // namespace ashlar::config
