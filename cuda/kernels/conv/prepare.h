// What every kernel of convolutions as products asks of a problem.
#pragma once

#include <memory>

#include "kernels/conv/choice.h"
#include "kernels/conv/geometry.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"

namespace native::cuda::conv {

// A `Made` of the problem, if all operands are of one type that products have and `fits` takes its sizes.
template <class Made, Direction direction, bool (*fits)(const native::conv::Geometry&)>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const DType dtype = problem.in[0].dtype;
  const auto type = data_type(dtype);
  const auto g = native::conv::geometry_of(problem);
  if (!type || !g || !fits(*g)) return nullptr;
  for (const Spec& spec : problem.in)
    if (spec.dtype != dtype) return nullptr;
  const auto kind = gemm::kind_of(*type == DataType::F32 && gemm::tf32_wanted() ? DataType::TF32 : *type);
  return std::make_unique<Made>(*g, direction, kind, *type, native::conv::activation_of(problem), problem.in.size());
}

}  // namespace native::cuda::conv
