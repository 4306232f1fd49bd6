// Bias, residual, activation and the write to memory.
#pragma once

#include "kernels/activation.cuh"
#include "kernels/device.cuh"
#include "kernels/gemm/params.h"

namespace native::cuda::gemm {

__device__ inline float activate(float x, Activation activation) {
  switch (activation) {
    case Activation::Relu:
      return relu(x);
    case Activation::Relu6:
      return relu6(x);
    case Activation::Gelu:
      return gelu(x);
    case Activation::GeluTanh:
      return gelu_tanh(x);
    case Activation::Silu:
      return silu(x);
    case Activation::Sigmoid:
      return sigmoid(x);
    case Activation::Tanh:
      return tanhf(x);
    default:
      return x;
  }
}

__device__ inline void finish(const Epilogue& e, void* c, int64_t at, int column, float value) {
  if (e.bias) value += load_element(e.bias, column, e.bias_type);
  if (e.residual) value += load_element(e.residual, at, e.out_type);
  store_element(c, at, e.out_type, activate(value, e.activation));
}

}  // namespace native::cuda::gemm
