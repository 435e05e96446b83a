// Prints the numbers of its open descriptors, one line: what a program sees of what was done to it.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include <set>

int main() {
  std::set<int> open;
  DIR* folder = opendir("/proc/self/fd");
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(folder)) open.insert(atoi(entry->d_name));
  }
  closedir(folder);
  for (int fd : open) printf("%d ", fd);
  printf("\n");
}
