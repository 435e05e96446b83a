#include "daemons/pnode/paging/area_map.h"

#include <map>
#include <random>
#include <set>

#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

constexpr std::uint64_t kBase = 0x10000000;
std::uint64_t At(std::uint64_t page) { return kBase + page * kPageBytes; }
AddressRange Pages(std::uint64_t first, std::uint64_t end) { return {At(first), At(end)}; }

std::vector<PageRange> Move(AreaMap& map, std::uint64_t from, std::uint64_t to, std::uint64_t size) {
  std::vector<Area> moving = map.Take({from, from + size});
  std::vector<PageRange> replaced = map.Cut({to, to + size});
  for (Area& area : moving) {
    area.range = {area.range.start - from + to, area.range.end - from + to};
    map.Place(area);
  }
  return replaced;
}

TEST(AreaMap, TranslatesBothWays) {
  AreaMap map;
  map.Insert(Pages(10, 20), PageNumber(100));
  ASSERT_NE(map.Find(At(13)), nullptr);
  EXPECT_EQ(map.Find(At(13))->PageOf(At(13)), PageNumber(103));
  EXPECT_EQ(map.AddressOf(PageNumber(103)), At(13));
  EXPECT_EQ(map.Find(At(20)), nullptr);
  EXPECT_EQ(map.AddressOf(PageNumber(110)), std::nullopt);
}

TEST(AreaMap, AMovedPageKeepsItsNumber) {
  AreaMap map;
  map.Insert(Pages(10, 20), PageNumber(100));
  EXPECT_TRUE(Move(map, At(10), At(50), 10 * kPageBytes).empty());
  EXPECT_EQ(map.AddressOf(PageNumber(105)), At(55));
  EXPECT_EQ(map.Find(At(15)), nullptr);
}

TEST(AreaMap, MovingOntoAnAreaReplacesIt) {
  AreaMap map;
  map.Insert(Pages(0, 4), PageNumber(0));
  map.Insert(Pages(10, 20), PageNumber(100));
  std::vector<PageRange> replaced = Move(map, At(0), At(12), 4 * kPageBytes);
  EXPECT_EQ(replaced, (std::vector<PageRange>{{PageNumber(102), 4}}));
  EXPECT_EQ(map.Find(At(12))->PageOf(At(12)), PageNumber(0));
  EXPECT_EQ(map.Find(At(16))->PageOf(At(16)), PageNumber(106));
}

TEST(AreaMap, AGrowingAreaStaysOne) {
  AreaMap map;
  map.Insert(Pages(0, 4), PageNumber(0));
  map.Insert(Pages(4, 8), PageNumber(4));
  EXPECT_EQ(map.size(), 1u);
  map.Insert(Pages(8, 9), PageNumber(20));
  EXPECT_EQ(map.size(), 2u);
}

// Against a model that knows each page alone.
TEST(AreaMap, BehavesLikeAMapOfSinglePages) {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    auto below = [&](std::uint64_t n) { return std::uniform_int_distribution<std::uint64_t>(0, n - 1)(random); };
    constexpr std::uint64_t kSpan = 64;
    AreaMap map;
    std::map<std::uint64_t, std::uint64_t> model;  // page index of the address → page number
    std::uint64_t next_number = 0;
    for (int step = 0; step < 400; ++step) {
      std::uint64_t first = below(kSpan);
      std::uint64_t count = 1 + below(kSpan - first);
      std::set<std::uint64_t> dropped, expected;
      auto note = [&](const std::vector<PageRange>& ranges) {
        for (const PageRange& range : ranges) {
          for (std::uint64_t i = 0; i < range.count; ++i) EXPECT_TRUE(dropped.insert(range.first.value() + i).second);
        }
      };
      switch (below(3)) {
        case 0:
          for (const AddressRange& gap : map.Gaps(Pages(first, first + count))) {
            if (below(3) == 0) next_number += below(5);
            map.Insert(gap, PageNumber(next_number));
            for (std::uint64_t address = gap.start; address < gap.end; address += kPageBytes) {
              EXPECT_TRUE(model.emplace((address - kBase) / kPageBytes, next_number++).second);
            }
          }
          break;
        case 1:
          note(map.Cut(Pages(first, first + count)));
          for (std::uint64_t i = first; i < first + count; ++i) {
            if (model.contains(i)) expected.insert(model[i]);
            model.erase(i);
          }
          break;
        default: {
          std::uint64_t to = below(kSpan);
          if (to < first + count && first < to + count) continue;  // mremap refuses an overlap
          note(Move(map, At(first), At(to), count * kPageBytes));
          for (std::uint64_t i = 0; i < count; ++i) {
            if (model.contains(to + i)) expected.insert(model[to + i]);
            model.erase(to + i);
            auto from = model.find(first + i);
            if (from == model.end()) continue;
            model[to + i] = from->second;
            model.erase(first + i);
          }
          break;
        }
      }
      ASSERT_EQ(dropped, expected) << "seed " << seed << " step " << step;
      for (std::uint64_t i = 0; i < 2 * kSpan; ++i) {
        Area* area = map.Find(At(i));
        ASSERT_EQ(area != nullptr, model.contains(i)) << "seed " << seed << " step " << step << " page " << i;
        if (area == nullptr) continue;
        ASSERT_EQ(area->PageOf(At(i)).value(), model[i]);
        ASSERT_EQ(map.AddressOf(PageNumber(model[i])), At(i));
      }
    }
  }
}

}  // namespace
}  // namespace ashlar::pnode
