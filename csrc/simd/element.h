// Any floating element as vectors of the type it is computed in: float for float16, bfloat16 and float32,
// double for float64. Included by *.simd.cpp units only.
#pragma once

#include "simd/vec.h"

namespace native {
namespace {

struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

template <class T>
struct WideOf {
  typedef float type;
};
template <>
struct WideOf<double> {
  typedef double type;
};
template <class T>
using Wide = typename WideOf<T>::type;

// 16-bit vectors with as many lanes as a vector of floats.
typedef uint16_t vu16h __attribute__((vector_size(NATIVE_VEC_BYTES / 2)));
typedef uint16_t vu16h_loose __attribute__((vector_size(NATIVE_VEC_BYTES / 2), aligned(2), may_alias));

static inline vf32 as_float(vu32 bits) { return reinterpret_cast<vf32>(bits); }
static inline vu32 as_bits(vf32 x) { return reinterpret_cast<vu32>(x); }

static inline vu32 load_u16(const void* p) {
  return __builtin_convertvector(static_cast<vu16h>(*static_cast<const vu16h_loose*>(p)), vu32);
}
static inline void store_u16(void* p, vu32 bits) {
  *static_cast<vu16h_loose*>(p) = __builtin_convertvector(bits, vu16h);
}

static inline vf32 widen(vu32 bits, BFloat) { return as_float(bits << 16); }
// Round to nearest even; a NaN keeps its sign and becomes quiet.
static inline vu32 narrow_any(vf32 x) {
  const vu32 bits = as_bits(x);
  const vu32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return (x != x) ? ((bits >> 16) | 0x40u) : rounded;
}
#if defined(__AVX512BF16__)
// The instruction does the same but for subnormal numbers, which it takes for zero.
static inline bool has_subnormal(vf32 x) { return __builtin_expect(_mm512_fpclass_ps_mask((__m512)x, 0x20) != 0, 0); }
static inline vu32 narrow(vf32 x, BFloat) {
  if (has_subnormal(x)) return narrow_any(x);
  return (vu32)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)x));
}
static inline void vstore(BFloat* p, vf32 x) {
  if (has_subnormal(x)) return store_u16(p, narrow_any(x));
  _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(p), (__m256i)_mm512_cvtneps_pbh((__m512)x));
}
#else
static inline vu32 narrow(vf32 x, BFloat) { return narrow_any(x); }
#endif

// The product by 2^112 moves the exponent's bias and makes subnormals normal.
static inline vf32 widen(vu32 bits, Half) {
  const vu32 magnitude = bits & 0x7fffu;
  const vf32 value = as_float(magnitude << 13) * 0x1p112f;
  const vu32 special = (magnitude << 13) | 0x7f800000u;
  const vu32 chosen = (magnitude >= 0x7c00u) ? special : as_bits(value);
  return as_float(chosen | ((bits & 0x8000u) << 16));
}
// Round to nearest even: adding 0.5 makes the FPU round subnormal results at the right bit; for normal
// ones the bias is moved in integers and the carry may run into the exponent, up to infinity.
static inline vu32 narrow(vf32 x, Half) {
  const vu32 bits = as_bits(x), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  const vu32 subnormal = as_bits(as_float(magnitude) + 0.5f) - 0x3f000000u;
  const vu32 normal = (magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13;
  vu32 result = (magnitude < 0x38800000u) ? subnormal : normal;
  result = (magnitude >= 0x47800000u) ? (vu32{} + 0x7c00u) : result;
  result = (magnitude > 0x7f800000u) ? (vu32{} + 0x7e00u) : result;
  return result | sign;
}

static inline vf32 vload(const float* p) { return load(p); }
static inline vf64 vload(const double* p) { return load(p); }
static inline void vstore(float* p, vf32 v) { store(p, v); }
static inline void vstore(double* p, vf64 v) { store(p, v); }
template <class T>
static inline vf32 vload(const T* p) {
  return widen(load_u16(p), T{});
}
template <class T>
static inline void vstore(T* p, vf32 v) {
  store_u16(p, narrow(v, T{}));
}

// Single elements.
static inline float get(const float* p) { return *p; }
static inline double get(const double* p) { return *p; }
static inline void put(float* p, float x) { *p = x; }
static inline void put(double* p, double x) { *p = x; }
template <class T>
static inline float get(const T* p) {
  return widen(vu32{} + uint32_t{p->bits}, T{})[0];
}
template <class T>
static inline void put(T* p, float x) {
  p->bits = static_cast<uint16_t>(narrow(vf32{} + x, T{})[0]);
}

}  // namespace
}  // namespace native
