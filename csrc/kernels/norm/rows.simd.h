// Layer and RMS normalisation of rows, forward and backward, for the one unit that makes the table of norm.h.
#pragma once

#include <cstdint>

#include "simd/element.h"

namespace native {
namespace NATIVE_ISA {
namespace {

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

// Rows that are gone through together: the parameters are loaded once for all, and one row's reductions hide behind
// another's. Longer rows would leave the first-level cache between two passes.
constexpr int kRows = 4;
template <class T>
constexpr int64_t kLongRow = 8192 / static_cast<int64_t>(sizeof(T)) / kRows;

// sums[r] = sum of term(r, i) over n elements, R rows at once; `term` gives vectors, `scalar` single elements.
template <class W, int R, class Term, class Scalar>
void row_sums(int64_t n, const Term& term, const Scalar& scalar, W* sums) {
  constexpr int L = kLanes<W>;
  // As many sums at a time as hide the latency of an addition.
  constexpr int C = R < 4 ? 4 : 2;
  Vec<W> acc[R][C] = {};
  int64_t i = 0;
  for (; i + C * L <= n; i += C * L)
    for (int r = 0; r < R; ++r)
      for (int k = 0; k < C; ++k) acc[r][k] += term(r, i + k * L);
  for (; i + L <= n; i += L)
    for (int r = 0; r < R; ++r) acc[r][0] += term(r, i);
  for (int r = 0; r < R; ++r) {
    for (int k = C / 2; k > 0; k /= 2)
      for (int j = 0; j < k; ++j) acc[r][j] += acc[r][j + k];
    sums[r] = reduce_add<W>(acc[r][0]);
    for (int64_t j = i; j < n; ++j) sums[r] += scalar(r, j);
  }
}

template <class W, int R>
struct Moments {
  W mean[R], rstd[R];
};

template <int R, class T>
inline Moments<Wide<T>, R> row_moments(const T* x, int64_t n, double eps, bool centred) {
  using W = Wide<T>;
  const W count = static_cast<W>(n);
  W sums[R] = {}, squares[R];
  if (centred)
    row_sums<W, R>(
        n, [=](int r, int64_t i) { return vload(x + r * n + i); }, [=](int r, int64_t i) { return get(x + r * n + i); },
        sums);
  // A result whose address nobody has is not loaded again behind every store.
  Moments<W, R> m;
  for (int r = 0; r < R; ++r) m.mean[r] = sums[r] / count;
  const auto squared = [](auto d) { return d * d; };
  row_sums<W, R>(
      n, [=](int r, int64_t i) { return squared(vload(x + r * n + i) - m.mean[r]); },
      [=](int r, int64_t i) { return squared(get(x + r * n + i) - m.mean[r]); }, squares);
  for (int r = 0; r < R; ++r) m.rstd[r] = 1 / square_root<W>(squares[r] / count + static_cast<W>(eps));
  return m;
}

// body(Count<R>{}, first row) for kRows rows at once where they are short enough, else for single ones.
template <class T, class Body>
inline void for_rows(int64_t rows, int64_t n, const Body& body) {
  int64_t r = 0;
  if (n <= kLongRow<T>)
    for (; r + kRows <= rows; r += kRows) body(Count<kRows>{}, r);
  for (; r < rows; ++r) body(Count<1>{}, r);
}

template <class T>
void row_forward(const void* x_, const void* gamma_, const void* beta_, void* y_, int64_t rows, int64_t n, double eps,
                 bool centred) {
  using W = Wide<T>;
  constexpr int L = kLanes<W>;
  const W *gamma = static_cast<const W*>(gamma_), *beta = static_cast<const W*>(beta_);
  for_rows<T>(rows, n, [&](auto count, int64_t first) {
    constexpr int R = decltype(count)::value;
    const T* x = static_cast<const T*>(x_) + first * n;
    T* y = static_cast<T*>(y_) + first * n;
    const Moments<W, R> m = row_moments<R>(x, n, eps, centred);
    int64_t i = 0;
    for (; i + L <= n; i += L)
      for (int r = 0; r < R; ++r)
        vstore(y + r * n + i, (vload(x + r * n + i) - m.mean[r]) * m.rstd[r] * load(gamma + i) + load(beta + i));
    for (; i < n; ++i)
      for (int r = 0; r < R; ++r) put(y + r * n + i, (get(x + r * n + i) - m.mean[r]) * m.rstd[r] * gamma[i] + beta[i]);
  });
}

template <class T>
void row_backward(const void* ct_, const void* x_, const void* gamma_, void* dx_, void* dgamma_, void* dbeta_,
                  int64_t rows, int64_t n, double eps, bool centred) {
  using W = Wide<T>;
  constexpr int L = kLanes<W>;
  const W* gamma = static_cast<const W*>(gamma_);
  W *dgamma = static_cast<W*>(dgamma_), *dbeta = static_cast<W*>(dbeta_);
  for (int64_t i = 0; i < n; ++i) dgamma[i] = dbeta[i] = 0;
  for_rows<T>(rows, n, [&](auto count, int64_t first) {
    constexpr int R = decltype(count)::value;
    const T *ct = static_cast<const T*>(ct_) + first * n, *x = static_cast<const T*>(x_) + first * n;
    T* dx = static_cast<T*>(dx_) + first * n;
    const Moments<W, R> m = row_moments<R>(x, n, eps, centred);

    // g = ct gamma, and what is left of it when its mean and its part along x^ are taken away.
    constexpr int C = R == 1 ? 2 : 1;
    Vec<W> sum_g[R * C] = {}, sum_gx[R * C] = {};
    const auto accumulate = [&](int64_t i, int k) {
      Vec<W> by_gamma = load(dgamma + i), by_beta = load(dbeta + i);
      for (int r = 0; r < R; ++r) {
        const Vec<W> c = vload(ct + r * n + i), normal = (vload(x + r * n + i) - m.mean[r]) * m.rstd[r];
        const Vec<W> g = c * load(gamma + i);
        by_gamma += c * normal;
        by_beta += c;
        sum_g[r * C + k] += g;
        sum_gx[r * C + k] += g * normal;
      }
      store(dgamma + i, by_gamma);
      store(dbeta + i, by_beta);
    };
    int64_t i = 0;
    for (; i + C * L <= n; i += C * L)
      for (int k = 0; k < C; ++k) accumulate(i + k * L, k);
    for (; C > 1 && i + L <= n; i += L) accumulate(i, 0);
    W mean_g[R], mean_gx[R];
    for (int r = 0; r < R; ++r) {
      mean_g[r] = reduce_add<W>(C == 1 ? sum_g[r] : sum_g[0] + sum_g[1]);
      mean_gx[r] = reduce_add<W>(C == 1 ? sum_gx[r] : sum_gx[0] + sum_gx[1]);
      for (int64_t j = i; j < n; ++j) {
        const W c = get(ct + r * n + j), normal = (get(x + r * n + j) - m.mean[r]) * m.rstd[r], g = c * gamma[j];
        dgamma[j] += c * normal;
        dbeta[j] += c;
        mean_g[r] += g;
        mean_gx[r] += g * normal;
      }
      mean_g[r] = centred ? mean_g[r] / static_cast<W>(n) : W{0};
      mean_gx[r] /= static_cast<W>(n);
    }

    for (i = 0; i + L <= n; i += L)
      for (int r = 0; r < R; ++r) {
        const Vec<W> normal = (vload(x + r * n + i) - m.mean[r]) * m.rstd[r];
        vstore(dx + r * n + i, m.rstd[r] * (vload(ct + r * n + i) * load(gamma + i) - mean_g[r] - normal * mean_gx[r]));
      }
    for (; i < n; ++i)
      for (int r = 0; r < R; ++r) {
        const W normal = (get(x + r * n + i) - m.mean[r]) * m.rstd[r];
        put(dx + r * n + i, m.rstd[r] * (get(ct + r * n + i) * gamma[i] - mean_g[r] - normal * mean_gx[r]));
      }
  });
}

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native
