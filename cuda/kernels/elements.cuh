// Elements of any dtype in memory as float or as 32-bit integers.
#pragma once

#include "kernels/device.cuh"

namespace native::cuda {

__device__ inline int32_t load_integer(const void* data, int64_t i, IntegerType type) {
  switch (type) {
    case IntegerType::I8:
      return static_cast<const int8_t*>(data)[i];
    case IntegerType::U8:
      return static_cast<const uint8_t*>(data)[i];
    case IntegerType::I16:
      return static_cast<const int16_t*>(data)[i];
    case IntegerType::U16:
      return static_cast<const uint16_t*>(data)[i];
    default:
      return static_cast<const int32_t*>(data)[i];
  }
}
__device__ inline void store_integer(void* data, int64_t i, IntegerType type, int32_t value) {
  switch (type) {
    case IntegerType::I8:
    case IntegerType::U8:
      static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(value);
      break;
    case IntegerType::I16:
    case IntegerType::U16:
      static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>(value);
      break;
    default:
      static_cast<int32_t*>(data)[i] = value;
  }
}

// What a reduction over threads is of.
struct Sum {
  template <class T>
  __device__ static T identity() {
    return 0;
  }
  template <class T>
  __device__ static T join(T a, T b) {
    return a + b;
  }
};
struct Product {
  template <class T>
  __device__ static T identity() {
    return 1;
  }
  template <class T>
  __device__ static T join(T a, T b) {
    return a * b;
  }
};
// A NaN in either operand is the result.
struct Maximum {
  template <class T>
  __device__ static T identity() {
    if constexpr (std::is_same_v<T, float>)
      return -INFINITY;
    else
      return INT32_MIN;
  }
  template <class T>
  __device__ static T join(T a, T b) {
    return a > b || a != a ? a : b;
  }
};
struct Minimum {
  template <class T>
  __device__ static T identity() {
    if constexpr (std::is_same_v<T, float>)
      return INFINITY;
    else
      return INT32_MAX;
  }
  template <class T>
  __device__ static T join(T a, T b) {
    return a < b || a != a ? a : b;
  }
};

// The join over `group` neighbouring threads (a warp, or the whole block), which all get it. `shared` has a
// word for each warp of the block.
template <class Op, int group, class T>
__device__ inline T join_group(T value, T* shared) {
  for (int by = 16; by; by /= 2) value = Op::join(value, __shfl_xor_sync(0xFFFFFFFFu, value, by));
  if constexpr (group > 32) {
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
    __syncthreads();
    value = shared[0];
    for (int w = 1; w < group / 32; ++w) value = Op::join(value, shared[w]);
    __syncthreads();
  }
  return value;
}

}  // namespace native::cuda
