// Vectors of NATIVE_VEC_BYTES bytes by the compilers' vector extensions, the same source for every
// instruction set. Included by *.simd.cpp units only, inside no namespace; everything here has internal
// linkage so that no copy compiled for one instruction set is ever merged with that of another.
// With FMA enabled, a * b + c contracts to one instruction (-ffp-contract=fast).
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifndef NATIVE_VEC_BYTES
#define NATIVE_VEC_BYTES 16
#endif

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && NATIVE_VEC_BYTES == 64
#define NATIVE_MASKS 1
#else
#define NATIVE_MASKS 0
#endif

namespace native {
namespace {

constexpr int kVecBytes = NATIVE_VEC_BYTES;

template <class T>
struct VecOf {
  typedef T type __attribute__((vector_size(NATIVE_VEC_BYTES)));
  typedef T loose __attribute__((vector_size(NATIVE_VEC_BYTES), aligned(alignof(T)), may_alias));
};
template <class T>
using Vec = typename VecOf<T>::type;

using vf32 = Vec<float>;
using vf64 = Vec<double>;
using vi32 = Vec<int32_t>;
using vu32 = Vec<uint32_t>;
using vi64 = Vec<int64_t>;
using vu64 = Vec<uint64_t>;

template <class T>
constexpr int kLanes = NATIVE_VEC_BYTES / static_cast<int>(sizeof(T));

template <class T>
static inline Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename VecOf<T>::loose*>(p);
}
template <class T>
static inline void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename VecOf<T>::loose*>(p) = v;
}
template <class T>
static inline Vec<T> splat(T x) {
  return x - Vec<T>{};  // x - 0 is x for every x, so no subtraction is left; 0 + x would not be (-0)
}
// The first n lanes, the others zero.
template <class T>
static inline Vec<T> load_part(const T* p, int n) {
#if NATIVE_MASKS
  const unsigned lanes_read = (1u << n) - 1;
  if constexpr (sizeof(T) == 4) return (Vec<T>)_mm512_maskz_loadu_epi32(static_cast<__mmask16>(lanes_read), p);
  if constexpr (sizeof(T) == 8) return (Vec<T>)_mm512_maskz_loadu_epi64(static_cast<__mmask8>(lanes_read), p);
#endif
  T lanes[kLanes<T>] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
template <class T>
static inline void store_part(T* p, Vec<T> v, int n) {
#if NATIVE_MASKS
  const unsigned lanes_written = (1u << n) - 1;
  if constexpr (sizeof(T) == 4) return _mm512_mask_storeu_epi32(p, static_cast<__mmask16>(lanes_written), (__m512i)v);
  if constexpr (sizeof(T) == 8) return _mm512_mask_storeu_epi64(p, static_cast<__mmask8>(lanes_written), (__m512i)v);
#endif
  T lanes[kLanes<T>];
  store(lanes, v);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
// The larger and the smaller; b where either is NaN, or both are zeros. Compilers make a comparison and a choice of
// that, although it is what one instruction does.
template <class V>
static inline V vmax(V a, V b) {
  return a > b ? a : b;
}
template <class V>
static inline V vmin(V a, V b) {
  return a < b ? a : b;
}
#if NATIVE_MASKS
static inline vf32 vmax(vf32 a, vf32 b) { return (vf32)_mm512_max_ps((__m512)a, (__m512)b); }
static inline vf64 vmax(vf64 a, vf64 b) { return (vf64)_mm512_max_pd((__m512d)a, (__m512d)b); }
static inline vf32 vmin(vf32 a, vf32 b) { return (vf32)_mm512_min_ps((__m512)a, (__m512)b); }
static inline vf64 vmin(vf64 a, vf64 b) { return (vf64)_mm512_min_pd((__m512d)a, (__m512d)b); }
#elif defined(__AVX2__) && NATIVE_VEC_BYTES == 32
static inline vf32 vmax(vf32 a, vf32 b) { return (vf32)_mm256_max_ps((__m256)a, (__m256)b); }
static inline vf64 vmax(vf64 a, vf64 b) { return (vf64)_mm256_max_pd((__m256d)a, (__m256d)b); }
static inline vf32 vmin(vf32 a, vf32 b) { return (vf32)_mm256_min_ps((__m256)a, (__m256)b); }
static inline vf64 vmin(vf64 a, vf64 b) { return (vf64)_mm256_min_pd((__m256d)a, (__m256d)b); }
#elif defined(__SSE2__) && NATIVE_VEC_BYTES == 16
static inline vf32 vmax(vf32 a, vf32 b) { return (vf32)_mm_max_ps((__m128)a, (__m128)b); }
static inline vf64 vmax(vf64 a, vf64 b) { return (vf64)_mm_max_pd((__m128d)a, (__m128d)b); }
static inline vf32 vmin(vf32 a, vf32 b) { return (vf32)_mm_min_ps((__m128)a, (__m128)b); }
static inline vf64 vmin(vf64 a, vf64 b) { return (vf64)_mm_min_pd((__m128d)a, (__m128d)b); }
#endif
#if NATIVE_MASKS
// Masked forms, since GCC 12 warns of the plain ones.
static inline __m256 lower_half(vf32 v) { return (__m256)_mm512_maskz_extractf64x4_pd(0xf, (__m512d)v, 0); }
static inline __m256 upper_half(vf32 v) { return (__m256)_mm512_maskz_extractf64x4_pd(0xf, (__m512d)v, 1); }
#endif
// Halves joined until one lane is left: a fixed binary tree.
template <class T, class Join>
static inline T reduce(Vec<T> v, const Join& join) {
#if defined(__AVX2__) && (NATIVE_MASKS || NATIVE_VEC_BYTES == 32)
  // The same without a way through memory.
  if constexpr (__is_same(T, float)) {
#if NATIVE_MASKS
    const __m256 half = join(lower_half(v), upper_half(v));
#else
    const __m256 half = (__m256)v;
#endif
    __m128 rest = join(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    rest = join(rest, _mm_movehl_ps(rest, rest));
    return static_cast<T>(join(rest, _mm_movehdup_ps(rest))[0]);
  }
#endif
  T lanes[kLanes<T>];
  store(lanes, v);
  for (int width = kLanes<T> / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] = join(lanes[i], lanes[i + width]);
  return lanes[0];
}
template <class T>
static inline T reduce_add(Vec<T> v) {
  return reduce<T>(v, [](auto a, auto b) { return a + b; });
}
template <class T>
static inline T reduce_max(Vec<T> v) {
  return reduce<T>(v, [](auto a, auto b) { return a > b ? a : b; });
}

}  // namespace
}  // namespace native
