// make_text MIB SEED: writes about MIB MiB of text to stdout: paragraphs, one a line, of words of a vocabulary of 50,000, drawn by
// Zipf's law; the same text for the same seed.
#include <algorithm>
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

// Zipf's law, as in natural language: the word of rank r comes in proportion to 1 / r.
class ZipfRanks {
 public:
  explicit ZipfRanks(std::size_t count) : cumulative_(count) {
    double sum = 0;
    for (std::size_t rank = 0; rank < count; ++rank) cumulative_[rank] = sum += 1.0 / static_cast<double>(rank + 1);
  }
  std::size_t Draw() const {
    const double point = static_cast<double>(Random() >> 11) / static_cast<double>(1ULL << 53) * cumulative_.back();
    return static_cast<std::size_t>(std::upper_bound(cumulative_.begin(), cumulative_.end() - 1, point) - cumulative_.begin());
  }

 private:
  std::vector<double> cumulative_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: make_text MIB SEED\n"), 64;
  const std::uint64_t wanted = std::strtoull(argv[1], nullptr, 10) << 20;
  state = std::strtoull(argv[2], nullptr, 10) | 1;
  const std::vector<std::string> words = MakeWords(50'000);
  const ZipfRanks ranks(words.size());
  std::uint64_t written = 0;
  std::string line;
  while (written < wanted) {
    line.clear();
    for (std::size_t n = 20 + Random() % 100; n > 0; --n) line.append(words[ranks.Draw()]).push_back(' ');
    line.back() = '\n';
    if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size()) return std::perror("make_text"), 74;
    written += line.size();
  }
  return std::fflush(stdout) == 0 ? 0 : 74;
}
