// make_text MIB SEED: writes about MIB MiB of text to stdout: lines of words drawn with a Zipf-like skew, the same text
// for the same seed.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

std::uint64_t state;

std::uint64_t Random() {  // xorshift64*
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545F4914F6CDD1DULL;
}

std::vector<std::string> MakeWords(std::size_t count) {
  std::vector<std::string> words(count);
  for (std::string& word : words) {
    const std::size_t length = 2 + Random() % 10;
    for (std::size_t i = 0; i < length; ++i) word.push_back(static_cast<char>('a' + Random() % 26));
  }
  return words;
}

// Small ranks are frequent: two thirds of the draws fall into ever smaller prefixes.
std::size_t SkewedRank(std::size_t count) {
  std::size_t range = count;
  while (range > 8 && Random() % 3 != 0) range /= 4;
  return Random() % range;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: make_text MIB SEED\n"), 64;
  const std::uint64_t wanted = std::strtoull(argv[1], nullptr, 10) << 20;
  state = std::strtoull(argv[2], nullptr, 10) | 1;
  const std::vector<std::string> words = MakeWords(200'000);
  std::uint64_t written = 0;
  std::string line;
  while (written < wanted) {
    line.clear();
    for (std::size_t n = 3 + Random() % 12; n > 0; --n) line.append(words[SkewedRank(words.size())]).push_back(' ');
    line.back() = '\n';
    if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size()) return std::perror("make_text"), 74;
    written += line.size();
  }
  return std::fflush(stdout) == 0 ? 0 : 74;
}
