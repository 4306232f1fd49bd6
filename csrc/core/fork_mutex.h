// A mutex that is open in the child of a fork. A plain one stays locked there for ever if another thread
// held it at that moment: the child has a copy of the mutex and not of the thread.
#pragma once

#include <mutex>

namespace native {

// For state of the process: never destroyed. All are taken, in the order of their ranks, before fork() copies
// the process, and released on both sides. Code that holds one may take those of higher rank.
class ForkMutex {
 public:
  enum class Rank { Slots, KernelCache, Plans, Leaf };

  explicit ForkMutex(Rank rank);
  ForkMutex(const ForkMutex&) = delete;
  ForkMutex& operator=(const ForkMutex&) = delete;

  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

}  // namespace native
