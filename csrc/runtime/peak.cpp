#include "runtime/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "core/array.h"
#include "runtime/pool.h"

namespace native {
namespace {

using Clock = std::chrono::steady_clock;

// The most that one run of `work`, which returns what it did, did in a second. A processor that was idle needs some
// time to reach its clock, and threads to spread over the cores.
template <class F>
double best_rate(const F& work) {
  constexpr std::chrono::milliseconds kLeast(300);
  double best = 0;
  const auto begin = Clock::now();
  while (Clock::now() - begin < kLeast) {
    const auto start = Clock::now();
    const double done = work();
    best = std::max(best, done / std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

PeakTable::Loop loop_of(DType dtype) {
  const PeakTable& table = peak_table();
  if (dtype == DType::F64) return table.multiply_add_f64;
  if (dtype == DType::BF16 && table.dot_bf16) return table.dot_bf16;
  if ((dtype == DType::I8 || dtype == DType::U8) && table.dot_i8) return table.dot_i8;
  return table.multiply_add_f32;
}

}  // namespace

double measure_peak(DType dtype) {
  constexpr long kRounds = 20'000;
  struct alignas(64) Sink {
    float values[16] = {0.999f, 1.0f};
  };
  const int threads = pool::threads();
  std::vector<Sink> sinks(threads);
  std::vector<long> operations(threads);
  const auto loop = loop_of(dtype);
  return best_rate([&] {
    pool::parallel_for(threads, [&](int64_t t) { operations[t] = loop(kRounds, sinks[t].values); });
    double total = 0;
    for (long n : operations) total += static_cast<double>(n);
    return total;
  });
}

double measure_stream() {
  constexpr int64_t kCount = 16 << 20, kPiece = 1 << 18;
  const Buffer memory(cpu_device(), 3 * kCount * sizeof(float));
  float *const a = static_cast<float*>(memory.data()), *const b = a + kCount, *const c = b + kCount;
  std::fill_n(a, 3 * kCount, 1.0f);
  const auto add = peak_table().add;
  return best_rate([&] {
    pool::parallel_for(kCount / kPiece, [&](int64_t piece) {
      const int64_t at = piece * kPiece;
      add(a + at, b + at, c + at, kPiece);
    });
    return 3.0 * kCount * sizeof(float);
  });
}

double measure_round_trip() {
  constexpr int kRounds = 16, kStop = -1;
  struct alignas(64) Line {
    std::atomic<int> value{0};
  } line;  // even: written by the other thread; odd: by this one
  std::thread other([&] {
    for (int seen = 0; seen != kStop; seen = line.value.load())
      if (seen % 2 == 1) line.value.store(seen + 1);
  });
  double least = 1;
  const auto begin = Clock::now();
  for (auto start = begin; start - begin < std::chrono::milliseconds(50);) {
    for (int i = 0; i < kRounds; ++i) {
      line.value.store(1);
      while (line.value.load() == 1) continue;
    }
    const auto end = Clock::now();
    least = std::min(least, std::chrono::duration<double>(end - start).count() / kRounds);
    start = end;
  }
  line.value.store(kStop);
  other.join();
  return least;
}

}  // namespace native
