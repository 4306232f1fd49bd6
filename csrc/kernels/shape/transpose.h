// What moving elements leaves to vectors: blocks of a transpose, rows of one value.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native {

struct TransposeTable {
  // dst[j][i] = src[i][j], i < along, j < across: row strides in bytes, rows themselves contiguous. `far`: no cache
  // keeps the result (is_far()).
  using Block = void (*)(const char* src, int64_t src_row, char* dst, int64_t dst_row, int64_t across, int64_t along,
                         bool far);
  Block block[4];  // of elements of 1, 2, 4 and 8 bytes
  // `bytes` of a pattern of elements of one value, no fewer than kShortestFill: past the caches if `far`.
  static constexpr int64_t kShortestFill = 64;
  void (*fill)(char* to, uint64_t pattern, int64_t bytes, bool far);
};

NATIVE_ISA_TABLE(TransposeTable, transpose_table)

}  // namespace native
