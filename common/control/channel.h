// The one way this project opens a gRPC channel. Only for common/control's own .cc files.
#pragma once

#include <memory>
#include <string>

#include <grpcpp/channel.h>

namespace ashlar::control {

// Plaintext, no proxy, no resolver lookups. gRPC's own back-off is kept short: those who retry have one of their own,
// and a channel that still rests would answer them without having looked.
std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address);

}  // namespace ashlar::control
