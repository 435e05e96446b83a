// Fills 2 x 64 pages (one region, the second half made its own VMA), prints the address, waits for a line, then checks
// every byte. Exits 0 if all are right. Given "fork", a child keeps the pages shared (copy-on-write) meanwhile.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char**) {
  constexpr int kPages = 128;
  auto* bytes = static_cast<unsigned char*>(
      mmap(nullptr, kPages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  madvise(bytes + 64 * 4096, 64 * 4096, MADV_DONTDUMP);  // other flags: a VMA border in the middle
  for (int page = 0; page < kPages; ++page) memset(bytes + page * 4096, page + 1, 4096);
  pid_t child = 0;
  if (argc > 1 && (child = fork()) == 0) {
    pause();
    _exit(0);
  }
  printf("%p\n", static_cast<void*>(bytes));
  fflush(stdout);
  char line[16];
  if (fgets(line, sizeof(line), stdin) == nullptr) return 3;
  if (child > 0) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  for (int page = 0; page < kPages; ++page) {
    for (int i = 0; i < 4096; ++i) {
      if (bytes[page * 4096 + i] != page + 1) return 1;
    }
  }
  return 0;
}
