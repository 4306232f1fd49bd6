// What the reduction units share: an operation as a way to join two values, and folds of contiguous rows and
// of columns. Included by *.simd.cpp units only.
#pragma once

#include "simd/element.h"

namespace native {
namespace {

template <class T>
struct AccumulatorOf {
  typedef T type;
};
template <>
struct AccumulatorOf<Half> {
  typedef float type;
};
template <>
struct AccumulatorOf<BFloat> {
  typedef float type;
};
template <class T>
using Accumulator = typename AccumulatorOf<T>::type;

// Elements as vectors and scalars of their accumulator.
template <class T>
static inline Vec<Accumulator<T>> vget(const T* p) {
  if constexpr (sizeof(Accumulator<T>) != sizeof(T))
    return vload(p);
  else
    return load(p);
}
template <class T>
static inline Accumulator<T> sget(const T* p) {
  if constexpr (sizeof(Accumulator<T>) != sizeof(T))
    return get(p);
  else
    return *p;
}
template <class T>
static inline void vput(T* p, Vec<Accumulator<T>> v) {
  if constexpr (sizeof(Accumulator<T>) != sizeof(T))
    vstore(p, v);
  else
    store(p, v);
}
template <class T>
static inline void sput(T* p, Accumulator<T> x) {
  if constexpr (sizeof(Accumulator<T>) != sizeof(T))
    put(p, x);
  else
    *p = x;
}

template <class T>
struct Lowest;
template <>
struct Lowest<float> {
  static constexpr float value = -__builtin_inff(), top = __builtin_inff();
};
template <>
struct Lowest<double> {
  static constexpr double value = -__builtin_inf(), top = __builtin_inf();
};
#define NATIVE_LIMITS(T, low, high)             \
  template <>                                   \
  struct Lowest<T> {                            \
    static constexpr T value = low, top = high; \
  };
NATIVE_LIMITS(int8_t, INT8_MIN, INT8_MAX)
NATIVE_LIMITS(int16_t, INT16_MIN, INT16_MAX)
NATIVE_LIMITS(int32_t, INT32_MIN, INT32_MAX)
NATIVE_LIMITS(int64_t, INT64_MIN, INT64_MAX)
NATIVE_LIMITS(uint8_t, 0, UINT8_MAX)
NATIVE_LIMITS(uint16_t, 0, UINT16_MAX)
NATIVE_LIMITS(uint32_t, 0, UINT32_MAX)
NATIVE_LIMITS(uint64_t, 0, UINT64_MAX)
#undef NATIVE_LIMITS

#if NATIVE_MASKS
// Scans take shorter vectors.
typedef double vf64_short __attribute__((vector_size(32)));
static inline vf64_short vmax(vf64_short a, vf64_short b) { return (vf64_short)_mm256_max_pd((__m256d)a, (__m256d)b); }
static inline vf64_short vmin(vf64_short a, vf64_short b) { return (vf64_short)_mm256_min_pd((__m256d)a, (__m256d)b); }
#endif

// join() takes vectors and scalars alike.
struct Sum {
  template <class T>
  static constexpr T identity() {
    return 0;
  }
  template <class V>
  static inline V join(V a, V b) {
    return a + b;
  }
};
struct Prod {
  template <class T>
  static constexpr T identity() {
    return 1;
  }
  template <class V>
  static inline V join(V a, V b) {
    return a * b;
  }
};
// A NaN on either side wins.
struct Max {
  template <class T>
  static constexpr T identity() {
    return Lowest<T>::value;
  }
  template <class V>
  static inline V join(V a, V b) {
    const V larger = vmax(a, b);
    return a == a ? larger : a;
  }
};
struct Min {
  template <class T>
  static constexpr T identity() {
    return Lowest<T>::top;
  }
  template <class V>
  static inline V join(V a, V b) {
    const V smaller = vmin(a, b);
    return a == a ? smaller : a;
  }
};

// Integers are left to the compiler's own vectoriser: their joins may be reordered, and narrow lanes are
// many lanes.
template <class A>
constexpr bool kIsInteger = static_cast<A>(0.5) == 0;

// Up to here a row is folded in eight vectors of accumulators, longer ones as a binary tree of such blocks,
// so that the error of a sum grows with the logarithm of its length.
constexpr int64_t kFoldBlock = 4096;

template <class Op, class A>
static inline A fold_lanes(Vec<A> v) {
  A lanes[kLanes<A>];
  store(lanes, v);
#pragma GCC unroll 8
  for (int width = kLanes<A> / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] = Op::join(lanes[i], lanes[i + width]);
  return lanes[0];
}

template <class Op, class T>
static inline Accumulator<T> fold_block(const T* x, int64_t n) {
  using A = Accumulator<T>;
  constexpr int64_t lanes = kLanes<A>;
  A tail = Op::template identity<A>();
  if (kIsInteger<A> || n < lanes) {
    for (int64_t i = 0; i < n; ++i) tail = Op::join(tail, sget(x + i));
    return tail;
  }
  if constexpr (!kIsInteger<A>) {
    Vec<A> acc = vget(x);
    int64_t i = lanes;
    if (n >= 8 * lanes) {
      Vec<A> a[8];
#pragma GCC unroll 8
      for (int u = 0; u < 8; ++u) a[u] = vget(x + u * lanes);
      for (i = 8 * lanes; i + 8 * lanes <= n; i += 8 * lanes) {
#pragma GCC unroll 8
        for (int u = 0; u < 8; ++u) a[u] = Op::join(a[u], vget(x + i + u * lanes));
      }
#pragma GCC unroll 8
      for (int u = 0; u < 4; ++u) a[u] = Op::join(a[u], a[u + 4]);
      acc = Op::join(Op::join(a[0], a[1]), Op::join(a[2], a[3]));
    }
    for (; i + lanes <= n; i += lanes) acc = Op::join(acc, vget(x + i));
    for (; i < n; ++i) tail = Op::join(tail, sget(x + i));
    return Op::join(fold_lanes<Op, A>(acc), tail);
  }
}

template <class Op, class T>
static Accumulator<T> fold_long_row(const T* x, int64_t n);

template <class Op, class T>
[[gnu::noinline]] static Accumulator<T> fold_row(const T* x, int64_t n) {
  return n <= kFoldBlock ? fold_block<Op>(x, n) : fold_long_row<Op>(x, n);
}
// In the order of memory, as it is fetched ahead; compilers may begin with the last argument of a call.
template <class Op, class T>
[[gnu::noinline]] static Accumulator<T> fold_long_row(const T* x, int64_t n) {
  const int64_t half = (n / 2 + kFoldBlock - 1) / kFoldBlock * kFoldBlock;
  const Accumulator<T> first = fold_row<Op>(x, half);
  return Op::join(first, fold_row<Op>(x + half, n - half));
}

// Eight rows at a time are joined as a tree before they meet the accumulators: one pass over the
// accumulators for eight streams, and errors of sums grow eight times more slowly.
template <class Op, class T>
static void fold_columns(const T* __restrict x, int64_t rows, int64_t ld, int64_t width,
                         Accumulator<T>* __restrict out) {
  using A = Accumulator<T>;
  [[maybe_unused]] constexpr int64_t lanes = kLanes<A>;
  for (int64_t j = 0; j < width; ++j) out[j] = Op::template identity<A>();
  int64_t r = 0;
  if constexpr (!kIsInteger<A>) {
    for (; r + 8 <= rows; r += 8) {
      const T* p = x + r * ld;
      int64_t j = 0;
      for (; j + lanes <= width; j += lanes) {
        Vec<A> v[8];
#pragma GCC unroll 8
        for (int u = 0; u < 8; ++u) v[u] = vget(p + u * ld + j);
#pragma GCC unroll 8
        for (int u = 0; u < 4; ++u) v[u] = Op::join(v[u], v[u + 4]);
        store(out + j, Op::join(load(out + j), Op::join(Op::join(v[0], v[1]), Op::join(v[2], v[3]))));
      }
      for (; j < width; ++j) {
        A v = sget(p + j);
        for (int u = 1; u < 8; ++u) v = Op::join(v, sget(p + u * ld + j));
        out[j] = Op::join(out[j], v);
      }
    }
  }
  for (; r < rows; ++r) {
    const T* p = x + r * ld;
    int64_t j = 0;
    if constexpr (!kIsInteger<A>)
      for (; j + lanes <= width; j += lanes) store(out + j, Op::join(load(out + j), vget(p + j)));
    for (; j < width; ++j) out[j] = Op::join(out[j], sget(p + j));
  }
}

}  // namespace
}  // namespace native

// Rows of a table by dtype. Wrapping arithmetic on signed integers is that of their unsigned counterparts;
// integers of 8 and 16 bits are reduced to extremes only (Keras widens them before it adds).
#define NATIVE_ARITHMETIC(kernel, Op) \
  {nullptr,                           \
   nullptr,                           \
   nullptr,                           \
   kernel<Op, uint32_t>,              \
   kernel<Op, uint64_t>,              \
   nullptr,                           \
   nullptr,                           \
   kernel<Op, uint32_t>,              \
   kernel<Op, uint64_t>,              \
   kernel<Op, Half>,                  \
   kernel<Op, BFloat>,                \
   kernel<Op, float>,                 \
   kernel<Op, double>}
#define NATIVE_WIDE_ORDER(kernel, Op) \
  {nullptr,                           \
   nullptr,                           \
   nullptr,                           \
   kernel<Op, uint32_t>,              \
   kernel<Op, uint64_t>,              \
   nullptr,                           \
   nullptr,                           \
   kernel<Op, int32_t>,               \
   kernel<Op, int64_t>,               \
   kernel<Op, Half>,                  \
   kernel<Op, BFloat>,                \
   kernel<Op, float>,                 \
   kernel<Op, double>}
#define NATIVE_ORDER(kernel, Op)                                                                               \
  {kernel<Op, uint8_t>, kernel<Op, uint8_t>, kernel<Op, uint16_t>, kernel<Op, uint32_t>, kernel<Op, uint64_t>, \
   kernel<Op, int8_t>,  kernel<Op, int16_t>, kernel<Op, int32_t>,  kernel<Op, int64_t>,  kernel<Op, Half>,     \
   kernel<Op, BFloat>,  kernel<Op, float>,   kernel<Op, double>}
