// Neighbouring elements that go to and from memory at once, as float32.
#pragma once

#include "kernels/device.cuh"

namespace native::cuda {

// Packs of four are for data whose address and channels are multiples of four elements.

template <int lanes>
struct Pack {
  float v[lanes];
};

__device__ inline Pack<4> load_four(const void* data, int64_t pack, DataType type) {
  if (type == DataType::F32) {
    const float4 x = static_cast<const float4*>(data)[pack];
    return {x.x, x.y, x.z, x.w};
  }
  const uint2 x = static_cast<const uint2*>(data)[pack];
  if (type == DataType::BF16)  // the upper half of a float32
    return {__uint_as_float(x.x << 16), __uint_as_float(x.x & 0xFFFF0000u), __uint_as_float(x.y << 16),
            __uint_as_float(x.y & 0xFFFF0000u)};
  const __half* h = reinterpret_cast<const __half*>(&x);
  return {__half2float(h[0]), __half2float(h[1]), __half2float(h[2]), __half2float(h[3])};
}

__device__ inline void store_four(void* data, int64_t pack, DataType type, const Pack<4>& x) {
  if (type == DataType::F32) {
    static_cast<float4*>(data)[pack] = {x.v[0], x.v[1], x.v[2], x.v[3]};
    return;
  }
  uint16_t bits[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    bits[i] = type == DataType::BF16 ? __bfloat16_as_ushort(__float2bfloat16_rn(x.v[i]))
                                     : __half_as_ushort(__float2half_rn(x.v[i]));
  static_cast<uint2*>(data)[pack] = {bits[0] | static_cast<uint32_t>(bits[1]) << 16,
                                     bits[2] | static_cast<uint32_t>(bits[3]) << 16};
}

template <int lanes>
__device__ inline Pack<lanes> load_pack(const void* data, int64_t pack, DataType type) {
  static_assert(lanes == 1 || lanes == 4);
  if constexpr (lanes == 1)
    return {load_element(data, pack, type)};
  else
    return load_four(data, pack, type);
}

template <int lanes>
__device__ inline void store_pack(void* data, int64_t pack, DataType type, const Pack<lanes>& x) {
  if constexpr (lanes == 1)
    store_element(data, pack, type, x.v[0]);
  else
    store_four(data, pack, type, x);
}

}  // namespace native::cuda
