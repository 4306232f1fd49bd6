#include "kernels/conv/winograd.h"

#include "simd/element.h"

namespace native::conv {
namespace NATIVE_ISA {
namespace {

// One lane or a vector of them, so that the last channels take the same formulas.
inline const float* elements(const float* p) { return p; }
inline float* elements(float* p) { return p; }
inline const BFloat* elements(const uint16_t* p) { return reinterpret_cast<const BFloat*>(p); }
inline BFloat* elements(uint16_t* p) { return reinterpret_cast<BFloat*>(p); }

template <class V, class T>
inline V read(const T* p) {
  if constexpr (sizeof(V) == sizeof(float))
    return get(elements(p));
  else
    return vload(elements(p));
}
template <class T>
inline void write(T* p, float v) {
  put(elements(p), v);
}
template <class T>
inline void write(T* p, vf32 v) {
  vstore(elements(p), v);
}

// Transformed values; the dot instructions that take narrow ones treat subnormal numbers as zero themselves.
template <class V>
inline void write_value(float* p, V v) {
  write(p, v);
}
inline void write_value(uint16_t* p, float v) { write(p, v); }
inline void write_value(uint16_t* p, vf32 v) {
#if defined(__AVX512BF16__)
  _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(p), (__m256i)_mm512_cvtneps_pbh((__m512)v));
#else
  write(p, v);
#endif
}

// The transforms of one dimension, of a square of results of side S.
template <int S>
struct Line;

template <>
struct Line<2> {
  template <class V>
  static inline void input(const V* d, V* t) {
    t[0] = d[0] - d[2];
    t[1] = d[1] + d[2];
    t[2] = d[2] - d[1];
    t[3] = d[1] - d[3];
  }
  template <class V>
  static inline void weight(const V* g, V* t) {
    const V even = 0.5f * (g[0] + g[2]), odd = 0.5f * g[1];
    t[0] = g[0];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = g[2];
  }
  template <class V>
  static inline void output(const V* m, V* y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
  }
  // The adjoint of `output`.
  template <class V>
  static inline void cotangent(const V* y, V* t) {
    t[0] = y[0];
    t[1] = y[0] + y[1];
    t[2] = y[0] - y[1];
    t[3] = -y[1];
  }
  // The adjoint of `weight`.
  template <class V>
  static inline void weight_back(const V* u, V* g) {
    const V even = 0.5f * (u[1] + u[2]);
    g[0] = u[0] + even;
    g[1] = 0.5f * (u[1] - u[2]);
    g[2] = even + u[3];
  }
};

template <>
struct Line<4> {
  static constexpr float kHalf = 0.70710678f, kTwo = 1.41421356f;  // roots, the points

  template <class V>
  static inline void input(const V* d, V* t) {
    const V even = d[4] - 2.0f * d[2], odd = kHalf * d[3] - kTwo * d[1];
    const V even2 = d[4] - 0.5f * d[2], odd2 = kTwo * d[3] - kHalf * d[1];
    t[0] = (d[0] + d[4]) - 2.5f * d[2];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = even2 + odd2;
    t[4] = even2 - odd2;
    t[5] = (d[1] + d[5]) - 2.5f * d[3];
  }
  template <class V>
  static inline void weight(const V* g, V* t) {
    const V even = (-2 / 3.0f) * (g[0] + 0.5f * g[2]), odd = (-2 / 3.0f * kHalf) * g[1];
    const V even2 = (1 / 6.0f) * (g[0] + 2.0f * g[2]), odd2 = (1 / 6.0f * kTwo) * g[1];
    t[0] = g[0];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = even2 + odd2;
    t[4] = even2 - odd2;
    t[5] = g[2];
  }
  template <class V>
  static inline void output(const V* m, V* y) {
    const V even = m[1] + m[2], odd = kHalf * (m[1] - m[2]);
    const V even2 = m[3] + m[4], odd2 = kTwo * (m[3] - m[4]);
    y[0] = m[0] + even + even2;
    y[1] = odd + odd2;
    y[2] = 0.5f * even + 2.0f * even2;
    y[3] = 0.5f * odd + 2.0f * odd2 + m[5];
  }
  template <class V>
  static inline void cotangent(const V* y, V* t) {
    const V even = y[0] + 0.5f * y[2], odd = kHalf * (y[1] + 0.5f * y[3]);
    const V even2 = y[0] + 2.0f * y[2], odd2 = kTwo * (y[1] + 2.0f * y[3]);
    t[0] = y[0];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = even2 + odd2;
    t[4] = even2 - odd2;
    t[5] = y[3];
  }
  template <class V>
  static inline void weight_back(const V* u, V* g) {
    const V even = (-2 / 3.0f) * (u[1] + u[2]), even2 = (1 / 6.0f) * (u[3] + u[4]);
    g[0] = u[0] + even + even2;
    g[1] = (-2 / 3.0f * kHalf) * (u[1] - u[2]) + (1 / 6.0f * kTwo) * (u[3] - u[4]);
    g[2] = 0.5f * even + 2.0f * even2 + u[5];
  }
};

// A line's transform of columns and then of rows: from(i, j) is read once for each element, to(i, j, x) takes each
// result.
// What is captured by reference would be loaded again behind every store.
template <int In, int Out, class V, class F, class From, class To>
[[gnu::always_inline]] inline void both_ways(F line, From from, To to) {
  V t[Out][In];
#pragma GCC unroll 6
  for (int j = 0; j < In; ++j) {
    V column[In], done[Out];
#pragma GCC unroll 6
    for (int i = 0; i < In; ++i) column[i] = from(i, j);
    line(column, done);
#pragma GCC unroll 6
    for (int i = 0; i < Out; ++i) t[i][j] = done[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < Out; ++i) {
    V done[Out];
    line(t[i], done);
#pragma GCC unroll 6
    for (int j = 0; j < Out; ++j) to(i, j, done[j]);
  }
}

// body(V{}, c) for vectors of channels and then for single ones.
template <class F>
[[gnu::always_inline]] inline void for_channels(int64_t channels, F body) {
  int64_t c = 0;
  for (; c + kLanes<float> <= channels; c += kLanes<float>) body(vf32{}, c);
  for (; c < channels; ++c) body(float{}, c);
}

template <int S, class T, class Value>
void input(const T* const* source, int64_t channels, Value* value, int64_t pitch) {
  constexpr int N = winograd_patch(S);
  for_channels(channels, [=]<class V>(V, int64_t c) __attribute__((always_inline)) {
    both_ways<N, N, V>([](const V* d, V* t) { Line<S>::input(d, t); },
                       [=](int i, int j) { return read<V>(source[N * i + j] + c); },
                       [=](int i, int j, V x) { write_value(value + (N * i + j) * pitch + c, x); });
  });
}

template <int S, class T, class Value>
void weight(const T* w, int64_t tap_pitch, int64_t channels, Value* value, int64_t pitch) {
  constexpr int N = winograd_patch(S);
  for_channels(channels, [=]<class V>(V, int64_t c) __attribute__((always_inline)) {
    both_ways<3, N, V>([](const V* g, V* t) { Line<S>::weight(g, t); },
                       [=](int i, int j) { return read<V>(w + (3 * i + j) * tap_pitch + c); },
                       [=](int i, int j, V x) { write_value(value + (N * i + j) * pitch + c, x); });
  });
}

template <class V>
inline V activated(V x, int activation) {
  const V zero{};
  // In this order NaN passes through both.
  if (activation > 0) x = zero > x ? zero : x;
  if (activation == 2) x = (zero + 6.0f) < x ? (zero + 6.0f) : x;
  return x;
}

template <int S, class T>
void output(const float* value, int64_t pitch, int64_t channels, const T* bias, const T* const* residual,
            int activation, T* const* result) {
  constexpr int N = winograd_patch(S);
  for_channels(channels, [=]<class V>(V, int64_t c) __attribute__((always_inline)) {
    const V b = bias ? read<V>(bias + c) : V{};
    both_ways<N, S, V>([](const V* m, V* y) { Line<S>::output(m, y); },
                       [=](int i, int j) { return read<V>(value + (N * i + j) * pitch + c); },
                       [=](int i, int j, V x) {
                         const int pixel = S * i + j;
                         if (!result[pixel]) return;
                         x += b;
                         if (residual) x += read<V>(residual[pixel] + c);
                         write(result[pixel] + c, activated(x, activation));
                       });
  });
}

// NaN if either is.
inline vf32 larger(vf32 a, vf32 b) { return ((a > b) | (a != a)) ? a : b; }
inline float larger(float a, float b) { return a > b || a != a ? a : b; }

template <int S, class T>
void largest(const float* value, int64_t pitch, int64_t channels, const T* bias, int activation, T* result) {
  constexpr int N = winograd_patch(S);
  for_channels(channels, [=]<class V>(V, int64_t c) __attribute__((always_inline)) {
    V y[S * S];
    both_ways<N, S, V>([](const V* m, V* t) { Line<S>::output(m, t); },
                       [=](int i, int j) { return read<V>(value + (N * i + j) * pitch + c); },
                       [&](int i, int j, V x) __attribute__((always_inline)) { y[S * i + j] = x; });
    V best = y[0];
#pragma GCC unroll 16
    for (int i = 1; i < S * S; ++i) best = larger(best, y[i]);
    // Rounding does not change which sum is the largest.
    if (bias) best += read<V>(bias + c);
    write(result + c, activated(best, activation));
  });
}

template <int S, class T, class Value>
void cotangent(const T* const* ct, int64_t channels, Value* value, int64_t pitch) {
  constexpr int N = winograd_patch(S);
  for_channels(channels, [=]<class V>(V, int64_t c) __attribute__((always_inline)) {
    both_ways<S, N, V>([](const V* y, V* t) { Line<S>::cotangent(y, t); },
                       [=](int i, int j) { return read<V>(ct[S * i + j] + c); },
                       [=](int i, int j, V x) { write_value(value + (N * i + j) * pitch + c, x); });
  });
}

template <int S, class T>
void weight_back(const float* value, int64_t parts, int64_t part_pitch, int64_t pitch, int64_t channels, T* w,
                 int64_t tap_pitch) {
  constexpr int N = winograd_patch(S);
  for_channels(channels, [=]<class V>(V, int64_t c) __attribute__((always_inline)) {
    auto sum = [=](int i, int j) {
      const float* from = value + (N * i + j) * pitch + c;
      V total = read<V>(from);
      for (int64_t part = 1; part < parts; ++part) total += read<V>(from + part * part_pitch);
      return total;
    };
    both_ways<N, 3, V>([](const V* u, V* g) { Line<S>::weight_back(u, g); }, sum,
                       [=](int i, int j, V x) { write(w + (3 * i + j) * tap_pitch + c, x); });
  });
}

template <int S, class T, class V>
constexpr WinogradTransforms<T, V> transforms() {
  return {input<S, T, V>, weight<S, T, V>, output<S, T>, largest<S, T>, cotangent<S, T, V>, weight_back<S, T>};
}

}  // namespace

extern const WinogradTable winograd_table;
const WinogradTable winograd_table = {
    {transforms<2, float, float>(), transforms<4, float, float>()},
    {transforms<2, uint16_t, float>(), transforms<4, uint16_t, float>()},
    transforms<2, uint16_t, uint16_t>(),
};

}  // namespace NATIVE_ISA
}  // namespace native::conv
