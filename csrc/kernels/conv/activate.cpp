#include "kernels/conv/activate.h"

#include <cmath>

#include "kernels/gemm/gemm.h"

namespace native::conv {
namespace {

double activated(double z, Activation activation) {
  switch (activation) {
    case Activation::Sigmoid:
      return 1 / (1 + std::exp(-z));
    case Activation::Tanh:
      return std::tanh(z);
    case Activation::Silu:
      return z / (1 + std::exp(-z));
    case Activation::Gelu:
      return 0.5 * z * std::erfc(-z * std::sqrt(0.5));
    case Activation::GeluTanh:
      return 0.5 * z * (1 + std::tanh(0.7978845608028654 * (z + 0.044715 * z * z * z)));
    default:
      return z;
  }
}

}  // namespace

template <>
void finish<float>(Activation activation, int64_t rows, int64_t columns, float* first, int64_t row) {
  if (activation > Activation::Relu6) gemm_table().f32.finish(rows, columns, first, row, {.activation = activation});
}

template <>
void finish<double>(Activation activation, int64_t rows, int64_t columns, double* first, int64_t row) {
  if (activation <= Activation::Relu6) return;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) first[r * row + c] = activated(first[r * row + c], activation);
}

}  // namespace native::conv
