// Normalisation of rows by themselves, and its gradient. Included by norm.bf16.simd.cpp only.
#pragma once

#include "simd/stream.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// Four sums at a time: an addition takes four cycles, and one can start every half cycle.
constexpr int kChains = 4;

template <int N>
struct Count {
  static constexpr int value = N;
};

template <class W>
W square_root(W x) {
  if constexpr (sizeof(W) == 8)
    return __builtin_sqrt(x);
  else
    return __builtin_sqrtf(x);
}

template <class W>
W joined(const Vec<W> (&sums)[kChains]) {
  return reduce_add<W>((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// Sum of term(vector) over a row; `term` takes vectors, `scalar` single elements.
template <class T, class Term, class Scalar>
Wide<T> row_sum(const T* x, int64_t n, const Term& term, const Scalar& scalar) {
  using W = Wide<T>;
  constexpr int L = kLanes<W>;
  Vec<W> acc[kChains] = {};
  int64_t i = 0;
  for (; i + kChains * L <= n; i += kChains * L)
    for (int k = 0; k < kChains; ++k) acc[k] += term(vload(x + i + k * L));
  for (; i + L <= n; i += L) acc[0] += term(vload(x + i));
  W sum = joined<W>(acc);
  for (; i < n; ++i) sum += scalar(get(x + i));
  return sum;
}

template <class T>
Wide<T> row_mean(const T* x, int64_t n) {
  const auto same = [](auto v) { return v; };
  return row_sum(x, n, same, same) / static_cast<Wide<T>>(n);
}

template <class W>
struct Moments {
  W mean, rstd;
};
template <class T>
Moments<Wide<T>> row_moments(const T* x, int64_t n, double eps, bool centred) {
  using W = Wide<T>;
  const W count = static_cast<W>(n), mean = centred ? row_mean(x, n) : W{0};
  const auto squared = [mean](auto v) {
    const auto d = v - mean;
    return d * d;
  };
  const W var = row_sum(x, n, squared, squared) / count;
  return {mean, 1 / square_root<W>(var + static_cast<W>(eps))};
}

// body(first row, count) over the rows: a few at once, step by step, so that rows do not wait for each other's sums;
// long ones one by one, as they fall into the same cache sets.
template <class Body>
void groups(int64_t rows, int64_t n, const Body& body) {
  constexpr int kMost = 4;
  constexpr int64_t kLong = 512;
  int64_t r = 0;
  if (n <= kLong)
    for (; r + kMost <= rows; r += kMost) body(r, Count<kMost>{});
  for (; r < rows; ++r) body(r, Count<1>{});
}

// Rows that go one by one are long: what comes next goes to the second level, as in the first it would drive out the
// row at hand, which begins in the same cache sets.
template <int R>
inline void fetch(const void* p) {
  __builtin_prefetch(p, 0, R > 1 ? 3 : 2);
}

template <class T>
void row_forward(const void* x_, const void* gamma_, const void* beta_, void* y_, int64_t rows, int64_t n, double eps,
                 bool centred, bool far) {
  using W = Wide<T>;
  constexpr int L = kLanes<W>;
  const W *gamma = static_cast<const W*>(gamma_), *beta = static_cast<const W*>(beta_);
  with_stream<T>(far, static_cast<const T*>(y_), n, [&](auto stream) {
    groups(rows, n, [&](int64_t first, auto count) {
      constexpr int R = decltype(count)::value;
      const T* x = static_cast<const T*>(x_) + first * n;
      T* y = static_cast<T*>(y_) + first * n;
      Moments<W> moments[R];
      for (int r = 0; r < R; ++r) moments[r] = row_moments(x + r * n, n, eps, centred);
      for (int r = 0; r < R; ++r, x += n, y += n) {
        const auto [mean, rstd] = moments[r];
        int64_t i = 0;
        for (; i + L <= n; i += L) {
          if (stream.kFar) fetch<R>(x + R * n + i);
          stream.store(y + i, (vload(x + i) - mean) * rstd * load(gamma + i) + load(beta + i));
        }
        for (; i < n; ++i) put(y + i, (get(x + i) - mean) * rstd * gamma[i] + beta[i]);
      }
    });
  });
}

// What a row's gradient is made of: dx = ct gamma rstd + (x - mean) slope + offset.
template <class W>
struct RowSlope {
  W mean, rstd, slope, offset;
};
// In one pass behind that of the mean. Asks for the memory at `ahead`, an element for each of the row, which is read
// next; R: the rows that go together.
template <int R, class T>
RowSlope<Wide<T>> row_slope(const T* ct, const T* x, const Wide<T>* gamma, int64_t n, double eps, bool centred,
                            const T* ahead) {
  using W = Wide<T>;
  constexpr int L = kLanes<W>;
  const W count = static_cast<W>(n), mean = centred ? row_mean(x, n) : W{0};
  Vec<W> squares[kChains] = {}, sum_g[kChains] = {}, sum_gx[kChains] = {};
  const auto accumulate = [&](int64_t i, int k) {
    const Vec<W> g = vload(ct + i) * load(gamma + i), d = vload(x + i) - mean;
    squares[k] += d * d;
    sum_g[k] += g;
    sum_gx[k] += g * d;
  };
  int64_t i = 0;
  for (; i + kChains * L <= n; i += kChains * L)
    for (int k = 0; k < kChains; ++k) {
      fetch<R>(ahead + i + k * L);
      accumulate(i + k * L, k);
    }
  for (; i + L <= n; i += L) accumulate(i, 0);
  W var = joined<W>(squares), mean_g = joined<W>(sum_g), mean_gx = joined<W>(sum_gx);
  for (; i < n; ++i) {
    const W g = get(ct + i) * gamma[i], d = get(x + i) - mean;
    var += d * d;
    mean_g += g;
    mean_gx += g * d;
  }
  // dx = rstd (g - mean(g) - x^ mean(g x^)), x^ = (x - mean) rstd.
  const W rstd = 1 / square_root<W>(var / count + static_cast<W>(eps));
  return {mean, rstd, -(mean_gx / count * rstd) * rstd * rstd, centred ? -rstd * (mean_g / count) : W{0}};
}

// dx of R rows, and their terms added to the sums of the parameters' gradients, which are read and written once for
// all of them. `ahead` as above, of the first of R rows.
template <class T, int R, class S>
void rows_gradient(const T* ct, const T* x, const Wide<T>* gamma, int64_t n, const RowSlope<Wide<T>>* slopes,
                   const T* ahead, T* dx, Wide<T>* dgamma, Wide<T>* dbeta, S stream) {
  using W = Wide<T>;
  constexpr int L = kLanes<W>;
  const auto row = [&](int r, auto c, auto e, auto g, auto& sum_gamma, auto& sum_beta) {
    const RowSlope<W>& s = slopes[r];
    const auto d = e - s.mean;
    sum_gamma += c * (d * s.rstd);
    sum_beta += c;
    return c * g * s.rstd + (d * s.slope + s.offset);
  };
  const auto columns = [&](int64_t i, auto count) {
    constexpr int N = decltype(count)::value;
    Vec<W> g[N], sum_gamma[N], sum_beta[N];
    for (int k = 0; k < N; ++k) {
      g[k] = load(gamma + i + k * L);
      sum_gamma[k] = load(dgamma + i + k * L);
      sum_beta[k] = load(dbeta + i + k * L);
    }
    for (int r = 0; r < R; ++r)
      for (int k = 0; k < N; ++k) {
        const int64_t at = r * n + i + k * L;
        fetch<R>(ahead + at);
        stream.store(dx + at, row(r, vload(ct + at), vload(x + at), g[k], sum_gamma[k], sum_beta[k]));
      }
    for (int k = 0; k < N; ++k) {
      store(dgamma + i + k * L, sum_gamma[k]);
      store(dbeta + i + k * L, sum_beta[k]);
    }
  };
  // A whole line of each row at once, or lines of rows a page apart go past the caches in halves.
  constexpr int kLine = kLineBytes / kVecBytes;
  int64_t i = 0;
  for (; i + kLine * L <= n; i += kLine * L) columns(i, Count<kLine>{});
  for (; i + L <= n; i += L) columns(i, Count<1>{});
  for (; i < n; ++i)
    for (int r = 0; r < R; ++r)
      put(dx + r * n + i, row(r, get(ct + r * n + i), get(x + r * n + i), gamma[i], dgamma[i], dbeta[i]));
}

template <class T>
void row_backward(const void* ct_, const void* x_, const void* gamma_, void* dx_, void* dgamma_, void* dbeta_,
                  int64_t rows, int64_t n, double eps, bool centred, bool far) {
  using W = Wide<T>;
  const W* gamma = static_cast<const W*>(gamma_);
  W *dgamma = static_cast<W*>(dgamma_), *dbeta = static_cast<W*>(dbeta_);
  for (int64_t i = 0; i < n; ++i) dgamma[i] = dbeta[i] = 0;
  with_stream<T>(far, static_cast<const T*>(dx_), n, [&](auto stream) {
    groups(rows, n, [&](int64_t first, auto count) {
      constexpr int R = decltype(count)::value;
      const T *ct = static_cast<const T*>(ct_) + first * n, *x = static_cast<const T*>(x_) + first * n;
      RowSlope<W> slopes[R];
      for (int r = 0; r < R; ++r)
        slopes[r] = row_slope<R>(ct + r * n, x + r * n, gamma, n, eps, centred, x + (R + r) * n);
      rows_gradient<T, R>(ct, x, gamma, n, slopes, ct + R * n, static_cast<T*>(dx_) + first * n, dgamma, dbeta, stream);
    });
  });
}

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native
