// The thread pool: one for the process. Task grids must depend on the problem alone (never on the number
// of threads), so that results have the same bits at any thread count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace native::pool {

// Threads in use, the calling one included. At first: NATIVE_NUM_THREADS, else OMP_NUM_THREADS, else the
// processors that affinity and the cgroup's quota allow.
int threads();
// 1 to 256. Waits for running work.
void set_threads(int count);

// Runs task(context, i) for every i in [0, tasks), in any order, on up to threads() threads, and returns
// when all are done. A thread begins with its own equal share of the range, the same share at every call, and then
// takes what others have not begun: kernels that cut their work alike find in its caches what it wrote there. A call
// from inside a task runs serially. Concurrent calls from several threads are safe: one gets the workers, the others
// run on their own thread. Survives fork (the child starts its own workers). Workers spin briefly for the next call,
// then sleep. An exception (std::bad_alloc) in a task is remembered and thrown on the calling thread after all tasks
// ended.
void run(int64_t tasks, void (*task)(void* context, int64_t index), void* context);

template <class F>
void parallel_for(int64_t tasks, const F& body) {
  if (tasks == 1) {
    // No fence for stores past the caches: a lock hands results to other threads, and its instruction orders them too.
    body(int64_t{0});
    return;
  }
  run(
      tasks, [](void* context, int64_t index) { (*static_cast<const F*>(context))(index); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// Runs `body`, and every run() of more than one task in it serially on the calling thread; returns for each of them the
// seconds that its tasks took, in order. What other numbers of threads would make of them can be told from that.
std::vector<std::vector<double>> record(const std::function<void()>& body);

// Memory of the calling thread, at least `bytes`, 64-byte aligned, uninitialised, valid until the next
// call on the same thread. Grows and is kept; throws std::bad_alloc.
void* thread_scratch(size_t bytes);

}  // namespace native::pool
