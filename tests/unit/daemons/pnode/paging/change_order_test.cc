#include "daemons/pnode/paging/change_order.h"

#include <map>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

constexpr std::uint64_t kBase = 0x7000'0000'0000;
using Kind = MemoryEvent::Kind;

AddressRange Place(std::uint64_t place, std::uint64_t count = 1) { return {kBase + place * kPageBytes, kBase + (place + count) * kPageBytes}; }

struct Change {  // an event without its child: copyable
  Kind kind;
  AddressRange range;
  std::uint64_t to = 0;
};
Change Remap(std::uint64_t from, std::uint64_t to, std::uint64_t count = 1) { return {Kind::kRemap, Place(from, count), Place(to).start}; }
Change Unmap(std::uint64_t place, std::uint64_t count = 1) { return {Kind::kUnmap, Place(place, count)}; }

struct Outcome {
  AreaMap areas;
  std::set<std::uint64_t> unmapped, removed;
  bool known = false;
};

// `before`: place → page number, one page each. `registered`: the places that the kernel has registered memory at afterwards.
Outcome Apply(const std::map<std::uint64_t, std::uint64_t>& before, const std::vector<Change>& changes,
              const std::set<std::uint64_t>& registered) {
  std::vector<MemoryEvent> events;
  for (const Change& change : changes) {
    MemoryEvent& event = events.emplace_back();
    event.kind = change.kind;
    event.range = change.range;
    event.to = change.to;
  }
  Outcome outcome;
  for (auto [place, page] : before) outcome.areas.Insert(Place(place), PageNumber(page));
  std::vector<AddressRange> alive;
  const std::vector<OrderedChange> ordered = WithoutTrailing(events);
  for (const AddressRange& range : RangesInDispute(ordered)) {
    for (std::uint64_t at = range.start; at < range.end; at += kPageBytes) {
      if (registered.contains((at - kBase) / kPageBytes)) alive.push_back({at, at + kPageBytes});
    }
  }
  auto drop = [&](PageRange pages, bool unmapped) {
    for (std::uint64_t i = 0; i < pages.count; ++i) (unmapped ? outcome.unmapped : outcome.removed).insert(pages.first.value() + i);
  };
  ChangeOrder order(outcome.areas, alive, drop);
  for (const OrderedChange& change : ordered) {
    if (change.kind == OrderedChange::Kind::kRemove) order.Remove(change.range);
    if (change.kind == OrderedChange::Kind::kUnmap) order.Unmap(change.range);
    if (change.kind == OrderedChange::Kind::kRemap) order.Remap(change.range, change.to);
  }
  outcome.known = order.Finish();
  return outcome;
}

std::optional<std::uint64_t> At(const Outcome& outcome, std::uint64_t page) {
  std::optional<std::uint64_t> address = outcome.areas.AddressOf(PageNumber(page));
  if (!address.has_value()) return std::nullopt;
  return (*address - kBase) / kPageBytes;
}

TEST(ChangeOrder, TheUnmapBehindAMoveSparesWhatWasMovedThereSince) {
  Outcome outcome = Apply({{0, 100}, {1, 200}}, {Remap(0, 5), Remap(1, 0), Unmap(0), Unmap(1)}, {0, 5});
  EXPECT_EQ(At(outcome, 100), 5u);
  EXPECT_EQ(At(outcome, 200), 0u);
  EXPECT_TRUE(outcome.unmapped.empty());
  EXPECT_TRUE(outcome.known);
}

TEST(ChangeOrder, AnUnmapThatWasOvertakenDropsWhatWasThereBefore) {
  Outcome outcome = Apply({{0, 100}, {1, 200}}, {Remap(1, 0), Unmap(0), Unmap(1)}, {0});
  EXPECT_EQ(outcome.unmapped, std::set<std::uint64_t>{100});
  EXPECT_EQ(At(outcome, 200), 0u);
}

TEST(ChangeOrder, AMoveThatWasOvertakenTakesWhatWasThereBefore) {
  Outcome outcome = Apply({{0, 100}, {1, 200}}, {Remap(1, 0), Remap(0, 5), Unmap(1), Unmap(0)}, {0, 5});
  EXPECT_EQ(At(outcome, 100), 5u);
  EXPECT_EQ(At(outcome, 200), 0u);
  EXPECT_TRUE(outcome.unmapped.empty());
  EXPECT_TRUE(outcome.known);
}

TEST(ChangeOrder, WhatWasMovedThereAndUnmappedInTheSameBatchIsGone) {
  Outcome outcome = Apply({{1, 200}}, {Remap(1, 0), Unmap(1), Unmap(0)}, {});
  EXPECT_EQ(outcome.unmapped, std::set<std::uint64_t>{200});
}

TEST(ChangeOrder, AnUnmapThatReachesFurtherDropsTheRest) {
  Outcome outcome = Apply({{0, 100}, {1, 101}, {7, 200}}, {Remap(7, 0), Unmap(0, 2), Unmap(7)}, {0});
  EXPECT_EQ(outcome.unmapped, (std::set<std::uint64_t>{100, 101}));
  EXPECT_EQ(At(outcome, 200), 0u);
}

// munmap of a range whose second half was not managed, where something was moved before the event was read.
TEST(ChangeOrder, AnUnmapDoesNotReachWhatCameToAnUnmanagedPartOfItsRange) {
  Outcome outcome = Apply({{0, 100}, {7, 200}}, {Remap(7, 1), Unmap(0, 2), Unmap(7)}, {1});
  EXPECT_EQ(outcome.unmapped, std::set<std::uint64_t>{100});
  EXPECT_EQ(At(outcome, 200), 1u);
}

TEST(ChangeOrder, ARemoveDropsPagesAndKeepsTheirPlace) {
  Outcome outcome = Apply({{0, 100}, {1, 101}}, {Change{Kind::kRemove, Place(0)}}, {0, 1});
  EXPECT_EQ(outcome.removed, std::set<std::uint64_t>{100});
  EXPECT_EQ(At(outcome, 100), 0u);
}

TEST(ChangeOrder, AMoveThatShrinksAndNamesTheOldLengthReplacesOnlyWhatItCovers) {
  // mremap(0, 3 pages, 1 page, FIXED, 10) as Linux before 6.17 tells it.
  Outcome outcome = Apply({{0, 100}, {1, 101}, {2, 102}, {11, 300}}, {Remap(0, 10, 3), Unmap(0, 1), Unmap(1, 2)}, {10, 11});
  EXPECT_EQ(At(outcome, 100), 10u);
  EXPECT_EQ(At(outcome, 300), 11u);
  EXPECT_EQ(outcome.unmapped, (std::set<std::uint64_t>{101, 102}));
}

TEST(ChangeOrder, APlaceThatWasLeftTwiceIsNotGuessed) {
  EXPECT_FALSE(Apply({{0, 100}, {1, 200}}, {Remap(1, 0), Unmap(0), Remap(0, 5)}, {5}).known);
  EXPECT_FALSE(Apply({{0, 100}, {1, 200}}, {Remap(1, 0), Remap(0, 5), Remap(0, 6)}, {5, 6}).known);
}

// Threads that each own one page and change the map, in every order of their steps: the kernel's change first, then each event.
// A moved page goes to the first free place, so they meet. The outcome must be what the kernel has.
class Interleavings {
 public:
  enum class Op : std::uint8_t { kNone, kMove, kUnmap, kMoveTwice };

  std::uint64_t Walk(const std::vector<Op>& ops) {
    State state;
    for (std::uint64_t i = 0; i < ops.size(); ++i) {
      Thread thread{.place = i, .page = 100 * (i + 1), .left = ops[i] == Op::kMoveTwice ? 2 : ops[i] == Op::kNone ? 0 : 1,
                    .moves = ops[i] != Op::kUnmap, .unread = {}};
      before_[i] = thread.page;
      state.at[i] = thread.page;
      state.threads.push_back(thread);
    }
    Step(state);
    return count_;
  }

 private:
  struct Thread {
    std::uint64_t place, page;
    int left;
    bool moves;
    std::vector<std::pair<Kind, std::pair<std::uint64_t, std::uint64_t>>> unread;  // kind, (from, to)
  };
  struct State {
    std::map<std::uint64_t, std::uint64_t> at;  // place → page
    std::vector<Thread> threads;
    std::vector<std::pair<Kind, std::pair<std::uint64_t, std::uint64_t>>> read;
  };

  void Step(const State& state) {
    bool any = false;
    for (std::size_t i = 0; i < state.threads.size(); ++i) {
      if (state.threads[i].unread.empty() && state.threads[i].left == 0) continue;
      any = true;
      State next = state;
      Thread& thread = next.threads[i];
      if (!thread.unread.empty()) {
        next.read.push_back(thread.unread.front());
        thread.unread.erase(thread.unread.begin());
      } else {
        Begin(next, thread);
      }
      Step(next);
    }
    if (!any) Check(state);
  }

  static void Begin(State& state, Thread& thread) {
    --thread.left;
    if (!thread.moves) {
      state.at.erase(thread.place);
      thread.unread.push_back({Kind::kUnmap, {thread.place, 0}});
      return;
    }
    std::uint64_t to = 0;
    while (state.at.contains(to)) ++to;
    state.at.erase(thread.place);
    state.at[to] = thread.page;
    thread.unread.push_back({Kind::kRemap, {thread.place, to}});
    thread.unread.push_back({Kind::kUnmap, {thread.place, 0}});
    thread.place = to;
  }

  void Check(const State& state) {
    ++count_;
    std::vector<Change> events;
    for (const auto& [kind, range] : state.read) events.push_back({kind, Place(range.first), Place(range.second).start});
    std::set<std::uint64_t> registered;
    for (auto [place, page] : state.at) registered.insert(place);
    Outcome outcome = Apply(before_, events, registered);
    if (!outcome.known) {
      ++unknown_;
      return;
    }
    for (auto [place, page] : state.at) {
      ASSERT_EQ(At(outcome, page), place) << Story(state);
    }
    for (auto [place, page] : before_) {
      bool lives = At(outcome, page).has_value();
      ASSERT_EQ(outcome.unmapped.contains(page), !lives) << Story(state);
    }
  }
  static std::string Story(const State& state) {
    std::string story;
    for (const auto& [kind, range] : state.read) {
      story += kind == Kind::kRemap ? " remap " + std::to_string(range.first) + ">" + std::to_string(range.second)
                                    : " unmap " + std::to_string(range.first);
    }
    return story;
  }

  std::map<std::uint64_t, std::uint64_t> before_;
  std::uint64_t count_ = 0;

 public:
  std::uint64_t unknown_ = 0;
};

TEST(ChangeOrder, EveryInterleavingOfThreadsEndsAsInTheKernel) {
  using enum Interleavings::Op;
  std::uint64_t count = 0;
  for (auto a : {kNone, kMove, kUnmap}) {
    for (auto b : {kMove, kUnmap, kMoveTwice}) {
      for (auto c : {kNone, kMove, kUnmap}) {
        Interleavings all;
        count += all.Walk({a, b, c});
        ASSERT_FALSE(HasFatalFailure());
        // What can't be known needs a place that is left, taken and left again before the first leaving was told.
        if (b != kMoveTwice) {
          ASSERT_EQ(all.unknown_, 0u);
        }
      }
    }
  }
  EXPECT_GT(count, 10'000u);
}

// A fork of another thread among moves that chase each other: page 100 left place 0, 200 took it, 300 took place 1.
TEST(ChangeOrder, AChildHasWhatHappenedBeforeItsFork) {
  AreaMap areas;
  for (std::uint64_t i = 0; i < 3; ++i) areas.Insert(Place(i), PageNumber(100 * (i + 1)));
  using K = OrderedChange::Kind;
  const std::vector<OrderedChange> changes = {{K::kFork, {}, 0, 0},
                                              {K::kRemap, Place(2), Place(1).start, 1},
                                              {K::kRemap, Place(1), Place(0).start, 2},
                                              {K::kRemap, Place(0), Place(5).start, 3},
                                              {K::kRemove, Place(5), 0, 4}};
  auto happened = [&](std::vector<AddressRange> registered, bool& known) {
    return WhatHappenedBefore(areas, changes, {.index = 0, .looked_at = {Place(0), Place(1), Place(2)}, .registered = registered}, known);
  };
  bool known = true;
  EXPECT_EQ(happened({Place(0), Place(1), Place(2)}, known), (std::vector<bool>{false, false, false, false, false}));
  EXPECT_EQ(happened({Place(1), Place(2)}, known), (std::vector<bool>{false, false, false, true, false}));
  EXPECT_EQ(happened({Place(0), Place(2)}, known), (std::vector<bool>{false, false, true, true, false}));
  EXPECT_EQ(happened({Place(0), Place(1)}, known), (std::vector<bool>{false, true, true, true, false}));
  EXPECT_TRUE(known);
}

TEST(ChangeOrder, AChildWhosePlaceWasLeftTwiceIsNotGuessed) {
  AreaMap areas;
  areas.Insert(Place(0), PageNumber(100));
  areas.Insert(Place(1), PageNumber(200));
  using K = OrderedChange::Kind;
  const std::vector<OrderedChange> changes = {{K::kFork, {}, 0, 0},
                                              {K::kRemap, Place(1), Place(0).start, 1},
                                              {K::kRemap, Place(0), Place(5).start, 2},
                                              {K::kRemap, Place(0), Place(6).start, 3}};
  bool known = true;
  (void)WhatHappenedBefore(areas, changes, {.index = 0, .looked_at = {Place(0), Place(1)}, .registered = {Place(0)}}, known);
  EXPECT_FALSE(known);
}

}  // namespace
}  // namespace ashlar::pnode
