#include "runtime/peak.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "runtime/pool.h"

namespace native {

double measure_peak() {
  using Clock = std::chrono::steady_clock;
  constexpr long kRounds = 20'000;
  // A processor that was idle needs some of this to reach its clock, and threads to spread over the cores.
  constexpr std::chrono::milliseconds kLeast(300);
  struct alignas(64) Sink {
    float values[16] = {0.999f, 1.0f};
  };
  const int threads = pool::threads();
  std::vector<Sink> sinks(threads);
  const auto run = peak_table().multiply_add_f32;
  double best = 0;
  std::vector<long> operations(threads);
  const auto begin = Clock::now();
  while (Clock::now() - begin < kLeast) {
    const auto start = Clock::now();
    pool::parallel_for(threads, [&](int64_t t) { operations[t] = run(kRounds, sinks[t].values); });
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    double total = 0;
    for (long n : operations) total += static_cast<double>(n);
    best = std::max(best, total / seconds);
  }
  return best;
}

}  // namespace native
