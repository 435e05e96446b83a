// Asks nodes the same question, all at once, each with its deadline: the answer takes as long as the slowest node may.
#pragma once

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/options.h"
#include "common/config/topology.h"
#include "common/control/control_client.h"

namespace ashlar::cli {

template <typename T>
struct NodeAnswer {
  const config::Node* node = nullptr;
  absl::StatusOr<T> answer;
};

// `ask(node, client, timeout)` runs on several threads. Answers come in the order of `nodes`.
template <typename T, typename Ask>
std::vector<NodeAnswer<T>> AskNodes(const std::vector<const config::Node*>& nodes, absl::Duration timeout, const Ask& ask) {
  constexpr std::size_t kMaxThreads = 64;
  std::vector<NodeAnswer<T>> answers(nodes.size());
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < nodes.size(); i = next++) {
      const auto client = control::ControlClient::Create(nodes[i]->control.ToString());
      answers[i] = {nodes[i], ask(*nodes[i], *client, timeout)};
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < std::min(nodes.size(), kMaxThreads); ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  return answers;
}

std::vector<const config::Node*> AllNodes(const config::Topology& topology);

// Exit 64 with the nearest id, and all there are.
Outcome UnknownNode(const config::Topology& topology, std::string_view id);

// What to do about a node that does not answer.
std::string StartFix(const config::Node& node);
std::string AwayLine(const config::Node& node, const absl::Status& why);

// A line per node that did not answer, with the fix; for stderr. Empty: all did.
template <typename T>
std::string AwayWords(const std::vector<NodeAnswer<T>>& answers) {
  std::string words;
  for (const auto& [node, answer] : answers) {
    if (!answer.ok()) words += AwayLine(*node, answer.status());
  }
  return words;
}

}  // namespace ashlar::cli
