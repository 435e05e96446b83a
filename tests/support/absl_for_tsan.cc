// Tells ThreadSanitizer what Debian's abseil does: that library is built without it, so its locks would be invisible, and
// every field they guard a race. Linked into each test of the preset `tsan`, where these definitions come before the
// library's own, for our code and for abseil's own.
//
// Each one calls the real function and adds the order it makes: what happened before an unlock is seen after the next lock.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

namespace {

// The next definition of `name` behind this executable's: abseil's. The stand-in has the shape of a member function with
// the object first, as the Itanium ABI passes it.
template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// Ends and begins the caller's part in what the object orders.
template <typename Wait>
auto Around(void* object, Wait wait) {
  __tsan_release(object);
  const auto result = wait();
  __tsan_acquire(object);
  return result;
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

#define ASHLAR_REAL(Return, name, ...) \
  static auto* const real = Real<Return(__VA_ARGS__)>("_ZN4absl7debian3" name)

void Mutex::Lock() {
  ASHLAR_REAL(void, "5Mutex4LockEv", Mutex*);
  real(this);
  __tsan_acquire(this);
}

void Mutex::Unlock() {
  ASHLAR_REAL(void, "5Mutex6UnlockEv", Mutex*);
  __tsan_release(this);
  real(this);
}

bool Mutex::TryLock() {
  ASHLAR_REAL(bool, "5Mutex7TryLockEv", Mutex*);
  const bool locked = real(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::ReaderLock() {
  ASHLAR_REAL(void, "5Mutex10ReaderLockEv", Mutex*);
  real(this);
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  ASHLAR_REAL(void, "5Mutex12ReaderUnlockEv", Mutex*);
  __tsan_release(this);
  real(this);
}

void Mutex::LockWhen(const Condition& condition) {
  ASHLAR_REAL(void, "5Mutex8LockWhenERKNS0_9ConditionE", Mutex*, const Condition&);
  real(this, condition);
  __tsan_acquire(this);
}

void Mutex::Await(const Condition& condition) {
  ASHLAR_REAL(void, "5Mutex5AwaitERKNS0_9ConditionE", Mutex*, const Condition&);
  __tsan_release(this);
  real(this, condition);
  __tsan_acquire(this);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  ASHLAR_REAL(bool, "5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE", Mutex*, const Condition&, Duration);
  return Around(this, [&] { return real(this, condition, timeout); });
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  ASHLAR_REAL(bool, "5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE", Mutex*, const Condition&, Time);
  return Around(this, [&] { return real(this, condition, deadline); });
}

void CondVar::Wait(Mutex* mutex) {
  ASHLAR_REAL(void, "7CondVar4WaitEPNS0_5MutexE", CondVar*, Mutex*);
  __tsan_release(mutex);
  real(this, mutex);
  __tsan_acquire(mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  ASHLAR_REAL(bool, "7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE", CondVar*, Mutex*, Duration);
  return Around(mutex, [&] { return real(this, mutex, timeout); });
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  ASHLAR_REAL(bool, "7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE", CondVar*, Mutex*, Time);
  return Around(mutex, [&] { return real(this, mutex, deadline); });
}

// Its flag is written inside abseil and read inline: the order goes by the object, and Wait takes it up.
void Notification::Notify() {
  ASHLAR_REAL(void, "12Notification6NotifyEv", Notification*);
  __tsan_release(this);
  real(this);
}

void Notification::WaitForNotification() const {
  static auto* const real = Real<void(const Notification*)>("_ZNK4absl7debian312Notification19WaitForNotificationEv");
  real(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static auto* const real =
      Real<bool(const Notification*, Duration)>("_ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE");
  const bool notified = real(this, timeout);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl
