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
  const auto floats = [&](auto two) -> Pack<4> {
    const float2 low = two(x.x), high = two(x.y);
    return {low.x, low.y, high.x, high.y};
  };
  return type == DataType::BF16 ? floats(unpack<DataType::BF16>) : floats(unpack<DataType::F16>);
}

__device__ inline void store_four(void* data, int64_t at, DataType type, const Pack<4>& x) {
  if (type == DataType::F32) {
    static_cast<float4*>(data)[at] = {x.v[0], x.v[1], x.v[2], x.v[3]};
    return;
  }
  const auto halves = [&](auto two) -> uint2 { return {two(x.v[0], x.v[1]), two(x.v[2], x.v[3])}; };
  static_cast<uint2*>(data)[at] = type == DataType::BF16 ? halves(pack<DataType::BF16>) : halves(pack<DataType::F16>);
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
