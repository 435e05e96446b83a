#include "daemons/pnode/injection/exit_ranges.h"

#include <unistd.h>

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

using Memory = std::map<std::uint64_t, std::uint64_t>;

constexpr std::uint64_t kHead = 0x7f00'0000'2ee0;
constexpr std::uint64_t kMutexOffset = static_cast<std::uint64_t>(-32);  // glibc: the lock stands before its link

std::vector<std::pair<std::uint64_t, std::uint64_t>> Ranges(std::uint64_t head, const Memory& memory) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> pairs;
  for (const AddressRange& range : ExitRanges(head, [&](std::uint64_t at, std::uint64_t* word) {
         const auto found = memory.find(at);
         if (found == memory.end()) return false;
         *word = found->second;
         return true;
       })) {
    pairs.emplace_back(range.start, range.end);
  }
  return pairs;
}

Memory EmptyList() { return {{kHead, kHead}, {kHead + 8, kMutexOffset}, {kHead + 16, 0}}; }

TEST(ExitRanges, WithoutRobustMutexesItIsTheDescriptor) {
  EXPECT_THAT(Ranges(kHead, EmptyList()), testing::ElementsAre(std::pair(0x7f00'0000'2000ul, 0x7f00'0000'3000ul)));
}

TEST(ExitRanges, DescriptorOverAPageBorderNeedsBothPages) {
  const std::uint64_t head = 0x7f00'0000'3010;
  EXPECT_THAT(Ranges(head, {{head, head}, {head + 8, 0}, {head + 16, 0}}),
              testing::ElementsAre(std::pair(0x7f00'0000'2000ul, 0x7f00'0000'4000ul)));
}

TEST(ExitRanges, HeldMutexesAndThePendingOneAreAdded) {
  Memory memory = EmptyList();
  memory[kHead] = 0x5000'0020 | 1;  // priority inheritance marks the pointer
  memory[0x5000'0020] = 0x6000'0000;
  memory[0x6000'0000] = kHead;  // its lock lies on the page before
  memory[kHead + 16] = 0x7000'0100;
  EXPECT_THAT(Ranges(kHead, memory),
              testing::UnorderedElementsAre(std::pair(0x7f00'0000'2000ul, 0x7f00'0000'3000ul),
                                            std::pair(0x5000'0000ul, 0x5000'1000ul),
                                            std::pair(0x6000'0000ul, 0x6000'1000ul),
                                            std::pair(0x5fff'f000ul, 0x6000'0000ul),
                                            std::pair(0x7000'0000ul, 0x7000'1000ul)));
}

TEST(ExitRanges, HostileListsEnd) {
  Memory cycle = EmptyList();
  cycle[kHead] = 0x5000'0000;
  cycle[0x5000'0000] = 0x5000'0000;
  EXPECT_LE(Ranges(kHead, cycle).size(), 3u);

  Memory endless = EmptyList();
  endless[kHead] = 0x1000'0000;
  for (std::uint64_t i = 0; i < 10'000; ++i) endless[0x1000'0000 + i * 4096] = 0x1000'0000 + (i + 1) * 4096;
  EXPECT_LE(Ranges(kHead, endless).size(), kMaxExitRanges);

  Memory kernel = EmptyList();
  kernel[kHead] = 0xffff'8000'0000'0000;
  EXPECT_EQ(Ranges(kHead, kernel).size(), 1u);
  EXPECT_TRUE(Ranges(0, {}).empty());
  EXPECT_TRUE(Ranges(0xffff'ffff'ffff'f000, {}).empty());
}

TEST(ExitRanges, OwnThreadHasAHead) { EXPECT_NE(FindRobustListHead(::gettid()), 0u); }

}  // namespace
}  // namespace ashlar::pnode
