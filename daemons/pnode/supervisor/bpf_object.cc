#include "daemons/pnode/supervisor/bpf_object.h"

asm(R"(
  .section .rodata
  .balign 16
  .globl ashlar_strace_object_begin
  .globl ashlar_strace_object_end
ashlar_strace_object_begin:
  .incbin ")" ASHLAR_STRACE_OBJECT R"("
ashlar_strace_object_end:
  .text
)");

extern "C" const std::byte ashlar_strace_object_begin;
extern "C" const std::byte ashlar_strace_object_end;

namespace ashlar::pnode {

std::span<const std::byte> StraceObject() { return {&ashlar_strace_object_begin, &ashlar_strace_object_end}; }

}  // namespace ashlar::pnode
