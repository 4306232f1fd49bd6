// What is not a tile: products with one row or few, epilogues over rows of C, conversion of half precision.
#include <algorithm>
#include <array>
#include <utility>

#include "kernels/gemm/parts.h"
#include "simd/element.h"
#include "simd/math_normal.h"
#include "simd/vec.h"

namespace native {
namespace NATIVE_ISA {
namespace {

using gemm::Epilogue;

// Several rows of B a pass: fewer visits to y, and as many streams as prefetchers follow. V vectors of each row at a
// time, a line of 64 bytes where there are registers for its sums: rows a page apart, or a power of two, share a set of
// the first-level cache, in which half a line would have been replaced before it is read.
template <class T, int R>
inline void gemv_rows(int64_t n, const T* x, int64_t x_step, const T* b, int64_t b_row, T* y, bool accumulate) {
  constexpr int L = kLanes<T>, V = NATIVE_VEC_BYTES == 64 ? 1 : 2;
  Vec<T> xs[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) xs[r] = splat(x[r * x_step]);
  const auto columns = [&](auto vectors, int64_t j) __attribute__((always_inline)) {
    constexpr int W = decltype(vectors)::value;
    // Two sums: half the chain of dependent FMAs.
    Vec<T> even[W], odd[W];
#pragma GCC unroll 2
    for (int v = 0; v < W; ++v) {
      even[v] = accumulate ? load(y + j + v * L) : Vec<T>{};
      odd[v] = Vec<T>{};
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < W; ++v) (r % 2 ? odd : even)[v] += xs[r] * load(b + r * b_row + j + v * L);
#pragma GCC unroll 2
    for (int v = 0; v < W; ++v) store(y + j + v * L, even[v] + odd[v]);
  };
  int64_t j = 0;
  for (; j + V * L <= n; j += V * L) columns(std::integral_constant<int, V>{}, j);
  for (; j + L <= n; j += L) columns(std::integral_constant<int, 1>{}, j);
  for (; j < n; ++j) {
    T even = accumulate ? y[j] : T{}, odd{};
    for (int r = 0; r < R; ++r) (r % 2 ? odd : even) += x[r * x_step] * b[r * b_row + j];
    y[j] = even + odd;
  }
}

template <class T>
void gemv_of(int64_t n, int64_t k, const T* x, int64_t x_step, const T* b, int64_t b_row, T* y) {
  int64_t p = 0;
  for (; p + 8 <= k; p += 8) gemv_rows<T, 8>(n, x + p * x_step, x_step, b + p * b_row, b_row, y, p > 0);
  for (; p < k; ++p) gemv_rows<T, 1>(n, x + p * x_step, x_step, b + p * b_row, b_row, y, p > 0);
  if (k == 0)
    for (int64_t j = 0; j < n; ++j) y[j] = T{};
}

template <class T>
void panel_gemv_of(int64_t n, int64_t k, const T* x, const gemm::Panels<T>& b, T* y) {
  constexpr int L = kLanes<T>, N = kVectors * L;
  constexpr int kSteps = 8 / kVectors;  // at a time, as eight chains of FMA hide its latency
  for (int64_t j = 0; j < n; j += N) {
    const T* panel = b.data + j / N * b.panel;
    Vec<T> sum[kSteps][kVectors]{};
    const auto multiply = [&](int64_t p, int s) __attribute__((always_inline)) {
      const Vec<T> factor = splat(x[p]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[s][v] += factor * load(panel + p * N + v * L);
    };
    int64_t p = 0;
    for (; p + kSteps <= k; p += kSteps) {
#pragma GCC unroll 4
      for (int s = 0; s < kSteps; ++s) multiply(p + s, s);
    }
    for (; p < k; ++p) multiply(p, 0);
    T* out = y + j;
    int64_t left = n - j;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors && left > 0; ++v, out += L, left -= L) {
      for (int s = 1; s < kSteps; ++s) sum[0][v] += sum[s][v];
      left >= L ? store(out, sum[0][v]) : store_part(out, sum[0][v], static_cast<int>(left));
    }
  }
}

// Rows from two pointers and a stride times 0, 1 or 2: more address registers would be spilled.
template <class T>
struct Rows {
  const T* base[2];
  int64_t row;
  Rows(const T* data, int64_t row) : base{data, data + 3 * row}, row(row) {}
  const T* at(int i) const { return base[i / 3] + i % 3 * row; }
};

// R rows of A times C rows of B, vectors along k.
template <class T, int R, int C>
inline void dot_tile(int64_t k, const T* a, int64_t a_row, const T* b, int64_t b_row, T* c, int64_t c_row) {
  constexpr int L = kLanes<T>;
  Vec<T> sum[R][C];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) sum[i][j] = Vec<T>{};
  const Rows<T> rows(a, a_row), columns(b, b_row);
  auto multiply = [&](auto read) __attribute__((always_inline)) {
    Vec<T> y[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) y[j] = read(columns.at(j));
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const Vec<T> x = read(rows.at(i));
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) sum[i][j] += x * y[j];
    }
  };
  int64_t p = 0;
  for (; p + L <= k; p += L) multiply([p](const T* row) { return load(row + p); });
  if (const int tail = static_cast<int>(k - p); tail > 0)
    multiply([p, tail](const T* row) { return load_part(row + p, tail); });
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) c[i * c_row + j] = reduce_add<T>(sum[i][j]);
}

// Rows of A that a tile of dot products has, at most: its sums, C vectors of B and one of A are in registers, and not
// all of a first-level cache's set is rows of A where these are pages apart.
constexpr int kDotRows = NATIVE_VEC_BYTES == 64 ? 6 : 4;

template <class T, int R>
void dot_rows(int64_t n, int64_t k, const T* a, int64_t a_row, const T* b, int64_t b_row, T* c, int64_t c_row) {
  constexpr int kSums = NATIVE_VEC_BYTES == 64 ? 24 : 12, C = std::min(kSums / R, 6);
  int64_t j = 0;
  for (; j + C <= n; j += C) dot_tile<T, R, C>(k, a, a_row, b + j * b_row, b_row, c + j, c_row);
  for (; j < n; ++j) dot_tile<T, R, 1>(k, a, a_row, b + j * b_row, b_row, c + j, c_row);
}

template <class T, int... R>
constexpr auto dots_by_rows(std::integer_sequence<int, R...>) {
  return std::array{dot_rows<T, R + 1>...};
}

template <class T>
void dots_of(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, const T* b, int64_t b_row, T* c,
             int64_t c_row) {
  constexpr auto by_rows = dots_by_rows<T>(std::make_integer_sequence<int, kDotRows>());
  const int64_t parts = (m + kDotRows - 1) / kDotRows, most = (m + parts - 1) / parts;
  for (int64_t i = 0; i < m; i += most)
    by_rows[std::min(m - i, most) - 1](n, k, a + i * a_row, a_row, b, b_row, c + i * c_row, c_row);
}

template <class T, class F>
inline void finish_rows(int64_t m, int64_t n, T* c, int64_t c_row, const Epilogue<T>& e, F activation) {
  constexpr int L = kLanes<T>;
  const T *const bias = e.bias, *added = e.added;
  for (int64_t i = 0; i < m; ++i, c += c_row) {
    int64_t j = 0;
    for (; j + L <= n; j += L) {
      Vec<T> x = load(c + j);
      if (bias) x += load(bias + j);
      if (added) x += load(added + j);
      store(c + j, activation(x));
    }
    if (const int tail = static_cast<int>(n - j); tail > 0) {
      Vec<T> x = load_part(c + j, tail);
      if (bias) x += load_part(bias + j, tail);
      if (added) x += load_part(added + j, tail);
      store_part(c + j, activation(x), tail);
    }
    if (added) added += c_row;
  }
}

// rows(function of the activation); `gelu` is the one that the result is exact enough for.
template <class Gelu, class F>
inline void activated(Activation activation, Gelu gelu, const F& rows) {
  switch (activation) {
    case Activation::None:
      return rows([](vf32 x) { return x; });
    case Activation::Relu:
      return rows([](vf32 x) { return relu<float>(x); });
    case Activation::Relu6:
      return rows([](vf32 x) { return vmin(splat(6.0f), relu<float>(x)); });
    case Activation::Gelu:
      return rows(gelu);
    case Activation::GeluTanh:
      return rows([](vf32 x) { return vgelu_tanh(x); });
    case Activation::Silu:
      return rows([](vf32 x) { return vsilu(x); });
    case Activation::Sigmoid:
      return rows([](vf32 x) { return vsigmoid(x); });
    case Activation::Tanh:
      return rows([](vf32 x) { return vtanh(x); });
  }
}

// Half precision, in steps of whole vectors; the tail goes through a buffer.
template <class H>
void widen_of(const uint16_t* in, float* out, int64_t count) {
  constexpr int L = kLanes<float>;
  int64_t i = 0;
  for (; i + L <= count; i += L) store(out + i, widen(load_u16(in + i), H{}));
  if (i == count) return;
  uint16_t part[L] = {};
  for (int64_t r = i; r < count; ++r) part[r - i] = in[r];
  store_part(out + i, widen(load_u16(part), H{}), static_cast<int>(count - i));
}
template <class H>
void narrow_of(const float* in, uint16_t* out, int64_t count) {
  constexpr int L = kLanes<float>;
  int64_t i = 0;
  for (; i + L <= count; i += L) store_u16(out + i, narrow(load(in + i), H{}));
  if (i == count) return;
  uint16_t part[L];
  store_u16(part, narrow(load_part(in + i, static_cast<int>(count - i)), H{}));
  for (int64_t r = i; r < count; ++r) out[r] = part[r - i];
}

}  // namespace

void gemv(int64_t n, int64_t k, const float* x, int64_t x_step, const float* b, int64_t b_row, float* y) {
  gemv_of(n, k, x, x_step, b, b_row, y);
}
void gemv(int64_t n, int64_t k, const double* x, int64_t x_step, const double* b, int64_t b_row, double* y) {
  gemv_of(n, k, x, x_step, b, b_row, y);
}
void panel_gemv(int64_t n, int64_t k, const float* x, const gemm::Panels<float>& b, float* y) {
  panel_gemv_of(n, k, x, b, y);
}
void panel_gemv(int64_t n, int64_t k, const double* x, const gemm::Panels<double>& b, double* y) {
  panel_gemv_of(n, k, x, b, y);
}
void dots(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, const float* b, int64_t b_row, float* c,
          int64_t c_row) {
  dots_of(m, n, k, a, a_row, b, b_row, c, c_row);
}
void dots(int64_t m, int64_t n, int64_t k, const double* a, int64_t a_row, const double* b, int64_t b_row, double* c,
          int64_t c_row) {
  dots_of(m, n, k, a, a_row, b, b_row, c, c_row);
}

void finish(int64_t m, int64_t n, float* c, int64_t c_row, const Epilogue<float>& e) {
  activated(
      e.activation, [](vf32 x) { return vgelu(x); },
      [&](auto activation) { finish_rows(m, n, c, c_row, e, activation); });
}
// The driver asks for no other activation in double precision.
void finish(int64_t m, int64_t n, double* c, int64_t c_row, const Epilogue<double>& e) {
  if (e.activation == Activation::Relu)
    finish_rows(m, n, c, c_row, e, [](vf64 x) { return relu<double>(x); });
  else
    finish_rows(m, n, c, c_row, e, [](vf64 x) { return x; });
}

namespace {

template <class F>
inline void finish_bf16_rows(int64_t m, int64_t n, const float* sum, int64_t sum_row, const Epilogue<uint16_t>& e,
                             uint16_t* out_, int64_t row, F activation) {
  constexpr int L = kLanes<float>;
  const BFloat *const bias = reinterpret_cast<const BFloat*>(e.bias), *added = reinterpret_cast<const BFloat*>(e.added);
  BFloat* out = reinterpret_cast<BFloat*>(out_);
  for (int64_t i = 0; i < m; ++i, sum += sum_row, out += row) {
    auto result = [&](const float* sums, const BFloat* biases, const BFloat* more, int64_t j) {
      vf32 x = load(sums + j);
      if (bias) x += vload(biases + j);
      if (added) x += vload(more + j);
      return activation(x);
    };
    int64_t j = 0;
    for (; j + L <= n; j += L) vstore(out + j, result(sum, bias, added, j));
    if (j < n) {
      float sums[L] = {};
      BFloat biases[L] = {}, more[L] = {}, results[L];
      for (int64_t k = j; k < n; ++k) {
        sums[k - j] = sum[k];
        if (bias) biases[k - j] = bias[k];
        if (added) more[k - j] = added[k];
      }
      vstore(results, result(sums, biases, more, 0));
      for (int64_t k = j; k < n; ++k) out[k] = results[k - j];
    }
    if (added) added += row;
  }
}

void finish_bf16(int64_t m, int64_t n, const float* sum, int64_t sum_row, const Epilogue<uint16_t>& e, uint16_t* out,
                 int64_t row) {
  activated(
      e.activation, [](vf32 x) { return vgelu_brief(x); },
      [&](auto activation) { finish_bf16_rows(m, n, sum, sum_row, e, out, row, activation); });
}

}  // namespace

extern const gemm::VectorTable gemm_vector_table;
const gemm::VectorTable gemm_vector_table = {widen_of<BFloat>, narrow_of<BFloat>, widen_of<Half>, narrow_of<Half>,
                                             finish_bf16};

}  // namespace NATIVE_ISA
}  // namespace native
