#include "common/fabric/verbs/domain.h"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/fabric/verbs/memlock.h"

namespace ashlar::fabric::verbs {

absl::StatusOr<std::unique_ptr<VerbsDomain>> VerbsDomain::Open(std::shared_ptr<DeviceContext> device) {
  Owned<ibv_pd> pd(::ibv_alloc_pd(device->context));
  if (pd == nullptr) return ErrnoStatus(errno, absl::StrCat("fabric: protection domain on ", device->name));
  return std::unique_ptr<VerbsDomain>(new VerbsDomain(std::move(device), std::move(pd)));
}

absl::StatusOr<std::unique_ptr<Region>> VerbsDomain::Register(std::span<std::byte> bytes) {
  if (bytes.empty()) return absl::InvalidArgumentError("fabric: a region needs at least one byte");
  Owned<ibv_mr> mr(::ibv_reg_mr(pd_.get(), bytes.data(), bytes.size(), IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND));
  if (mr == nullptr) {
    const int error = errno;
    if (error == ENOMEM) ASHLAR_RETURN_IF_ERROR(CheckMemlock(ReadMemlock(), bytes.size()));
    return ErrnoStatus(error, absl::StrCat("fabric: register ", bytes.size(), " bytes on ", device_->name));
  }
  return std::make_unique<VerbsRegion>(this, bytes, std::move(mr));
}

}  // namespace ashlar::fabric::verbs
