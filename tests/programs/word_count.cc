// word_count FILE [THREADS]: reads the whole file into memory, counts words in THREADS threads, merges, and prints every
// word with its count, most frequent first. The output depends on the file alone.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

using Counts = std::unordered_map<std::string_view, std::uint64_t>;

bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

void CountWords(std::string_view text, Counts& counts) {
  std::size_t at = 0;
  while (at < text.size()) {
    while (at < text.size() && IsSpace(text[at])) ++at;
    const std::size_t begin = at;
    while (at < text.size() && !IsSpace(text[at])) ++at;
    if (at > begin) ++counts[text.substr(begin, at - begin)];
  }
}

// Cuts `text` into `parts` pieces that end between words.
std::vector<std::string_view> Split(std::string_view text, std::size_t parts) {
  std::vector<std::string_view> pieces;
  std::size_t begin = 0;
  for (std::size_t i = 1; i <= parts; ++i) {
    std::size_t end = i == parts ? text.size() : std::max(begin, text.size() * i / parts);
    while (end < text.size() && !IsSpace(text[end])) ++end;
    pieces.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return pieces;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) return std::fprintf(stderr, "usage: word_count FILE [THREADS]\n"), 64;
  const std::size_t threads = argc == 3 ? std::max(1, std::atoi(argv[2])) : 4;
  const int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
  struct stat file {};
  if (fd < 0 || fstat(fd, &file) != 0) return std::perror(argv[1]), 66;
  const std::size_t size = static_cast<std::size_t>(file.st_size);
  const std::unique_ptr<char[]> buffer(new char[size]);
  for (std::size_t got = 0; got < size;) {
    const ssize_t n = read(fd, buffer.get() + got, std::min<std::size_t>(size - got, 1 << 20));
    if (n <= 0) return std::perror("read"), 74;
    got += static_cast<std::size_t>(n);
  }

  const auto pieces = Split(std::string_view(buffer.get(), size), threads);
  std::vector<Counts> partial(threads);
  std::vector<std::thread> workers;
  for (std::size_t i = 0; i < threads; ++i)
    workers.emplace_back([&, i] { CountWords(pieces[i], partial[i]); });
  for (std::thread& worker : workers) worker.join();

  Counts total = std::move(partial[0]);
  for (std::size_t i = 1; i < threads; ++i)
    for (const auto& [word, count] : partial[i]) total[word] += count;
  std::vector<std::pair<std::string_view, std::uint64_t>> sorted(total.begin(), total.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second != b.second ? a.second > b.second : a.first < b.first; });
  for (const auto& [word, count] : sorted)
    std::printf("%.*s %llu\n", static_cast<int>(word.size()), word.data(), static_cast<unsigned long long>(count));
  return std::fflush(stdout) == 0 ? 0 : 74;
}
