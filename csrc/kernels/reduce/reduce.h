// Tables of the reduction kernels. All of them see operands collapsed to [outer, reduced, inner].
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/cpu.h"

namespace native {

enum class ReduceOp { Sum, Prod, Max, Min };
inline constexpr int kReduceOps = 4;
// In the order of DType, up to F64; Bool is reduced as uint8.
inline constexpr int kReduceTypes = 13;

// Results have the accumulator's type: float for the narrow floats, otherwise the element's own.
struct ReduceTable {
  // out[i] = x[i * n] + ... + x[i * n + n - 1] (or another operation) for i < count.
  using Rows = void (*)(const void* x, int64_t count, int64_t n, void* out);
  // out[j] = x[j] + x[ld + j] + ... over `rows` rows, for j < width.
  using Columns = void (*)(const void* x, int64_t rows, int64_t ld, int64_t width, void* out);
  // Position of the first element of x[0, n) equal to *value (to a NaN: the first NaN); n if none is.
  using Find = int64_t (*)(const void* x, int64_t n, const void* value);
  // Position of the largest (smallest) of each column, with the largest itself in `best`.
  using FindColumns = void (*)(const void* x, int64_t rows, int64_t ld, int64_t width, void* best, int32_t* at);

  Rows rows[kReduceOps][kReduceTypes];
  Columns columns[kReduceOps][kReduceTypes];
  Find find[kReduceTypes];
  FindColumns find_columns[2][kReduceTypes];  // maximum, minimum
};

// Reductions with two results, floating point only: mean and sum of squared deviations (moments), or a finite
// shift and the sum of exp(x - shift). Columns come in strips of at most kPairWidth.
inline constexpr int64_t kPairWidth = 512;
struct PairTable {
  using Rows = void (*)(const void* x, int64_t count, int64_t n, double* first, double* second);
  using Columns = void (*)(const void* x, int64_t rows, int64_t ld, int64_t width, double* first, double* second);
  Rows moments_rows[kReduceTypes], logsumexp_rows[kReduceTypes];
  Columns moments_columns[kReduceTypes], logsumexp_columns[kReduceTypes];
};

// Running reductions along the middle axis of [outer, n, inner]: step is the distance of neighbours
// (negative from the end), `width` <= kScanWidth columns side by side; x and y at their first element.
inline constexpr int64_t kScanWidth = 256;
struct ScanTable {
  using Scan = void (*)(const void* x, int64_t n, int64_t step, int64_t width, void* y);
  using Recurrence = void (*)(const void* a, const void* b, int64_t n, int64_t step, int64_t width, void* y);
  Scan scan[kReduceOps][kReduceTypes];
  Recurrence recurrence[kReduceTypes];
};

NATIVE_ISA_TABLE(ReduceTable, reduce_table)
NATIVE_ISA_TABLE(PairTable, pair_table)
NATIVE_BF16_TABLE(ScanTable, scan_table)

}  // namespace native
