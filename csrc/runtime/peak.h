// What the machine can do at best: loops of multiply-adds that touch no memory, and a sum that does nothing else.
// Speeds are reported as shares of them, because a clock rate read from a file says little about a shared or
// throttled processor.
#pragma once

#include "core/dtype.h"
#include "runtime/cpu.h"

namespace native {

struct PeakTable {
  // Operations of one call with that many rounds; `sink`, 16 numbers, keeps the loop from vanishing.
  using Loop = long (*)(long rounds, float* sink);
  Loop multiply_add_f32, multiply_add_f64;
  Loop dot_bf16, dot_i8;  // null where the processor has no such instruction
  // c = a + b; whole vectors, aligned to them.
  void (*add)(const float* a, const float* b, float* c, long count);
};
NATIVE_BF16_TABLE(PeakTable, peak_table)

// Operations a second of all threads of the pool together, on operands of that type and sums as wide as kernels keep
// them. A type without instructions of its own has the peak of float32, by way of which it is computed.
// Takes 0.3 s.
double measure_peak(DType dtype = DType::F32);

// Bytes a second that all threads together read and write, adding arrays that are larger than the caches: two read,
// one written. Takes 0.3 s and 192 MB, for which it throws std::bad_alloc.
double measure_stream();

// Seconds until a cache line that another thread has been told to write comes back written: some 50 nanoseconds where
// two processors share a cache, 300 where they do not, and what kernels hand on to one another costs the more. A
// virtual machine moves from the one to the other. The least of 50 ms.
double measure_round_trip();

}  // namespace native
