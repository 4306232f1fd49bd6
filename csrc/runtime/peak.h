// What the machine's multipliers can do at best: a loop of fused multiply-adds that touches no memory.
// Speeds are reported as shares of it, because a clock rate read from a file says little about a shared
// or throttled processor.
#pragma once

#include "runtime/cpu.h"

namespace native {

struct PeakTable {
  // Floating-point operations of one call with that many rounds; `sink` keeps the loop from vanishing.
  long (*multiply_add_f32)(long rounds, float* sink);
};
NATIVE_ISA_TABLE(PeakTable, peak_table)

// float32 operations a second of all threads of the pool together, measured in about 20 ms.
double measure_peak();

}  // namespace native
