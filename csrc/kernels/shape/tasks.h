// How memory-bound work is divided among threads. The division depends on the problem alone.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native {

// Below this a second thread costs more (a wake is about 5 microseconds) than it brings.
inline constexpr int64_t kSplitBytes = 512 << 10;
inline constexpr int64_t kTaskBytes = 128 << 10;

// Rows that go past the caches (simd/nontemporal.h) where no cache keeps them: shorter ones come out slower, as such
// stores wait for what is read.
inline constexpr int64_t kFarRow = 1024;

// Tasks for `units` independent pieces of work that touch `bytes` in all.
inline int64_t task_count(int64_t units, int64_t bytes) {
  if (bytes < kSplitBytes) return std::min<int64_t>(units, 1);
  return std::clamp<int64_t>(bytes / kTaskBytes, 1, std::min<int64_t>(units, 256));
}

// Calls body(first, last) on consecutive ranges that cover [0, units).
template <class F>
void parallel_ranges(int64_t units, int64_t bytes, const F& body) {
  if (units == 0) return;
  const int64_t tasks = task_count(units, bytes);
  pool::parallel_for(tasks, [&](int64_t task) { body(units * task / tasks, units * (task + 1) / tasks); });
}

}  // namespace native
