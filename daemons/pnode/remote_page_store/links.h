// The store's links: to memory nodes, one of which is the home of a space, and to the storage nodes, which are asked only
// when a home is gone. Data and the hand-over of events; RemotePageStore acts on them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/fit/connection.h"
#include "common/telemetry/counter.h"

namespace ashlar::pnode {

class RemotePageStore;

struct HomeOptions {
  std::string name;          // for people: "m1"
  std::uint64_t extents = 0;  // of its pool: how free it is until it says so itself
  std::uint64_t weight = 1;   // placement by weight: its share of the spaces; 0: only if nobody else is there
};

struct HomeLink final : fit::ConnectionEvents {
  HomeLink(RemotePageStore& page_store, HomeOptions home_options, std::uint32_t max_write_backs)
      : store(page_store), options(std::move(home_options)), free_extents(options.extents), write_backs_allowed(max_write_backs) {}
  // Once, before the first space: the link, made with this object as its events.
  void Attach(std::unique_ptr<fit::Connection> link) { connection = std::move(link); }
  void OnUp(Incarnation server, std::uint64_t connection_epoch) override;
  void OnDown(const absl::Status& reason) override;

  const std::string& name() const { return options.name; }
  bool up() const { return link_up.value() != 0; }

  struct Former {
    SpaceId space;
    Epoch epoch;  // under which it was left
  };

  RemotePageStore& store;
  const HomeOptions options;
  Incarnation incarnation;         // last seen; 0 = never up
  std::uint64_t down_since_ns = 0;  // 0: it is up, or never was
  bool drained = false;            // to be left, and not chosen
  std::uint64_t free_extents;      // as last told
  std::uint64_t spaces = 0;        // whose home it is
  std::uint32_t write_backs_busy = 0;
  std::uint32_t write_backs_allowed;  // by its hints
  std::uint64_t write_back_not_before_ns = 0;
  std::vector<Former> formers;     // spaces that were moved away while it may still hold their frames
  bool release_busy = false;
  Counter link_up, link_losses, write_batches_allowed;
  std::unique_ptr<fit::Connection> connection;  // last: its end ends every call
};

struct StorageLink final : fit::ConnectionEvents {
  StorageLink(RemotePageStore& page_store, std::string node_name, std::size_t number)
      : store(page_store), name(std::move(node_name)), index(number) {}
  void Attach(std::unique_ptr<fit::Connection> link) { connection = std::move(link); }
  void OnUp(Incarnation server, std::uint64_t connection_epoch) override;
  void OnDown(const absl::Status& reason) override;
  bool up() const { return link_up.value() != 0; }

  RemotePageStore& store;
  const std::string name;
  const std::size_t index;
  Counter link_up, link_losses, pages_read;
  std::unique_ptr<fit::Connection> connection;  // last
};

}  // namespace ashlar::pnode
