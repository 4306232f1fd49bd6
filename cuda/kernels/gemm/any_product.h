// Products of floats by the kernels that take all sizes, addresses and GPUs.
#pragma once

#include <memory>

#include "kernels/activation.h"
#include "kernels/gemm/problem.h"
#include "runtime/registry.h"

namespace native::cuda::gemm {

// Null for other types, and for sizes that 32 bits do not count.
std::unique_ptr<Kernel> any_product(const Problem& problem, const native::gemm::Matrices& r, Activation activation);

}  // namespace native::cuda::gemm
