// Activations of float32, as the CPU's kernels define them.
#pragma once

namespace native::cuda {

// NaN stays NaN, which fmaxf would swallow.
__device__ inline float relu(float x) { return x < 0 ? 0 : x; }
__device__ inline float sigmoid(float x) { return 1 / (1 + expf(-x)); }
__device__ inline float silu(float x) { return x * sigmoid(x); }
__device__ inline float gelu(float x) { return 0.5f * x * erfcf(-0.707106781186547524f * x); }
__device__ inline float gelu_tanh(float x) {
  // 0.5 x (1 + tanh(u)) is x sigmoid(2 u).
  return x * sigmoid(1.59576912160573071f * x * (1 + 0.044715f * x * x));
}

}  // namespace native::cuda
