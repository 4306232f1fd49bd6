#include "core/fork_mutex.h"

#include <map>

#if defined(__unix__)
#include <pthread.h>
#endif

namespace native {
namespace {

using Ranked = std::multimap<ForkMutex::Rank, ForkMutex*>;

// Its mutex is taken last: one is registered where it is first used, while others are held.
struct Registry {
  std::mutex mutex;
  Ranked all;
  std::mutex forking;
  Ranked locked;  // those of the fork that goes on

  bool lock_known() {
    {
      std::lock_guard lock(mutex);
      locked = all;
    }
    for (auto& [rank, known] : locked) known->lock();
    mutex.lock();
    return locked.size() == all.size();
  }
  void unlock() {
    mutex.unlock();
    for (auto& [rank, known] : locked) known->unlock();
  }
};
Registry& registry() {
  static Registry* r = new Registry;
  return *r;
}

[[maybe_unused]] void lock_all() {
  registry().forking.lock();
  while (!registry().lock_known()) registry().unlock();  // one came meanwhile
}
[[maybe_unused]] void unlock_all() {
  registry().unlock();
  registry().forking.unlock();
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
