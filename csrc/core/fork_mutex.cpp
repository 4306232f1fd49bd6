#include "core/fork_mutex.h"

#include <map>

#if defined(__unix__)
#include <pthread.h>
#endif

namespace native {
namespace {

struct Registry {
  std::mutex mutex;
  std::multimap<ForkMutex::Rank, ForkMutex*> all;
};
Registry& registry() {
  static Registry* r = new Registry;
  return *r;
}

[[maybe_unused]] void lock_all() {
  registry().mutex.lock();
  for (auto& [rank, mutex] : registry().all) mutex->lock();
}
[[maybe_unused]] void unlock_all() {
  for (auto& [rank, mutex] : registry().all) mutex->unlock();
  registry().mutex.unlock();
}

}  // namespace

ForkMutex::ForkMutex(Rank rank) {
  static std::once_flag once;
  std::call_once(once, [] {
#if defined(__unix__)
    pthread_atfork(lock_all, unlock_all, unlock_all);
#endif
  });
  std::lock_guard lock(registry().mutex);
  registry().all.emplace(rank, this);
}

}  // namespace native
