// The bounds both ends of the control path agree on.
#pragma once

namespace ashlar::control {

inline constexpr int kMaxMessageBytes = 4 << 20;
inline constexpr int kMaxStreams = 1000;    // at once, per connection
inline constexpr int kMaxThreads = 16;      // of a server, all calls together
inline constexpr int kKeepAliveMs = 10'000; // without traffic, before a ping
inline constexpr int kKeepAliveTimeoutMs = 3'000;

}  // namespace ashlar::control
