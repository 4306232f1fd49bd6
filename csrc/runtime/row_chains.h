// Steps whose results' rows depend on the same rows alone, run as one grid: a thread takes its rows from the first step
// to the last. It waits for no other thread between them, and reads what it wrote itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/shape.h"
#include "runtime/registry.h"

namespace native {

struct BoundStep;

// Steps [first, end) of a plan.
struct RowChain {
  size_t first, end;
  int64_t rows;

  // How many parts of the rows are tasks for so many threads; 0 where the steps had better run one by one. Results do
  // not depend on it.
  int64_t parts(int threads) const { return threads > 1 && rows >= threads * kLeastRows ? threads : 0; }
  RowRange range(int64_t part, int64_t parts) const;

  // Rows of a part: fewer read the weights too often.
  static constexpr int64_t kLeastRows = 32;
};

// In order; none has fewer than two kernels, nor so large values that they would leave the caches between its steps.
// `specs`: of values.
std::vector<RowChain> find_row_chains(const std::vector<BoundStep>& steps, const std::vector<Spec>& specs);

}  // namespace native
