// Neighbouring elements that go to and from memory at once, as float32.
#pragma once

#include "kernels/device.cuh"

namespace native::cuda {

// Packs of four are for data whose address and channels are multiples of four elements.

template <int lanes>
struct Pack {
  float v[lanes];
};

template <int lanes>
__device__ inline Pack<lanes> load_pack(const void* data, int64_t pack, DataType type) {
  static_assert(lanes == 1 || lanes == 4);
  Pack<lanes> r;
  if constexpr (lanes == 1) {
    r.v[0] = load_element(data, pack, type);
  } else if (type == DataType::F32) {
    const float4 x = static_cast<const float4*>(data)[pack];
    r = {x.x, x.y, x.z, x.w};
  } else {
    const uint2 x = static_cast<const uint2*>(data)[pack];
    if (type == DataType::BF16) {  // the upper half of a float32
      r = {__uint_as_float(x.x << 16), __uint_as_float(x.x & 0xFFFF0000u), __uint_as_float(x.y << 16),
           __uint_as_float(x.y & 0xFFFF0000u)};
    } else {
      const __half* h = reinterpret_cast<const __half*>(&x);
#pragma unroll
      for (int i = 0; i < 4; ++i) r.v[i] = __half2float(h[i]);
    }
  }
  return r;
}

template <int lanes>
__device__ inline void store_pack(void* data, int64_t pack, DataType type, const Pack<lanes>& x) {
  if constexpr (lanes == 1) {
    store_element(data, pack, type, x.v[0]);
  } else if (type == DataType::F32) {
    static_cast<float4*>(data)[pack] = {x.v[0], x.v[1], x.v[2], x.v[3]};
  } else {
    uint2 bits;
    if (type == DataType::BF16) {
      __nv_bfloat16* h = reinterpret_cast<__nv_bfloat16*>(&bits);
#pragma unroll
      for (int i = 0; i < 4; ++i) h[i] = __float2bfloat16_rn(x.v[i]);
    } else {
      __half* h = reinterpret_cast<__half*>(&bits);
#pragma unroll
      for (int i = 0; i < 4; ++i) h[i] = __float2half_rn(x.v[i]);
    }
    static_cast<uint2*>(data)[pack] = bits;
  }
}

}  // namespace native::cuda
