#include "runtime/pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <unistd.h>
#endif

#include "core/allocator.h"
#include "runtime/cpu.h"

namespace native::pool {
namespace {

void relax() {
#if NATIVE_X86
  __builtin_ia32_pause();
#endif
}

// Behind it other threads see what this one stored past the caches (simd/nontemporal.h).
void fence() {
#if NATIVE_X86
  __builtin_ia32_sfence();
#endif
}

// About 80 microseconds: longer than what Python does between two steps of a loop, shorter than a nap that
// another process would feel.
constexpr int kSpins = 8000;

// How many processors the calling thread may use.
int usable_processors() {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

// The processor that the calling thread is on, or -1.
int processor() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// Sends the calling thread to another of the processors that it may use. Where other programs run, the system may leave
// two threads on one processor, which then take turns, for as long as they work.
void leave(int processor) {
#if defined(__linux__)
  cpu_set_t all;
  if (sched_getaffinity(0, sizeof(all), &all) != 0) return;
  cpu_set_t others = all;
  CPU_CLR(processor, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof(others), &others) != 0) return;
  sched_setaffinity(0, sizeof(all), &all);
#else
  (void)processor;
#endif
}

// Tasks that nobody has begun: [next, end).
struct alignas(64) Range {
  std::atomic<int64_t> next{0};
  int64_t end = 0;

  // The next task, or -1. Looks first, as a thread without work asks everywhere.
  int64_t take() {
    if (next.load(std::memory_order_relaxed) >= end) return -1;
    const int64_t i = next.fetch_add(1);
    return i < end ? i : -1;
  }
};

struct Job {
  void (*task)(void*, int64_t);
  void* context;
  int64_t tasks;
  std::atomic<bool> failed{false};
  std::exception_ptr error;  // written once, by the thread that set `failed`

  void work_alone() {
    for (int64_t i = 0; i < tasks; ++i) attempt(i);
    fence();
  }

  // A thread begins with the tasks of its own range, then helps the threads behind it. The same part of every grid
  // falls to the same thread, so that what one kernel wrote the next one finds near that processor.
  void work(std::vector<Range>& ranges, size_t own) {
    for (size_t k = 0; k < ranges.size(); ++k) {
      Range& range = ranges[(own + k) % ranges.size()];
      for (int64_t i = range.take(); i >= 0; i = range.take()) attempt(i);
    }
    fence();
  }

  void attempt(int64_t i) {
    try {
      task(context, i);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  }
};

thread_local bool t_inside = false;
thread_local std::vector<std::vector<double>>* t_recorded = nullptr;  // where record() of this thread writes

// Runs the tasks one after the other and notes how long each took.
void work_recorded(Job& job) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds;
  t_inside = true;
  auto before = Clock::now();
  for (int64_t i = 0; i < job.tasks; ++i) {
    job.attempt(i);
    const auto now = Clock::now();
    seconds.push_back(std::chrono::duration<double>(now - before).count());
    before = now;
  }
  fence();
  t_inside = false;
  t_recorded->push_back(std::move(seconds));
}

class Workers {
 public:
  // As many threads as the system gives: the others' ranges are taken by these.
  explicit Workers(int count) : ranges_(count), spread_(count <= usable_processors()) {
    threads_.reserve(ranges_.size());
    try {
      for (size_t own = 1; own < ranges_.size(); ++own) threads_.emplace_back([this, own] { loop(own); });
    } catch (const std::system_error&) {
    }
  }
  ~Workers() {
    stop_.store(true);
    open(0);
    for (auto& thread : threads_) thread.join();
  }

  // Returns when all tasks are done, and no sooner than every worker that began with them has left. One that did not
  // come in time, because another process has its processor, is not waited for.
  void run(Job& job) {
    job_ = &job;
    const auto parts = static_cast<int64_t>(ranges_.size());
    for (int64_t t = 0; t < parts; ++t) {
      ranges_[t].next.store(t * job.tasks / parts, std::memory_order_relaxed);
      ranges_[t].end = (t + 1) * job.tasks / parts;
    }
    caller_.store(processor(), std::memory_order_relaxed);
    open(kOpen);
    t_inside = true;
    job.work(ranges_, 0);
    t_inside = false;
    gate_.fetch_and(~kOpen);
    for (int spins = 0; (gate_.load() & kInside) != 0; ++spins) {
      if (spins < kSpins)
        relax();
      else
        std::this_thread::yield();
    }
  }

 private:
  // The gate to the ranges: how many workers are inside, whether more may come in, and, above, a number that changes
  // with every job, so that nobody comes in by what the gate was before.
  static constexpr uint64_t kInside = 0xffff, kOpen = 0x10000, kEpoch = 0x20000;
  static uint64_t epoch_of(uint64_t gate) { return gate / kEpoch; }

  // The next epoch. Nobody is inside, and nobody else changes the gate while it is shut.
  void open(uint64_t flag) {
    {
      std::lock_guard lock(mutex_);
      gate_.store((epoch_of(gate_.load()) + 1) * kEpoch | flag);
    }
    if (sleeping_.load() > 0) wake_.notify_all();
  }

  // Whether the gate was open; `seen` becomes the epoch in which it was or was not.
  bool enter(uint64_t& seen) {
    uint64_t gate = gate_.load();
    while ((gate & kOpen) != 0)
      if (gate_.compare_exchange_weak(gate, gate + 1)) break;
    seen = epoch_of(gate);
    return (gate & kOpen) != 0;
  }

  void loop(size_t own) {
    t_inside = true;
    uint64_t seen = 0;
    const auto nothing_new = [&] { return epoch_of(gate_.load()) == seen && !stop_.load(); };
    while (true) {
      for (int spins = 0; nothing_new() && spins < kSpins; ++spins) relax();
      if (nothing_new()) {
        std::unique_lock lock(mutex_);
        sleeping_.fetch_add(1);
        wake_.wait(lock, [&] { return !nothing_new(); });
        sleeping_.fetch_sub(1);
      }
      if (stop_.load()) return;
      if (spread_)
        if (const int caller = caller_.load(std::memory_order_relaxed); caller >= 0 && caller == processor())
          leave(caller);
      if (!enter(seen)) continue;
      job_->work(ranges_, own);
      gate_.fetch_sub(1);
    }
  }

  std::vector<Range> ranges_;    // one a thread, the caller's first
  const bool spread_;            // whether there is a processor for each
  std::atomic<int> caller_{-1};  // the processor of the thread whose job it is, as it began
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> gate_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  Job* job_ = nullptr;
};

int from_environment(const char* name) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : 0;
}

// cgroup v2: "max 100000" or "200000 100000".
int cgroup_processors() {
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/sys/fs/cgroup/cpu.max", "r"), std::fclose);
  long long quota = 0, period = 0;
  if (!file || std::fscanf(file.get(), "%lld %lld", &quota, &period) != 2 || quota <= 0 || period <= 0) return 256;
  return static_cast<int>(std::max<long long>(1, (quota + period - 1) / period));
}

int default_threads() {
  for (const char* name : {"NATIVE_NUM_THREADS", "OMP_NUM_THREADS"})
    if (int count = from_environment(name); count > 0) return std::min(count, 256);
  return std::clamp(std::min(usable_processors(), cgroup_processors()), 1, 256);
}

struct State {
  std::mutex mutex;  // held by the call that has the workers
  std::atomic<int> threads = default_threads();
  std::unique_ptr<Workers> workers;
};

std::atomic<State*> g_state = nullptr;  // a thread that forks may not have called state()

State& state() {
  static std::once_flag once;
  std::call_once(once, [] {
    g_state = new State;  // never destroyed: kernels may run during interpreter shutdown
#if defined(__linux__)
    // The child of a fork has no workers: it forgets the parent's (leaked on purpose, joining would hang).
    pthread_atfork([] { g_state.load()->mutex.lock(); }, [] { g_state.load()->mutex.unlock(); },
                   [] {
                     State* fresh = new State;
                     fresh->threads = g_state.load()->threads.load();
                     g_state = fresh;
                   });
#endif
  });
  return *g_state.load();
}

struct Scratch {
  void* data = nullptr;
  size_t bytes = 0;
  ~Scratch() { reset(); }
  void reset() noexcept {
    if (data) allocator::release(data, bytes);
    data = nullptr;
    bytes = 0;
  }
};
thread_local Scratch t_scratch;

}  // namespace

int threads() { return state().threads; }

void set_threads(int count) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  s.workers.reset();
  s.threads = std::clamp(count, 1, 256);
}

void run(int64_t tasks, void (*task)(void*, int64_t), void* context) {
  if (tasks <= 0) return;
  Job job{task, context, tasks, {}, {}};
  if (t_recorded && !t_inside) {
    work_recorded(job);
    if (job.failed) std::rethrow_exception(job.error);
    return;
  }
  State& s = state();
  std::unique_lock lock(s.mutex, std::defer_lock);
  if (t_inside || tasks == 1 || s.threads == 1 || !lock.try_lock()) {
    job.work_alone();
  } else {
    if (!s.workers) s.workers = std::make_unique<Workers>(s.threads);
    s.workers->run(job);
  }
  if (job.failed) std::rethrow_exception(job.error);
}

std::vector<std::vector<double>> record(const std::function<void()>& body) {
  std::vector<std::vector<double>> seconds;
  struct Recording {
    explicit Recording(std::vector<std::vector<double>>* to) { t_recorded = to; }
    ~Recording() { t_recorded = nullptr; }
  } recording(&seconds);
  body();
  return seconds;
}

void* thread_scratch(size_t bytes) {
  if (bytes > t_scratch.bytes) {
    t_scratch.reset();
    t_scratch.data = allocator::allocate(bytes);
    t_scratch.bytes = bytes;
  }
  return t_scratch.data;
}

}  // namespace native::pool
