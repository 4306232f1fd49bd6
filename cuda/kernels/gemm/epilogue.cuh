// Bias, residual, activation and the write to memory.
#pragma once

#include "kernels/activation.cuh"
#include "kernels/gemm/params.h"
#include "kernels/pack.cuh"

namespace native::cuda::gemm {

// The short ones.
template <int lanes>
__device__ inline void bound(Pack<lanes>& y, Activation activation) {
  const auto each = [&](auto f) {
#pragma unroll
    for (int i = 0; i < lanes; ++i) y.v[i] = f(y.v[i]);
  };
  if (activation == Activation::Relu) each([](float x) { return relu(x); });
  if (activation == Activation::Relu6) each([](float x) { return relu6(x); });
}
// The long ones are there once, or so many times, for all lanes, which take turns at the front: a kernel has this code
// for each of its slabs. few: instructions, for results of 16 bits.
template <int times = 1, bool few = false, int lanes>
__device__ inline void activate(Pack<lanes>& y, Activation activation) {
  const auto in_turn = [&](auto f) {
#pragma unroll 1
    for (int turn = 0; turn < lanes; turn += times) {
      float x[times];
#pragma unroll
      for (int i = 0; i < times; ++i) x[i] = f(y.v[i]);
#pragma unroll
      for (int i = times; i < lanes; ++i) y.v[i - times] = y.v[i];
#pragma unroll
      for (int i = 0; i < times; ++i) y.v[lanes - times + i] = x[i];
    }
  };
  switch (activation) {
    case Activation::Gelu:
      return in_turn([](float x) { return few ? coarse::gelu(x) : gelu(x); });
    case Activation::GeluTanh:
      return in_turn([](float x) { return few ? coarse::gelu_tanh(x) : gelu_tanh(x); });
    case Activation::Silu:
      return in_turn([](float x) { return few ? coarse::silu(x) : silu(x); });
    case Activation::Sigmoid:
      return in_turn([](float x) { return few ? coarse::sigmoid(x) : sigmoid(x); });
    case Activation::Tanh:
      return in_turn([](float x) { return few ? coarse::tanh(x) : tanhf(x); });
    default:
      return bound(y, activation);
  }
}

template <int lanes>
__device__ inline void add(Pack<lanes>& y, const void* data, int64_t pack, DataType type) {
  const Pack<lanes> x = load_pack<lanes>(data, pack, type);
#pragma unroll
  for (int i = 0; i < lanes; ++i) y.v[i] += x.v[i];
}

// `pack` counts packs of C, `column` those of a row.
template <int lanes>
__device__ inline void finish(const Epilogue& e, void* c, int64_t pack, int column, Pack<lanes> y) {
  if (e.bias) add(y, e.bias, column, e.bias_type);
  if (e.residual) add(y, e.residual, pack, e.out_type);
  activate(y, e.activation);
  store_pack<lanes>(c, pack, e.out_type, y);
}

// Whether rows of so many columns can be finished four at a time.
__device__ inline bool in_packs(const Epilogue& e, const void* c, int columns) {
  const auto all =
      reinterpret_cast<uintptr_t>(c) | reinterpret_cast<uintptr_t>(e.bias) | reinterpret_cast<uintptr_t>(e.residual);
  return columns % 4 == 0 && all % 16 == 0;
}
// f(i, y_i) in place of each, by code that stands here once: they take turns at the front.
template <class F>
__device__ inline void each_in_turn(Pack<4>& y, const F& f) {
#pragma unroll 1
  for (int i = 0; i < 4; ++i) y = {y.v[1], y.v[2], y.v[3], f(i, y.v[0])};
}
// Four neighbours from element `at` on, of which `there` are in the row.
__device__ inline void put(void* c, DataType type, bool in_packs, int64_t at, int there, Pack<4> y) {
  if (in_packs) return store_pack<4>(c, at / 4, type, y);
  each_in_turn(y, [&](int i, float x) {
    if (i < there) store_element(c, at + i, type, x);
    return x;
  });
}
// The same from the column on, finished.
__device__ inline void finish(const Epilogue& e, void* c, bool in_packs, int64_t at, int column, int there, Pack<4> y) {
  if (in_packs) {
    if (e.bias) add(y, e.bias, column / 4, e.bias_type);
    if (e.residual) add(y, e.residual, at / 4, e.out_type);
  } else {
    each_in_turn(y, [&](int i, float x) {
      if (e.bias && i < there) x += load_element(e.bias, column + i, e.bias_type);
      if (e.residual && i < there) x += load_element(e.residual, at + i, e.out_type);
      return x;
    });
  }
  activate(y, e.activation);
  put(c, e.out_type, in_packs, at, there, y);
}

}  // namespace native::cuda::gemm
