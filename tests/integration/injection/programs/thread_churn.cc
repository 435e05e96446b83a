// thread_churn ROUNDS: 4 threads at a time, each fills and checks memory of its own, then is joined. Exits 0 if no byte
// was wrong. Robust mutexes are left locked by dying threads, and must be found abandoned.
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

namespace {

struct Work {
  unsigned char fill;
  bool right;
  pthread_mutex_t mutex;
};

void* Run(void* argument) {
  auto* work = static_cast<Work*>(argument);
  constexpr size_t kBytes = 300'000;
  auto* bytes = static_cast<unsigned char*>(malloc(kBytes));
  memset(bytes, work->fill, kBytes);
  work->right = true;
  for (size_t i = 0; i < kBytes; ++i) work->right = work->right && bytes[i] == work->fill;
  free(bytes);
  pthread_mutex_lock(&work->mutex);
  return nullptr;
}

}  // namespace

int main(int, char** argv) {
  constexpr int kThreads = 4;
  pthread_mutexattr_t robust;
  pthread_mutexattr_init(&robust);
  pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
  for (int round = 0; round < atoi(argv[1]); ++round) {
    pthread_t threads[kThreads];
    Work* work[kThreads];
    for (int i = 0; i < kThreads; ++i) {
      work[i] = new Work{static_cast<unsigned char>(round * kThreads + i), false, {}};
      pthread_mutex_init(&work[i]->mutex, &robust);
      if (pthread_create(&threads[i], nullptr, Run, work[i]) != 0) return 2;
    }
    for (int i = 0; i < kThreads; ++i) {
      if (pthread_join(threads[i], nullptr) != 0 || !work[i]->right) return 1;
      if (pthread_mutex_lock(&work[i]->mutex) != EOWNERDEAD) return 3;
      delete work[i];
    }
  }
  return 0;
}
