// The batch of a product, as its launch is told.
#pragma once

#include <array>
#include <vector>

#include "kernels/gemm/params.h"
#include "kernels/gemm/problem.h"

namespace native::cuda::gemm {

// The leading axes of both operands as one batch, axes merged where both strides allow; false if there are
// too many left.
inline bool batch_of(const Problem& problem, const native::gemm::Matrices& r, Batch* batch) {
  const Shape &a = problem.in[0].shape, &b = problem.in[1].shape, &c = problem.out[0].shape;
  *batch = {};
  int64_t stride_a = r.m * r.k, stride_b = r.k * r.n;
  std::vector<std::array<int64_t, 3>> axes;  // innermost first: size, stride in A, stride in B
  for (size_t i = 3; i <= c.size() && r.batch > 1; ++i) {
    const int64_t size = c[c.size() - i];
    const int64_t in_a = i <= a.size() ? a[a.size() - i] : 1, in_b = i <= b.size() ? b[b.size() - i] : 1;
    const int64_t step_a = in_a == 1 ? 0 : stride_a, step_b = in_b == 1 ? 0 : stride_b;
    stride_a *= in_a;
    stride_b *= in_b;
    if (size == 1) continue;
    if (!axes.empty() && step_a == axes.back()[0] * axes.back()[1] && step_b == axes.back()[0] * axes.back()[2])
      axes.back()[0] *= size;
    else
      axes.push_back({size, step_a, step_b});
  }
  if (axes.size() > kBatchDims) return false;
  batch->dims = static_cast<int>(axes.size());
  for (int d = 0; d < batch->dims; ++d) {
    const auto& [size, step_a, step_b] = axes[axes.size() - 1 - d];
    batch->size[d] = static_cast<int>(size);
    batch->a[d] = step_a;
    batch->b[d] = step_b;
  }
  return true;
}

}  // namespace native::cuda::gemm
