// Moments and logsumexp: two passes over a block that is still in the cache, so one over memory.
#include "kernels/reduce/fold.h"
#include "kernels/reduce/reduce.h"
#include "simd/math.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// Of vectors and scalars.
template <class V>
static inline V exp_of(V x) {
  if constexpr (sizeof(V) > sizeof(double))
    return vexp(x);
  else
    return vexp(splat(x))[0];
}

// What the second pass adds up for a distance d from the shift; of vectors and scalars.
struct Moments {
  template <class V>
  static inline void add(V d, V& first, V& second) {
    first += d;
    second += d * d;
  }
};
struct LogSumExp {
  template <class V>
  static inline void add(V d, V&, V& second) {
    second += exp_of(d);
  }
};

template <class A>
struct Sums {
  A first, second;
};

template <class Op, class T>
static Sums<Accumulator<T>> distances_of_row(const T* x, int64_t n, Accumulator<T> shift) {
  using A = Accumulator<T>;
  constexpr int64_t lanes = kLanes<A>;
  if (n > kFoldBlock) {
    const int64_t half = (n / 2 + kFoldBlock - 1) / kFoldBlock * kFoldBlock;
    const Sums<A> a = distances_of_row<Op>(x, half, shift), b = distances_of_row<Op>(x + half, n - half, shift);
    return {a.first + b.first, a.second + b.second};
  }
  Vec<A> first[4] = {}, second[4] = {};
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) Op::add(vget(x + i + u * lanes) - shift, first[u], second[u]);
  }
  for (; i + lanes <= n; i += lanes) Op::add(vget(x + i) - shift, first[0], second[0]);
  Sums<A> tail = {0, 0};
  for (; i < n; ++i) Op::add(sget(x + i) - shift, tail.first, tail.second);
  return {fold_lanes<Sum, A>((first[0] + first[1]) + (first[2] + first[3])) + tail.first,
          fold_lanes<Sum, A>((second[0] + second[1]) + (second[2] + second[3])) + tail.second};
}

template <class Op, class T>
static void distances_of_columns(const T* x, int64_t rows, int64_t ld, int64_t width, const Accumulator<T>* shift,
                                 Accumulator<T>* first, Accumulator<T>* second) {
  using A = Accumulator<T>;
  constexpr int64_t lanes = kLanes<A>;
  for (int64_t j = 0; j < width; ++j) first[j] = second[j] = 0;
  for (int64_t r = 0; r < rows; r += 4) {
    const T* p = x + r * ld;
    const int64_t step = r + 4 <= rows ? 4 : rows - r;
    int64_t j = 0;
    for (; j + lanes <= width; j += lanes) {
      const Vec<A> s = load(shift + j);
      Vec<A> a = {}, b = {}, c = {}, d = {};
      if (step == 4) {
        Op::add(vget(p + j) - s, a, b);
        Op::add(vget(p + ld + j) - s, c, d);
        Op::add(vget(p + 2 * ld + j) - s, a, b);
        Op::add(vget(p + 3 * ld + j) - s, c, d);
      } else {
        for (int64_t u = 0; u < step; ++u) Op::add(vget(p + u * ld + j) - s, a, b);
      }
      store(first + j, load(first + j) + (a + c));
      store(second + j, load(second + j) + (b + d));
    }
    for (; j < width; ++j)
      for (int64_t u = 0; u < step; ++u) Op::add(sget(p + u * ld + j) - shift[j], first[j], second[j]);
  }
}

// The rounded mean is a shift close to the true one: sums of distances from it correct both results, so that
// nothing is lost however far the numbers are from 0.
template <class A>
static inline void finish_moments(A shift, Sums<A> sums, int64_t n, double* mean, double* squares) {
  const double first = sums.first, second = sums.second, count = static_cast<double>(n);
  const double corrected = second - first * first / count;
  *mean = shift + first / count;
  *squares = corrected < 0 ? 0 : corrected;
}

template <class T>
void moments_rows(const void* x, int64_t count, int64_t n, double* mean, double* squares) {
  using A = Accumulator<T>;
  for (int64_t i = 0; i < count; ++i) {
    const T* row = static_cast<const T*>(x) + i * n;
    const A shift = fold_row<Sum>(row, n) / static_cast<A>(n);
    finish_moments(shift, distances_of_row<Moments>(row, n, shift), n, mean + i, squares + i);
  }
}

template <class T>
void moments_columns(const void* x, int64_t rows, int64_t ld, int64_t width, double* mean, double* squares) {
  using A = Accumulator<T>;
  const T* p = static_cast<const T*>(x);
  alignas(64) A shift[kPairWidth], first[kPairWidth], second[kPairWidth];
  fold_columns<Sum>(p, rows, ld, width, shift);
  for (int64_t j = 0; j < width; ++j) shift[j] /= static_cast<A>(rows);
  distances_of_columns<Moments>(p, rows, ld, width, shift, first, second);
  for (int64_t j = 0; j < width; ++j)
    finish_moments(shift[j], Sums<A>{first[j], second[j]}, rows, mean + j, squares + j);
}

// An infinite or missing maximum is no shift: exp(inf - inf) would be NaN where the sum is infinite.
template <class A>
static inline A finite_or_zero(A top) {
  return top - top == 0 ? top : 0;
}

template <class T>
void logsumexp_rows(const void* x, int64_t count, int64_t n, double* top, double* sum) {
  using A = Accumulator<T>;
  for (int64_t i = 0; i < count; ++i) {
    const T* row = static_cast<const T*>(x) + i * n;
    const A shift = finite_or_zero(fold_row<Max>(row, n));
    top[i] = shift;
    sum[i] = distances_of_row<LogSumExp>(row, n, shift).second;
  }
}

template <class T>
void logsumexp_columns(const void* x, int64_t rows, int64_t ld, int64_t width, double* top, double* sum) {
  using A = Accumulator<T>;
  const T* p = static_cast<const T*>(x);
  alignas(64) A shift[kPairWidth], first[kPairWidth], second[kPairWidth];
  fold_columns<Max>(p, rows, ld, width, shift);
  for (int64_t j = 0; j < width; ++j) shift[j] = finite_or_zero(shift[j]);
  distances_of_columns<LogSumExp>(p, rows, ld, width, shift, first, second);
  for (int64_t j = 0; j < width; ++j) {
    top[j] = shift[j];
    sum[j] = second[j];
  }
}

#define NATIVE_FLOATS(kernel)                                                             \
  {nullptr, nullptr, nullptr,      nullptr,        nullptr,       nullptr,       nullptr, \
   nullptr, nullptr, kernel<Half>, kernel<BFloat>, kernel<float>, kernel<double>}

}  // namespace

extern const PairTable pair_table;
const PairTable pair_table = {NATIVE_FLOATS(moments_rows), NATIVE_FLOATS(logsumexp_rows),
                              NATIVE_FLOATS(moments_columns), NATIVE_FLOATS(logsumexp_columns)};

}  // namespace NATIVE_ISA
}  // namespace native
