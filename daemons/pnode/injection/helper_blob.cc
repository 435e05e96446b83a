#include "daemons/pnode/injection/helper_blob.h"

asm(R"(
  .section .rodata
  .globl ashlar_helper_blob_begin
  .globl ashlar_helper_blob_end
ashlar_helper_blob_begin:
  .incbin ")" ASHLAR_HELPER_BLOB R"("
ashlar_helper_blob_end:
  .text
)");

extern "C" const std::byte ashlar_helper_blob_begin;
extern "C" const std::byte ashlar_helper_blob_end;

namespace ashlar::pnode {

std::span<const std::byte> HelperBlob() { return {&ashlar_helper_blob_begin, &ashlar_helper_blob_end}; }

}  // namespace ashlar::pnode
