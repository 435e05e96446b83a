#include "common/control/spaces_service.h"

#include "absl/strings/str_cat.h"

namespace ashlar::control {

grpc::Status SpacesService::ListSpaces(grpc::ServerContext* context, const v1::ListSpacesRequest*, v1::ListSpacesResponse* response) {
  return Serve(*context, [&] {
    ToProto(state_.sources.spaces(), response);
    return absl::OkStatus();
  });
}

grpc::Status SpacesService::Drain(grpc::ServerContext* context, const v1::DrainRequest* request, v1::DrainResponse*) {
  return Serve(*context, [&]() -> absl::Status {
    if (state_.topology->FindNode(std::string_view(request->node())) == nullptr)
      return WithReason(absl::NotFoundError(absl::StrCat("node is not in the topology of ", state_.identity.id)), reason::kUnknownNode, "node");
    return state_.sources.drain(request->node(), request->drained());
  });
}

void ToProto(const SpaceList& from, v1::ListSpacesResponse* to) {
  for (const HomedSpace& space : from.homed) {
    v1::HomedSpace* out = to->add_homed();
    out->set_space_id(space.space.value());
    out->set_epoch(space.epoch.value());
    out->set_home(space.home);
    out->set_state(static_cast<v1::RehomeState>(static_cast<int>(space.state) + 1));
    out->set_extents(space.extents);
    out->set_extents_to_refill(space.extents_to_refill);
    out->set_extents_refilled(space.extents_refilled);
    out->set_since_left_ns(static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(space.since_left)));
  }
  for (const KeptSpace& space : from.kept) {
    v1::KeptSpace* out = to->add_kept();
    out->set_space_id(space.space.value());
    out->set_snode(space.snode);
    out->set_current(space.current);
    out->set_live_bytes(space.live_bytes);
    out->set_behind_bytes(space.behind_bytes);
  }
}

absl::StatusOr<SpaceList> FromProto(const v1::ListSpacesResponse& from) {
  SpaceList list;
  for (const v1::HomedSpace& space : from.homed()) {
    if (space.state() < v1::REHOME_STATE_FENCING || space.state() > v1::REHOME_STATE_SERVED)
      return absl::InvalidArgumentError(absl::StrCat("homed.state: ", static_cast<int>(space.state()), " is not known"));
    list.homed.push_back({.space = SpaceId(space.space_id()), .epoch = Epoch(space.epoch()), .home = space.home(),
                          .state = static_cast<SpaceState>(static_cast<int>(space.state()) - 1), .extents = space.extents(),
                          .extents_to_refill = space.extents_to_refill(), .extents_refilled = space.extents_refilled(),
                          .since_left = absl::Nanoseconds(static_cast<std::int64_t>(std::min<std::uint64_t>(space.since_left_ns(), INT64_MAX)))});
  }
  for (const v1::KeptSpace& space : from.kept())
    list.kept.push_back({.space = SpaceId(space.space_id()), .snode = space.snode(), .current = space.current(),
                         .live_bytes = space.live_bytes(), .behind_bytes = space.behind_bytes()});
  return list;
}

}  // namespace ashlar::control
