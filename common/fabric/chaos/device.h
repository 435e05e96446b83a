// Any device, broken on purpose: connections made through it lose, delay, repeat and damage what passes, by a FaultPlan.
// Without a fault it changes nothing (the conformance suite runs over it). For tests only.
//
// Fault model: what a buggy NIC, driver or peer can do to this side. What is posted is damaged on its way out, what is
// completed on its way in; the memory of this side is never touched, for no transport may do that. Delays are counted in
// polls, not in time, so that a run on a clock of the test's is the same each time.
//
// Threads: as the device inside. The plan outlives the device, and the device what is made from it.
#pragma once

#include <memory>

#include "common/fabric/chaos/fault_plan.h"
#include "common/fabric/contract.h"

namespace ashlar::fabric {

std::unique_ptr<Device> WrapInChaos(std::unique_ptr<Device> device, chaos::FaultPlan& plan);

}  // namespace ashlar::fabric
