// What a daemon's exit says to systemd and to people; 64, 65, 77 and 78 are not restarted by the units.
#pragma once

namespace ashlar::config {

enum ExitCode : int {
  kExitOk = 0,            // asked to stop
  kExitUsage = 64,        // the command line is wrong
  kExitData = 65,         // structural damage of the log; going on needs a person
  kExitUnavailable = 69,  // something we need at start is away
  kExitIo = 74,           // I/O error on the log
  kExitInUse = 75,        // the log or state directory belongs to a running daemon; try later
  kExitDenied = 77,       // a right is missing
  kExitConfig = 78,       // config, wrong node, or an on-disk format newer than this program
};

}  // namespace ashlar::config
