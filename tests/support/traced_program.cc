#include "tests/support/traced_program.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ashlar::pnode {

TracedProgram::TracedProgram(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    // It stops on the way out of this call, behind the tracepoint of its end.
    ::kill(::getpid(), SIGSTOP);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(pid_, &status, WUNTRACED);
}

TracedProgram::~TracedProgram() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  Wait();
}

void TracedProgram::LetGo() { ::kill(pid_, SIGCONT); }

int TracedProgram::Wait() {
  int status = -1;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return status;
}

rusage TracedProgram::WaitForUsage() {
  rusage usage{};
  ::wait4(pid_, nullptr, 0, &usage);
  pid_ = -1;
  return usage;
}

}  // namespace ashlar::pnode
