#include "common/service/data_thread.h"

#include <pthread.h>

#include <utility>

namespace ashlar::service {

DataThread::DataThread(std::string name, Run run, absl::AnyInvocable<void()> stop)
    : stop_(std::move(stop)), thread_([this, name = std::move(name), run = std::move(run)]() mutable {
        ::pthread_setname_np(::pthread_self(), name.c_str());
        run([this] { watchdog_.Feed(); });
      }) {}

DataThread::~DataThread() {
  stop_();
  thread_.join();
}

}  // namespace ashlar::service
