// Random numbers, bit by bit those of the CPU: Philox4x32-10, and floating point in which no product is
// contracted with a sum.
#include "kernels/device.cuh"
#include "kernels/philox.cuh"
#include "kernels/random/params.h"

namespace native::cuda::random {
namespace {

// Calls emit(at, words) for each block of the thread's: element at + 16 w is made of word w. `elements` is how
// many elements a group has.
template <int elements, class Emit>
__device__ inline void each_block(const Params& p, const Emit& emit) {
  const int64_t blocks = (p.count + elements - 1) / elements * kBlocks;
  for (int64_t b = blockIdx.x * int64_t{kThreads} + threadIdx.x; b < blocks; b += gridDim.x * int64_t{kThreads}) {
    const uint4 c = philox(p.key, b);
    const uint32_t words[4] = {c.x, c.y, c.z, c.w};
    emit(b / kBlocks * elements + b % kBlocks, words);
  }
}

__device__ inline float times(float a, float b) { return __fmul_rn(a, b); }
__device__ inline float plus(float a, float b) { return __fadd_rn(a, b); }

template <int n>
__device__ inline float horner(float x, const float (&c)[n]) {
  float y = c[n - 1];
#pragma unroll
  for (int i = n - 2; i >= 0; --i) y = plus(times(y, x), c[i]);
  return y;
}

// For x in [2^-33, 1].
__device__ inline float log_of(float x) {
  constexpr float c[] = {0.333333135f,  -0.250000089f, 0.200021178f,  -0.166679963f, 0.142195687f,
                         -0.124055758f, 0.118880577f,  -0.116757512f, 0.0674698576f};
  constexpr int32_t kSqrtHalf = 0x3f3504f3;
  const int32_t shifted = __float_as_int(x) - kSqrtHalf;
  const float e = static_cast<float>(shifted >> 23);
  const float f = plus(__int_as_float((shifted & 0x7fffff) + kSqrtHalf), -1.0f);
  const float square = times(f, f);
  float y = plus(times(times(f, square), horner(f, c)), times(e, -2.12194440e-4f));
  y = plus(y, -times(square, 0.5f));
  return plus(plus(f, y), times(e, 0.693359375f));
}

// Cosine and sine of 2 pi k / 2^24 for the signed number k in the upper 24 bits.
__device__ inline float2 circle(uint32_t word) {
  constexpr float s[] = {1.0f, -1.6666654611e-1f, 8.3321608736e-3f, -1.9515295891e-4f};
  constexpr float c[] = {1.0f, -0.5f, 4.166664568298827e-2f, -1.388731625493765e-3f, 2.443315711809948e-5f};
  const int32_t k = static_cast<int32_t>(word) >> 8, quarter = (k + (1 << 21)) >> 22;
  const float x = times(static_cast<float>(k - quarter * (1 << 22)), 3.14159265f * 0x1p-23f);
  const float square = times(x, x), sine = times(x, horner(square, s)), cosine = horner(square, c);
  const int32_t a = __float_as_int(quarter & 1 ? sine : cosine), b = __float_as_int(quarter & 1 ? cosine : sine);
  return {__int_as_float(a ^ (((quarter + 1) & 2) << 30)), __int_as_float(b ^ ((quarter & 2) << 30))};
}

__device__ inline float2 normal_pair(uint32_t first, uint32_t second) {
  // Half a step above 0: never the logarithm of 0.
  const float u = plus(times(static_cast<float>(static_cast<int32_t>(first >> 1)), 0x1p-31f), 0x1p-32f);
  const float radius = __fsqrt_rn(times(log_of(u), -2.0f));
  const float2 at = circle(second);
  return {times(radius, at.x), times(radius, at.y)};
}

// sqrt(2) erfinv(x), x uniform between +-erf(sqrt(2)).
__device__ inline float truncated_normal(uint32_t word) {
  constexpr float c[] = {1.50140941f,      0.246640727f,    -0.00417768164f, -0.00125372503f, 0.00021858087f,
                         -4.39150654e-06f, -3.5233877e-06f, 3.43273939e-07f, 2.81022636e-08f};
  const float centred = times(plus(static_cast<float>(static_cast<int32_t>(word) >> 9), 0.5f), 0x1p-22f);
  const float x = times(centred, 0.954499736f);
  const float w = plus(-2.5f, -log_of(times(plus(1.0f, -x), plus(1.0f, x))));
  const float y = times(times(x, horner(w, c)), 1.41421356f);
  return fminf(fmaxf(y, -2.0f), 2.0f);
}

__device__ inline void put(const Params& p, int64_t at, float value) {
  if (at < p.count) store_element(p.out, at, p.type, value);
}

template <class T>
__device__ inline void integers(const Params& p) {
  const T low = *static_cast<const T*>(p.low), high = *static_cast<const T*>(p.high);
  const uint64_t span = high > low ? static_cast<uint64_t>(high) - static_cast<uint64_t>(low) : 1;
  // An element takes two words.
  each_block<kWords / 2>(p, [&](int64_t at, const uint32_t (&words)[4]) {
    for (int half = 0; half < 2; ++half) {
      const uint64_t word = words[2 * half] | static_cast<uint64_t>(words[2 * half + 1]) << 32;
      const int64_t to = at + half * kBlocks;
      if (to < p.count)
        static_cast<T*>(p.out)[to] = static_cast<T>(static_cast<uint64_t>(low) + __umul64hi(word, span));
    }
  });
}

}  // namespace

#define KERNEL(name) extern "C" __global__ void __launch_bounds__(kThreads) name(const __grid_constant__ Params p)

KERNEL(random_bits) {
  each_block<kWords>(p, [&](int64_t at, const uint32_t (&words)[4]) {
    for (int w = 0; w < 4; ++w)
      if (at + w * kBlocks < p.count) static_cast<uint32_t*>(p.out)[at + w * kBlocks] = words[w];
  });
}
KERNEL(random_uniform) {
  const int bits = p.type == DataType::F16 ? 11 : p.type == DataType::BF16 ? 8 : 24;
  const float step = 1.0f / static_cast<float>(1 << bits);
  each_block<kWords>(p, [&](int64_t at, const uint32_t (&words)[4]) {
    for (int w = 0; w < 4; ++w)
      put(p, at + w * kBlocks, static_cast<float>(static_cast<int32_t>(words[w] >> (32 - bits))) * step);
  });
}
KERNEL(random_normal) {
  each_block<kWords>(p, [&](int64_t at, const uint32_t (&words)[4]) {
    for (int w = 0; w < 4; w += 2) {
      const float2 pair = normal_pair(words[w], words[w + 1]);
      put(p, at + w * kBlocks, pair.x);
      put(p, at + (w + 1) * kBlocks, pair.y);
    }
  });
}
KERNEL(random_truncated_normal) {
  each_block<kWords>(p, [&](int64_t at, const uint32_t (&words)[4]) {
    for (int w = 0; w < 4; ++w) put(p, at + w * kBlocks, truncated_normal(words[w]));
  });
}
KERNEL(random_bernoulli_scale) {
  each_block<kWords>(p, [&](int64_t at, const uint32_t (&words)[4]) {
    for (int w = 0; w < 4; ++w) {
      const int64_t i = at + w * kBlocks;
      if (i < p.count) put(p, i, words[w] >= p.threshold ? load_element(p.x, i, p.type) * p.scale : 0);
    }
  });
}
KERNEL(randint_int8) { integers<int8_t>(p); }
KERNEL(randint_int16) { integers<int16_t>(p); }
KERNEL(randint_int32) { integers<int32_t>(p); }
KERNEL(randint_int64) { integers<int64_t>(p); }
KERNEL(randint_uint8) { integers<uint8_t>(p); }
KERNEL(randint_uint16) { integers<uint16_t>(p); }
KERNEL(randint_uint32) { integers<uint32_t>(p); }
KERNEL(randint_uint64) { integers<uint64_t>(p); }

}  // namespace native::cuda::random
