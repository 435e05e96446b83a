// Statically linked: fills 16 MiB, sums it, exits with 42 if the sum is right.
#include <sys/mman.h>

#include <cstdint>

int main() {
  constexpr std::uint64_t kWords = (16 << 20) / 8;
  auto* words = static_cast<std::uint64_t*>(
      mmap(nullptr, kWords * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (std::uint64_t i = 0; i < kWords; ++i) words[i] = i * 3;
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < kWords; ++i) sum += words[i];
  return sum == 3 * (kWords * (kWords - 1) / 2) ? 42 : 1;
}
