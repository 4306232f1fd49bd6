// What the primitives matmul and linear ask for, as sizes of matrix products.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "runtime/registry.h"

namespace native::gemm {

struct Matrices {
  int64_t m, n, k;
  bool transpose_a, transpose_b;
  // For each product of the batch, which matrix of A and of B.
  std::vector<int64_t> index_a, index_b;
  int64_t batch;
};

Matrices matmul_matrices(const Problem& problem);
Matrices linear_matrices(const Problem& problem);

// The attribute `activation` of linear; nullopt for one that no kernel has.
std::optional<Activation> activation_of(const Problem& problem);

}  // namespace native::gemm
