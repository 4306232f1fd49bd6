#include "kernels/conv/winograd.h"

#include <utility>

#include "simd/element.h"
#include "simd/largest.h"
#include "simd/nontemporal.h"

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

// The transforms of one dimension, along which a tile has S results.
template <int S>
struct Line;

// Along which there are no taps.
template <>
struct Line<1> {
  static constexpr int kSources = 1, kTaps = 1;

  template <class V>
  static inline void input(const V* d, V* t) {
    t[0] = d[0];
  }
  template <class V>
  static inline void weight(const V* g, V* t) {
    t[0] = g[0];
  }
  template <class V>
  static inline void output(const V* m, V* y) {
    y[0] = m[0];
  }
  template <class V>
  static inline void cotangent(const V* y, V* t) {
    t[0] = y[0];
  }
  template <class V>
  static inline void weight_back(const V* u, V* g) {
    g[0] = u[0];
  }
};

template <>
struct Line<2> {
  static constexpr int kSources = 4, kTaps = 3;

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
  static constexpr int kSources = 6, kTaps = 3;
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

// What each transform takes and makes along a dimension.
template <int S>
struct Input {
  static constexpr int kIn = Line<S>::kSources, kOut = Line<S>::kSources;
  template <class V>
  static inline void along(const V* d, V* t) {
    Line<S>::input(d, t);
  }
};
template <int S>
struct Weight {
  static constexpr int kIn = Line<S>::kTaps, kOut = Line<S>::kSources;
  template <class V>
  static inline void along(const V* g, V* t) {
    Line<S>::weight(g, t);
  }
};
template <int S>
struct Output {
  static constexpr int kIn = Line<S>::kSources, kOut = S;
  template <class V>
  static inline void along(const V* m, V* y) {
    Line<S>::output(m, y);
  }
};
template <int S>
struct Cotangent {
  static constexpr int kIn = S, kOut = Line<S>::kSources;
  template <class V>
  static inline void along(const V* y, V* t) {
    Line<S>::cotangent(y, t);
  }
};
template <int S>
struct WeightBack {
  static constexpr int kIn = Line<S>::kSources, kOut = Line<S>::kTaps;
  template <class V>
  static inline void along(const V* u, V* g) {
    Line<S>::weight_back(u, g);
  }
};

// A transform of columns and then of rows: from(i, j) is read once for each element, to(i, j, x) takes each result.
// What is captured by reference would be loaded again behind every store.
template <class Transform, class V, class From, class To>
[[gnu::always_inline]] inline void both_ways(From from, To to) {
  constexpr int kIn = Transform::kIn, kOut = Transform::kOut;
  V t[kOut][kIn];
#pragma GCC unroll 6
  for (int j = 0; j < kIn; ++j) {
    V column[kIn], done[kOut];
#pragma GCC unroll 6
    for (int i = 0; i < kIn; ++i) column[i] = from(i, j);
    Transform::along(column, done);
#pragma GCC unroll 6
    for (int i = 0; i < kOut; ++i) t[i][j] = done[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < kOut; ++i) {
    V done[kOut];
    Transform::along(t[i], done);
#pragma GCC unroll 6
    for (int j = 0; j < kOut; ++j) to(i, j, done[j]);
  }
}

// The same of a tile of P planes of side S: from(p), to(p, x) of elements in the order of memory. Planes are made one
// after another, each from the values along the depth that it needs, as a whole cube does not fit into the registers.
template <template <int> class Transform, int P, int S, class V, class From, class To>
[[gnu::always_inline]] inline void all_ways(From from, To to) {
  using Depth = Transform<P>;
  using Plane = Transform<S>;
  constexpr int kIn = Plane::kIn, kOut = Plane::kOut;
  auto make = [=]<int plane>(std::integral_constant<int, plane>) __attribute__((always_inline)) {
    both_ways<Plane, V>(
        [=](int i, int j) __attribute__((always_inline)) {
          V values[Depth::kIn], done[Depth::kOut];
#pragma GCC unroll 4
          for (int k = 0; k < Depth::kIn; ++k) values[k] = from((k * kIn + i) * kIn + j);
          Depth::along(values, done);
          return done[plane];
        },
        [=](int i, int j, V x) __attribute__((always_inline)) { to((plane * kOut + i) * kOut + j, x); });
  };
  [=]<int... plane>(std::integer_sequence<int, plane...>) __attribute__((always_inline)) {
    (make(std::integral_constant<int, plane>{}), ...);
  }(std::make_integer_sequence<int, Depth::kOut>{});
}

// body(V{}, c) for vectors of channels and then for single ones.
template <class F>
[[gnu::always_inline]] inline void for_channels(int64_t channels, F body) {
  int64_t c = 0;
  for (; c + kLanes<float> <= channels; c += kLanes<float>) body(vf32{}, c);
  for (; c < channels; ++c) body(float{}, c);
}

template <int P, int S, class T, class Value>
void input(const T* const* source, int64_t channels, Value* value, int64_t pitch) {
  for_channels(channels, [=]<class V>(V, int64_t c) __attribute__((always_inline)) {
    all_ways<Input, P, S, V>([=](int p) __attribute__((always_inline)) { return read<V>(source[p] + c); },
                             [=](int p, V x) __attribute__((always_inline)) { write_value(value + p * pitch + c, x); });
  });
}

template <int P, int S, class T, class Value>
void weight(const T* w, int64_t tap_pitch, int64_t channels, Value* value, int64_t pitch) {
  for_channels(channels, [=]<class V>(V, int64_t c) __attribute__((always_inline)) {
    all_ways<Weight, P, S, V>([=](int tap) __attribute__((always_inline)) { return read<V>(w + tap * tap_pitch + c); },
                              [=](int p, V x)
                                  __attribute__((always_inline)) { write_value(value + p * pitch + c, x); });
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

template <class T, class V>
inline void write_result(T* p, V v, bool past_caches) {
  if constexpr (sizeof(T) == sizeof(float) && sizeof(V) == kVecBytes)
    if (past_caches) return store_nontemporal(p, v);
  write(p, v);
}

template <int P, int S, class T>
void output(const float* value, int64_t pitch, int64_t channels, const T* bias, const T* const* residual,
            int activation, bool past_caches, T* const* result) {
  for_channels(channels, [=]<class V>(V, int64_t c) __attribute__((always_inline)) {
    const V b = bias ? read<V>(bias + c) : V{};
    all_ways<Output, P, S, V>([=](int p) __attribute__((always_inline)) { return read<V>(value + p * pitch + c); },
                              [=](int pixel, V x) __attribute__((always_inline)) {
                                if (!result[pixel]) return;
                                x += b;
                                if (residual) x += read<V>(residual[pixel] + c);
                                write_result(result[pixel] + c, activated(x, activation), past_caches);
                              });
  });
}

template <int P, int S, class T>
void largest(const float* value, int64_t pitch, int64_t channels, const T* bias, int activation, T* result,
             uint8_t* place) {
  for_channels(channels, [=]<class V>(V, int64_t c) __attribute__((always_inline)) {
    V y[P * S * S];
    V* const results = y;
    all_ways<Output, P, S, V>([=](int p) __attribute__((always_inline)) { return read<V>(value + p * pitch + c); },
                              [=](int pixel, V x) __attribute__((always_inline)) { results[pixel] = x; });
    const V b = bias ? read<V>(bias + c) : V{};
    if (place) {
      // Clipped ones may be alike.
      Largest<V> best{activated(y[0] + b, activation)};
#pragma GCC unroll 16
      for (int i = 1; i < P * S * S; ++i)
        best.take(activated(y[i] + b, activation), typename Largest<V>::Numbers{} + i);
      write(result + c, best.value);
      put_numbers(place + c, best.number);
      return;
    }
    V best = y[0];
#pragma GCC unroll 16
    for (int i = 1; i < P * S * S; ++i) best = larger(best, y[i]);
    // Rounding does not change which sum is the largest.
    write(result + c, activated(best + b, activation));
  });
}

template <int P, int S, class T, class Value>
void cotangent(const T* const* ct, int64_t channels, Value* value, int64_t pitch) {
  for_channels(channels, [=]<class V>(V, int64_t c) __attribute__((always_inline)) {
    all_ways<Cotangent, P, S, V>([=](int pixel) __attribute__((always_inline)) { return read<V>(ct[pixel] + c); },
                                 [=](int p, V x)
                                     __attribute__((always_inline)) { write_value(value + p * pitch + c, x); });
  });
}

template <int P, int S, class T>
void weight_back(const float* value, int64_t parts, int64_t part_pitch, int64_t pitch, int64_t channels, T* w,
                 int64_t tap_pitch) {
  for_channels(channels, [=]<class V>(V, int64_t c) __attribute__((always_inline)) {
    auto sum = [=](int p) {
      const float* from = value + p * pitch + c;
      V total = read<V>(from);
      for (int64_t part = 1; part < parts; ++part) total += read<V>(from + part * part_pitch);
      return total;
    };
    all_ways<WeightBack, P, S, V>(
        sum, [=](int tap, V x) __attribute__((always_inline)) { write(w + tap * tap_pitch + c, x); });
  });
}

template <int P, int S, class T, class V>
constexpr WinogradTransforms<T, V> transforms() {
  return {input<P, S, T, V>, weight<P, S, T, V>,    output<P, S, T>,
          largest<P, S, T>,  cotangent<P, S, T, V>, weight_back<P, S, T>};
}

}  // namespace

extern const WinogradTable winograd_table;
const WinogradTable winograd_table = {
    {transforms<1, 2, float, float>(), transforms<1, 4, float, float>(), transforms<2, 2, float, float>()},
    {transforms<1, 2, uint16_t, float>(), transforms<1, 4, uint16_t, float>(), transforms<2, 2, uint16_t, float>()},
    transforms<1, 2, uint16_t, uint16_t>(),
};

}  // namespace NATIVE_ISA
}  // namespace native::conv
