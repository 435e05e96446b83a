// A protection domain and its registered memory. A registration gives no peer any access: that is what a window is for,
// bound to one queue pair. So there is no key that opens all memory.
//
// Threads: one at a time.
#pragma once

#include <memory>

#include "common/fabric/region.h"
#include "common/fabric/verbs/context.h"
#include "common/fabric/verbs/objects.h"

namespace ashlar::fabric::verbs {

class VerbsRegion final : public CountedRegion {
 public:
  VerbsRegion(const Domain* domain, std::span<std::byte> bytes, Owned<ibv_mr> mr) : CountedRegion(domain, bytes), mr_(std::move(mr)) {}
  ibv_mr* mr() const { return mr_.get(); }

 private:
  Owned<ibv_mr> mr_;
};

class VerbsDomain final : public Domain {
 public:
  static absl::StatusOr<std::unique_ptr<VerbsDomain>> Open(std::shared_ptr<DeviceContext> device);
  // Pins the bytes. ResourceExhausted names the limit on locked memory and how to raise it.
  absl::StatusOr<std::unique_ptr<Region>> Register(std::span<std::byte> bytes) override;
  ibv_pd* pd() const { return pd_.get(); }

 private:
  VerbsDomain(std::shared_ptr<DeviceContext> device, Owned<ibv_pd> pd) : device_(std::move(device)), pd_(std::move(pd)) {}
  std::shared_ptr<DeviceContext> device_;
  Owned<ibv_pd> pd_;
};

}  // namespace ashlar::fabric::verbs
