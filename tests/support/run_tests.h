// Every test binary's run. Threads: the main thread, once.
#pragma once

namespace ashlar {

// Runs all tests after InitGoogleTest. Prints `SKIPPED Suite.Case: reason` for each that was skipped, which `./dev test`
// collects. Returns the exit code: 77 when all were skipped, so that ctest does not call that a pass.
int RunTests();

}  // namespace ashlar
