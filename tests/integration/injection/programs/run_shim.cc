// `ashlar run` in its smallest form: run_shim SOCKET LIMIT_BYTES PROGRAM ARGS…
#include <cstdlib>

#include "daemons/pnode/injection/run_program.h"

int main(int argc, char** argv) {
  if (argc < 4) return 64;
  ashlar::pnode::RunOptions options;
  options.socket_path = argv[1];
  options.limit_bytes = std::strtoull(argv[2], nullptr, 10);
  options.argv.assign(argv + 3, argv + argc);
  return ashlar::pnode::RunProgram(options).exit_code;
}
