#include "common/config/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/config/units.h"

namespace ashlar::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::string_view kValid = R"(version: 1
cluster: lab
nodes:
  - id: p1
    role: pnode
    control: "127.0.0.1:7401"
    fabric: [{kind: tcp, address: "127.0.0.1:7501"}]
    cache_bytes: 64MiB
  - id: m1
    role: mnode
    control: "127.0.0.1:7402"
    fabric: [{kind: tcp, address: "127.0.0.1:7502"}]
    pool_bytes: 128MiB
  - id: s1
    role: snode
    control: "127.0.0.1:7403"
    fabric: [{kind: tcp, address: "127.0.0.1:7503"}]
    log: {path: s1, capacity_bytes: 512MiB}
)";

std::string Replace(std::string_view from, std::string_view to) {
  const std::string text(kValid);
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.substr(0, at) + std::string(to) + text.substr(at + from.size());
}

// "line:column: path: what; hint" of each fault.
std::vector<std::string> Faults(std::string_view text) {
  std::vector<std::string> lines;
  for (const Fault& fault : ParseTopology(text, "f").faults) lines.push_back(RenderLine(fault).substr(2));
  return lines;
}

TEST(Topology, ValuesAndDefaultsAreFilledIn) {
  const TopologyResult result = ParseTopology(kValid, "f");
  ASSERT_TRUE(result.ok()) << RenderFaults(result.faults);
  const Topology& topology = result.topology;
  EXPECT_EQ(topology.cluster, "lab");
  ASSERT_THAT(topology.nodes, SizeIs(3));
  const Node& p1 = *topology.FindNode("p1");
  EXPECT_EQ(p1.role, NodeRole::kPnode);
  EXPECT_EQ(p1.host, "127.0.0.1");
  EXPECT_EQ(p1.control.ToString(), "127.0.0.1:7401");
  ASSERT_THAT(p1.fabric, SizeIs(1));
  EXPECT_EQ(p1.fabric[0].address.port, 7501);
  EXPECT_EQ(p1.cache_bytes, 64 * kMiB);
  EXPECT_EQ(p1.victim_percent, 12u);
  EXPECT_EQ(topology.FindNode("m1")->huge_pages, HugePages::kTry);
  EXPECT_EQ(topology.FindNode("s1")->log.capacity_bytes, 512 * kMiB);
  EXPECT_EQ(topology.FindNode("s2"), nullptr);
  EXPECT_EQ(topology.FindNode(NodeIdOf("lab", "m1")), topology.FindNode("m1"));
  EXPECT_THAT(topology.NodesOf(NodeRole::kSnode), ElementsAre(topology.FindNode("s1")));
  EXPECT_EQ(topology.defaults.replicas, 1u);
  EXPECT_EQ(topology.defaults.on_give_up, OnGiveUp::kHold);
  EXPECT_EQ(topology.defaults.timeouts.call, absl::Seconds(1));
  EXPECT_EQ(topology.defaults.timeouts.give_up, absl::Seconds(60));
  EXPECT_FALSE(topology.insecure);
  EXPECT_EQ(topology.log_level, log::Level::kInfo);
}

TEST(Topology, EveryOptionalKeyIsRead) {
  const TopologyResult result = ParseTopology(
      absl::StrCat("\xef\xbb\xbf", absl::StrReplaceAll(absl::string_view(kValid.data(), kValid.size()),
                                                     {{"cache_bytes: 64MiB", "cache_bytes: 64MiB\n    victim_percent: 50\n    host: rack1"},
                                                      {"pool_bytes: 128MiB", "pool_bytes: \"128MiB\"\n    huge_pages: no"},
                                                      {"\n", "\r\n"}}),
                   "defaults: {ack: disk, replicas: 0, on_give_up: kill,\n"
                   "  timeouts: {call: 2s, keep_alive: 200ms, suspect: 400ms, give_up: 5m}}\n"
                   "insecure: true\nlog_level: debug\n"),
      "f");
  ASSERT_TRUE(result.ok()) << RenderFaults(result.faults);
  const Topology& topology = result.topology;
  EXPECT_EQ(topology.FindNode("p1")->victim_percent, 50u);
  EXPECT_EQ(topology.FindNode("p1")->host, "rack1");
  EXPECT_EQ(topology.FindNode("m1")->huge_pages, HugePages::kNo);
  EXPECT_EQ(topology.defaults.ReachedLevel(), AckLevel::kHome);
  EXPECT_EQ(topology.defaults.on_give_up, OnGiveUp::kKill);
  EXPECT_EQ(topology.defaults.timeouts.call, absl::Seconds(2));
  EXPECT_EQ(topology.defaults.timeouts.keep_alive, absl::Milliseconds(200));
  EXPECT_EQ(topology.defaults.timeouts.suspect, absl::Milliseconds(400));
  EXPECT_EQ(topology.defaults.timeouts.give_up, absl::Minutes(5));
  EXPECT_TRUE(topology.insecure);
  EXPECT_EQ(topology.log_level, log::Level::kDebug);
}

TEST(Topology, AllFaultsAreShownAtOnceInOrderWithCaretAndHint) {
  const std::string text = R"(version: 2
cluster: lab
nodes:
  - id: p1
    role: pnode
    control: 127.0.0.1:7401
    cache_byts: 010
    fabric: [{kind: verbs, address: "127.0.0.1:7501"}]
  - {id: p1, role: mnode, control: "127.0.0.1:7402", fabric: [{kind: tcp, address: "127.0.0.1:7502"}], pool_bytes: 200GB}
  - id: s1
    role: snode
    id: s2
    control: "127.0.0.1:7403"
    metrics: "off"
    fabric: *links
    log: {path: s1, capacity_bytes: 500MiB}
insecure: yes
)";
  EXPECT_EQ(RenderFaults(ParseTopology(text, "lab.yaml").faults), R"(lab.yaml:1:10: version: must be 1, got 2; a newer program reads it
    1 | version: 2
      |          ^
lab.yaml:4:5: nodes[0]: the key "cache_bytes" is missing; expected a size of at least 16MiB
    4 |   - id: p1
      |     ^
lab.yaml:6:14: nodes[0].control: must stand in quotes; write "127.0.0.1:7401"
    6 |     control: 127.0.0.1:7401
      |              ^~~~~~~~~~~~~~
lab.yaml:7:5: nodes[0].cache_byts: unknown key; did you mean "cache_bytes"?
    7 |     cache_byts: 010
      |     ^~~~~~~~~~
lab.yaml:8:21: nodes[0].fabric[0].kind: "verbs" is not known to this version ()" ASHLAR_VERSION R"() yet; this build has tcp only; write kind: tcp
    8 |     fabric: [{kind: verbs, address: "127.0.0.1:7501"}]
      |                     ^~~~~
lab.yaml:9:10: nodes[1].id: repeats the id of nodes[0].id (line 4); ids are unique in the file
    9 |   - {id: p1, role: mnode, control: "127.0.0.1:7402", fabric: [{kind: tcp, address: "127.0.0.1:7502"}], pool_bytes: 200GB
      |          ^~
lab.yaml:9:116: nodes[1].pool_bytes: "200GB" is ambiguous; write 200GiB (214.7e9 bytes) or 186GiB (about 200e9 bytes)
    9 | bric: [{kind: tcp, address: "127.0.0.1:7502"}], pool_bytes: 200GB}
      |                                                             ^~~~~
lab.yaml:12:5: nodes[2].id: repeated key; it stands first at line 10, column 5; keep one of them
   12 |     id: s2
      |     ^~
lab.yaml:14:5: nodes[2].metrics: unknown key; its feature is not in this version ()" ASHLAR_VERSION R"() yet
   14 |     metrics: "off"
      |     ^~~~~~~
lab.yaml:15:13: aliases are refused; write the value out
   15 |     fabric: *links
      |             ^~~~~~
lab.yaml:16:37: nodes[2].log.capacity_bytes: must be a size of at least 512MiB, a multiple of 64MiB, got 500MiB
   16 |     log: {path: s1, capacity_bytes: 500MiB}
      |                                     ^~~~~~
lab.yaml:17:11: insecure: expected true or false, got "yes"
   17 | insecure: yes
      |           ^~~
12 errors, nothing was changed
)");
}

struct BadValue {
  std::string_view from, to, fault;
};

TEST(Topology, EachBadValueIsOneFaultWithItsWords) {
  const BadValue cases[] = {
      {"version: 1", "version: \"1\"", "version: got text in quotes; expected 1, written without quotes"},
      {"version: 1", "version: 01", "version: \"01\" has a leading zero"},
      {"version: 1", "version:", "version: has no value; expected 1"},
      {"version: 1", "# no version", "the key \"version\" is missing"},
      {"cluster: lab", "cluster: Lab", "cluster: \"Lab\" is not a name"},
      {"cluster: lab", "cluster: [lab]", "cluster: got a list; expected a name"},
      {"cluster: lab", "cluster: ~", "cluster: has no value"},
      {"id: p1", "id: 1p", "nodes[0].id: \"1p\" is not a name"},
      {"id: p1", "id: p123456789012345678901234567890x", "is not a name"},
      {"id: p1", "id: \"p\\x1b1\"", "\"p\\0331\" is not a name"},
      {"id: p1", "host: p1", "the key \"id\" is missing"},
      {"role: pnode", "role: pnoed", "nodes[0].role: expected pnode | mnode | snode, got \"pnoed\"; did you mean \"pnode\"?"},
      {"\"127.0.0.1:7401\"", "\"localhost:7401\"", "nodes[0].control: \"localhost:7401\" has no IP address"},
      {"\"127.0.0.1:7401\"", "\"10.0.0.1:7401\"", "nodes[0].control: is not on loopback, and this version"},
      {"\"127.0.0.1:7502\"", "\"10.0.0.1:7502\"", "nodes[1].fabric[0].address: is not on loopback"},
      {"\"127.0.0.1:7402\"", "\"127.0.0.1:7501\"", "nodes[1].control: repeats the address of nodes[0].fabric[0].address (line 7)"},
      {"\"127.0.0.1:7402\"", "\"127.0.0.1:7402\"\n    host: x\n    host: x", "nodes[1].host: repeated key"},
      {"kind: tcp", "kind: shm", "\"shm\" is not known to this version"},
      {"kind: tcp", "kind: udp", "nodes[0].fabric[0].kind: expected tcp, got \"udp\""},
      {"[{kind: tcp, address: \"127.0.0.1:7501\"}]", "[]", "nodes[0].fabric: must have at least one entry"},
      {"[{kind: tcp, address: \"127.0.0.1:7501\"}]", "tcp", "nodes[0].fabric: got \"tcp\"; expected a list"},
      {"[{kind: tcp, address: \"127.0.0.1:7501\"}]", "[tcp]", "nodes[0].fabric[0]: got \"tcp\"; expected a mapping"},
      {"cache_bytes: 64MiB", "cache_bytes: 15MiB", "nodes[0].cache_bytes: must be a size of at least 16MiB, got 15MiB"},
      {"cache_bytes: 64MiB", "cache_bytes: 64", "\"64\" has no unit; write 64MiB"},
      {"cache_bytes: 64MiB", "cache_bytes: {a: 1}", "got a mapping; expected a size"},
      {"cache_bytes: 64MiB", "cache_bytes: 64MiB\n    victim_percent: 51", "must be a whole number from 2 to 50, got 51"},
      {"cache_bytes: 64MiB", "cache_bytes: 64MiB\n    pool_bytes: 8MiB", "nodes[0].pool_bytes: only nodes with role: mnode have this key"},
      {"pool_bytes: 128MiB", "pool_bytes: 9MiB", "must be a size of at least 8MiB, a multiple of 4MiB, got 9MiB"},
      {"pool_bytes: 128MiB", "pool_bytes: 4MiB", "must be a size of at least 8MiB"},
      {"pool_bytes: 128MiB", "pool_bytes: 8MiB\n    huge_pages: require", "\"require\" is not known to this version"},
      {"capacity_bytes: 512MiB", "capacity_bytes: 448MiB", "must be a size of at least 512MiB"},
      {"path: s1", "path: ../s1", "nodes[2].log.path: \"../s1\" has \".\" or \"..\" in it"},
      {"path: s1", "path: /", "is the root directory"},
      {"path: s1", "path: \"\"", "is not a path"},
      {"path: s1", "path: \"a\\0b\"", "holds a NUL byte"},
      {"log: {path: s1, capacity_bytes: 512MiB}", "# no log", "nodes[2]: the key \"log\" is missing"},
      {"log: {path: s1, capacity_bytes: 512MiB}", "log: s1", "nodes[2].log: got \"s1\"; expected a mapping"},
      {"version: 1", "version: 1\ninsecure: True", "insecure: expected true or false, got \"True\""},
      {"version: 1", "version: 1\nlog_level: verbose", "log_level: expected debug | info | warn | error, got \"verbose\""},
      {"version: 1", "version: 1\ntls: {ca: x}", "tls: unknown key; its feature is not in this version"},
      {"version: 1", "version: 1\ndefaults:", "defaults: has no value; expected a mapping"},
      {"version: 1", "version: 1\ndefaults: {ack: memory}", "defaults.ack: \"memory\" is not known to this version"},
      {"version: 1", "version: 1\ndefaults: {ack: disk:2}", "defaults.ack: \"disk:2\" is not known to this version"},
      {"version: 1", "version: 1\ndefaults: {ack: home}", "is only ever reached"},
      {"version: 1", "version: 1\ndefaults: {replicas: 2}", "more than one is not known to this version"},
      {"version: 1", "version: 1\ndefaults: {if_degraded: wait}", "defaults.if_degraded: unknown key; its feature is not in"},
      {"version: 1", "version: 1\ndefaults: {timeouts: {call: 1}}", "\"1\" has no unit; write 1ms or 1s"},
      {"version: 1", "version: 1\ndefaults: {timeouts: {call: 1ms}}", "must be a duration from 10ms to 5m, got 1ms"},
      {"version: 1", "version: 1\ndefaults: {timeouts: {lease: 5m}}", "defaults.timeouts.lease: unknown key; its feature is not in"},
  };
  for (const BadValue& bad : cases) {
    EXPECT_THAT(Faults(Replace(bad.from, bad.to)), ElementsAre(HasSubstr(std::string(bad.fault)))) << bad.to;
  }
}

TEST(Topology, AFaultyRoleDoesNotMakeItsKeysFaulty) {
  EXPECT_THAT(Faults(Replace("role: snode", "role: snod")), SizeIs(1));
}

TEST(Topology, DocumentsWithoutContentSayWhatIsMissing) {
  EXPECT_THAT(Faults(""), ElementsAre("1:1: has no value; expected a mapping"));
  EXPECT_THAT(Faults("# nothing\n"), ElementsAre(HasSubstr("has no value; expected a mapping")));
  EXPECT_THAT(Faults("[]"), ElementsAre("1:1: got a list; expected a mapping"));
  EXPECT_THAT(Faults("{}"), SizeIs(3));
}

TEST(Topology, TooLargeFilesAreRefusedUnread) {
  EXPECT_THAT(Faults(std::string((1 << 20) + 1, '#')), ElementsAre(HasSubstr("larger than 1 MiB")));
}

TEST(Topology, FaultsBeyondAThousandAreOnlyCounted) {
  std::string text;
  for (int i = 0; i < 1500; ++i) absl::StrAppend(&text, "x", i, ": 1\n");
  const std::vector<Fault> faults = ParseTopology(text, "f").faults;
  ASSERT_THAT(faults, SizeIs(1001));
  EXPECT_THAT(faults.back().what, HasSubstr("503 more faults"));
}

TEST(Topology, HostileFilesOfFullSizeTakeNoTime) {
  for (std::string_view unit : {"a: 1\n", "- a\n", "[[], ", "\"a\": b\n", "nodes:\n", "- &x\n", "{a: b}\n", "a,", "\n", " a: {b: [c]}\n",
                                "- id: p1\n  role: pnode\n", "#\n", "é: é\n", "a: *b\n", "x{\n", "-\n"}) {
    std::string text;
    while (text.size() + unit.size() <= (1 << 20)) text += unit;
    const auto start = std::chrono::steady_clock::now();
    EXPECT_FALSE(ParseTopology(text, "f").ok());
    // Measured: 0.1 to 1 s with sanitizers on. What this catches is quadratic: minutes.
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60)) << unit;
  }
}

TEST(Topology, LoadNamesTheFileThatCannotBeRead) {
  const TopologyResult missing = LoadTopology("/nonexistent/lab.yaml");
  EXPECT_EQ(RenderFaults(missing.faults),
            "/nonexistent/lab.yaml: cannot open: No such file or directory\n1 error, nothing was changed\n");
  EXPECT_THAT(RenderFaults(LoadTopology("/").faults), HasSubstr("/: cannot read: Is a directory"));
  EXPECT_THAT(RenderFaults(LoadTopology("/dev/zero").faults), HasSubstr("larger than 1 MiB"));
}

TEST(Topology, LoadReadsAFile) {
  const std::string path = testing::TempDir() + "/topology_test.yaml";
  std::ofstream(path) << kValid;
  EXPECT_TRUE(LoadTopology(path).ok());
}

TEST(Topology, NodeNumbersAreTheDigestsFirstBytes) {
  // printf demo/p1 | sha256sum
  EXPECT_EQ(NodeIdOf("demo", "p1").value(), 0x5efb215baffb69a7u);
  EXPECT_NE(NodeIdOf("demo", "p2"), NodeIdOf("demo", "p1"));
}

TEST(CheckForNode, AcceptsTheNodeOfItsRoleThatFits) {
  const Topology topology = ParseTopology(kValid, "f").topology;
  EXPECT_THAT(CheckForNode(topology, "p1", NodeRole::kPnode, kGiB), IsEmpty());
  EXPECT_THAT(CheckForNode(topology, "m1", NodeRole::kMnode, kGiB), IsEmpty());
  EXPECT_THAT(CheckForNode(topology, "s1", NodeRole::kSnode, kMiB), IsEmpty());
  EXPECT_THAT(CheckForNode(topology, "m1", NodeRole::kMnode, 0), IsEmpty()) << "memory unknown";
}

TEST(CheckForNode, RefusesWhatThisHostCannotBe) {
  const Topology topology = ParseTopology(kValid, "f").topology;
  const auto words = [&topology](std::string_view id, NodeRole role, std::uint64_t memory) {
    const std::vector<Fault> faults = CheckForNode(topology, id, role, memory);
    return faults.size() == 1 ? RenderLine(faults[0]) : absl::StrCat(faults.size(), " faults");
  };
  EXPECT_EQ(words("p1", NodeRole::kPnode, 64 * kMiB),
            "f:8:18: nodes[0].cache_bytes: must be less than this host's memory of 64 MiB, got 64 MiB; leave room for the "
            "programs and the system");
  EXPECT_THAT(words("m1", NodeRole::kMnode, 64 * kMiB), HasSubstr("nodes[1].pool_bytes: must be less"));
  EXPECT_EQ(words("p1", NodeRole::kMnode, kGiB), "f:5:11: nodes[0].role: \"p1\" is a pnode; start ashlar-pnode for it");
  EXPECT_THAT(words("p2", NodeRole::kPnode, kGiB), HasSubstr("has no node with the id \"p2\"; did you mean \"p1\"?"));
  EXPECT_THAT(words("zebra", NodeRole::kSnode, kGiB), HasSubstr("ids with this role: s1"));
}

TEST(HostMemory, IsKnownHere) { EXPECT_GT(HostMemoryBytes(), 64 * kMiB); }

}  // namespace
}  // namespace ashlar::config
