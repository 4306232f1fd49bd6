#include "runtime/peak.h"

#include "simd/vec.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// An FMA takes 4 to 5 cycles and two start in each: 10 independent sums keep both units busy.
constexpr int kSums = 10;

long multiply_add_f32(long rounds, float* sink) {
  vf32 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = splat(static_cast<float>(i));
  // Values read at run time, or the loop would be evaluated by the compiler.
  const vf32 factor = splat(sink[0]), term = splat(sink[1]);
  for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 10
    for (int i = 0; i < kSums; ++i) sums[i] = sums[i] * factor + term;
  }
  vf32 total = sums[0];
  for (int i = 1; i < kSums; ++i) total += sums[i];
  sink[2] = reduce_add<float>(total);
  return rounds * kSums * kLanes<float> * 2;
}

}  // namespace

extern const PeakTable peak_table;
const PeakTable peak_table = {multiply_add_f32};

}  // namespace NATIVE_ISA
}  // namespace native
