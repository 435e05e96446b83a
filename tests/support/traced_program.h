// A program that stands before its exec until it is let go.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <string>
#include <vector>

namespace ashlar::pnode {

class TracedProgram {
 public:
  // Its exec is the first call that can be counted from now on.
  explicit TracedProgram(const std::vector<std::string>& words);
  ~TracedProgram();  // kills and reaps, if Wait has not

  pid_t pid() const { return pid_; }
  void LetGo();
  int Wait();  // its wait status
  rusage WaitForUsage();

 private:
  pid_t pid_ = -1;
};

}  // namespace ashlar::pnode
