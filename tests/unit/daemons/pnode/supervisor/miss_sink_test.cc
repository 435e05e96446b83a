#include "daemons/pnode/supervisor/miss_sink.h"

#include <vector>

#include <gtest/gtest.h>

namespace ashlar::pnode {
namespace {

class MissSinkTest : public testing::Test {
 protected:
  MissSinkTest() {
    hints_[4711 % kTidHints] = 2;
    slots_[1].tid = 4711;
    slots_[1].state = kSlotLive;
  }
  std::vector<strace_info> slots_ = std::vector<strace_info>(4);
  std::vector<process_info> processes_ = std::vector<process_info>(1);
  std::vector<__u64> hints_ = std::vector<__u64>(kTidHints);
  MissSink sink_{{slots_, processes_}, hints_};
};

TEST_F(MissSinkTest, InACallItBelongsToTheCall) {
  slots_[1].enter_ns = 5;
  slots_[1].current = 3;
  EXPECT_TRUE(sink_.Add(4711, 100));
  EXPECT_TRUE(sink_.Add(4711, 50));
  EXPECT_EQ(slots_[1].entries[2].miss_ns, 150u);
  EXPECT_EQ(slots_[1].entries[2].miss_count, 2u);
  EXPECT_EQ(slots_[1].user_miss_ns, 0u);
}

TEST_F(MissSinkTest, OutsideOfCallsItBelongsToTheThread) {
  EXPECT_TRUE(sink_.Add(4711, 100));
  EXPECT_EQ(slots_[1].user_miss_ns, 100u);
  EXPECT_EQ(slots_[1].user_miss_count, 1u);
  slots_[1].enter_ns = 5;
  slots_[1].current = kOverflowEntry;
  EXPECT_TRUE(sink_.Add(4711, 1));
  EXPECT_EQ(slots_[1].user_miss_ns, 101u);
}

TEST_F(MissSinkTest, StrangersAreNobody) {
  EXPECT_FALSE(sink_.Add(1, 100));
  EXPECT_FALSE(sink_.Add(4711 + kTidHints, 100)) << "the same hint, another thread";
  slots_[1].state = kSlotDead;
  EXPECT_FALSE(sink_.Add(4711, 100));
  slots_[1].state = kSlotLive;
  hints_[4711 % kTidHints] = 99;
  EXPECT_FALSE(sink_.Add(4711, 100)) << "a hint outside of the table";
}

}  // namespace
}  // namespace ashlar::pnode
