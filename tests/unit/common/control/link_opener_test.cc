#include "common/control/link_opener.h"

#include <atomic>
#include <optional>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/control/error.h"
#include "tests/unit/common/control/test_cluster.h"

namespace ashlar::control {
namespace {

LinkOpenerOptions OptionsFor(const std::string& address) {
  return {.client_node = IdOf("p1"), .client_incarnation = Incarnation(5), .client_shard = 3, .peer = "m1",
          .server_node = IdOf("m1"), .control_address = address, .timeout = absl::Seconds(20)};
}

absl::StatusOr<fit::LinkGrant> Open(fit::LinkOpener& opener) {
  absl::StatusOr<fit::LinkGrant> result;
  absl::Notification done;
  opener.OpenLink([&](absl::StatusOr<fit::LinkGrant> grant) {
    result = std::move(grant);
    done.Notify();
  });
  done.WaitForNotification();
  return result;
}

TEST(LinkOpener, BringsTheGrantOfTheServer) {
  std::optional<fit::Client> asked;
  auto server = StartServer("m1", {.issue_link = [&](const fit::Client& client) -> absl::StatusOr<fit::LinkGrant> {
                              asked = client;
                              return GoodGrant();
                            }});
  auto openers = LinkOpeners::Create();
  auto opener = openers->For(OptionsFor(server->address()));
  const auto grant = Open(*opener);
  ASSERT_TRUE(grant.ok()) << grant.status();
  EXPECT_EQ(grant->token, GoodGrant().token);
  EXPECT_EQ(grant->server_node, IdOf("m1"));
  EXPECT_EQ(*asked, (fit::Client{.node = IdOf("p1"), .incarnation = Incarnation(5), .shard = 3}));
}

TEST(LinkOpener, ARefusalKeepsItsReasonAndNamesThePeer) {
  auto server = StartServer("m2", {});
  auto openers = LinkOpeners::Create();
  auto opener = openers->For(OptionsFor(server->address()));
  const auto grant = Open(*opener);
  EXPECT_EQ(ReasonOf(grant.status()), reason::kWrongNode);
  EXPECT_NE(grant.status().message().find("open link to m1 at "), absl::string_view::npos) << grant.status();
}

TEST(LinkOpener, AGrantOfAnotherNodeIsRefused) {
  auto server = StartServer("m1", {.issue_link = [](const fit::Client&) -> absl::StatusOr<fit::LinkGrant> {
                              fit::LinkGrant grant = GoodGrant();
                              grant.server_node = IdOf("m2");
                              return grant;
                            }});
  auto openers = LinkOpeners::Create();
  auto opener = openers->For(OptionsFor(server->address()));
  EXPECT_EQ(FieldOf(Open(*opener).status()), "server_node_id");
}

TEST(LinkOpener, FindsAServerThatStartsLater) {
  auto first = StartServer("m1", {});
  const std::string address = first->address();
  first.reset();
  auto openers = LinkOpeners::Create();
  auto opener = openers->For(OptionsFor(address));
  EXPECT_EQ(Open(*opener).status().code(), absl::StatusCode::kUnavailable);
  auto server = StartServer("m1", {.issue_link = [](const fit::Client&) { return GoodGrant(); }}, address);
  const absl::Time until = absl::Now() + absl::Seconds(10);
  absl::StatusOr<fit::LinkGrant> grant;
  do {
    grant = Open(*opener);
  } while (!grant.ok() && absl::Now() < until);
  EXPECT_TRUE(grant.ok()) << grant.status();
}

TEST(LinkOpener, AskingDoesNotWaitForASilentServer) {
  std::atomic<bool> go_on{false};
  auto server = StartServer("m1", {.issue_link = [&](const fit::Client&) {
                              go_on.wait(false);
                              return GoodGrant();
                            }});
  auto openers = LinkOpeners::Create();
  auto opener = openers->For(OptionsFor(server->address()));
  std::atomic<int> done{0};
  for (int i = 0; i < 5; ++i) opener->OpenLink([&](absl::StatusOr<fit::LinkGrant>) { ++done; });
  EXPECT_EQ(done, 0);
  // A destroyed opener ends what is under way, each exactly once, before it is gone.
  opener.reset();
  EXPECT_EQ(done, 5);
  go_on = true;
  go_on.notify_all();
}

TEST(LinkOpener, ACallHasADeadline) {
  std::atomic<bool> go_on{false};
  auto server = StartServer("m1", {.issue_link = [&](const fit::Client&) {
                              go_on.wait(false);
                              return GoodGrant();
                            }});
  auto openers = LinkOpeners::Create();
  LinkOpenerOptions options = OptionsFor(server->address());
  options.timeout = absl::Milliseconds(50);
  auto opener = openers->For(options);
  EXPECT_EQ(Open(*opener).status().code(), absl::StatusCode::kDeadlineExceeded);
  go_on = true;
  go_on.notify_all();
}

// FIT asks again from inside the answer when it has no back-off left.
TEST(LinkOpener, MayBeAskedAgainFromInsideAnAnswer) {
  auto server = StartServer("m1", {.issue_link = [](const fit::Client&) { return GoodGrant(); }});
  auto openers = LinkOpeners::Create();
  auto opener = openers->For(OptionsFor(server->address()));
  absl::Notification done;
  opener->OpenLink([&](absl::StatusOr<fit::LinkGrant>) {
    opener->OpenLink([&](absl::StatusOr<fit::LinkGrant> second) {
      EXPECT_TRUE(second.ok()) << second.status();
      done.Notify();
    });
  });
  done.WaitForNotification();
}

}  // namespace
}  // namespace ashlar::control
