// Online softmax of a panel of scores [key][query], queries along the lanes. Included by attention's *.simd.cpp units
// only.
#pragma once

#include "kernels/attention/extras.h"
#include "simd/math.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// Of one vector of queries: scores -> 2^(factor scores - shift), factor > 0 (if not Scaled, 1), and `total` with their
// sum. Scores may be Above the shift.
template <bool Scaled, bool Above, class W>
inline __attribute__((always_inline)) Vec<W> exponentials(W* scores, int64_t keys, W factor, Vec<W> shift,
                                                          Vec<W> total) {
  const auto one = [&](int64_t j) {
    W* const row = scores + j * kPanel<W>;
    const Vec<W> x = load(row), difference = (Scaled ? x * factor : x) - shift;
    const Vec<W> p = Above ? exp2_any(difference) : exp2_small(difference);
    store(row, p);
    return p;
  };
  Vec<W> odd{};
  int64_t j = 0;
  for (; j + 2 <= keys; j += 2) {
    total += one(j);
    odd += one(j + 1);
  }
  if (j < keys) total += one(j);
  return total + odd;
}

// scores -> 2^(factor scores - peak) with the running maximum of factor scores; correction = 2^(peak before - peak
// after). Of the vectors with the first `queries` queries.
template <bool Scaled, class W>
void online_softmax(W* scores, int64_t queries, int64_t keys, W factor, W* peak, W* total, W* correction) {
  constexpr int L = kLanes<W>, P = kPanel<W>;
  for (int64_t half = 0; half < queries; half += L) {
    const auto scaled = [&](int64_t j) {
      const Vec<W> x = load(scores + j * P + half);
      return Scaled ? x * factor : x;
    };
    const Vec<W> before = load(peak + half);
    Vec<W> top[2] = {before, before};
    int64_t j = 0;
    for (; j + 2 <= keys; j += 2) {
      top[0] = vmax(scaled(j), top[0]);
      top[1] = vmax(scaled(j + 1), top[1]);
    }
    if (j < keys) top[0] = vmax(scaled(j), top[0]);
    const Vec<W> after = vmax(top[0], top[1]);
    // A row of minus infinities so far: the difference would be NaN, and the weight must be 0.
    const Vec<W> shift = after == -__builtin_inff() ? Vec<W>{} : after;
    const Vec<W> scale = exp2_small(before - shift);
    store(peak + half, after);
    store(total + half, exponentials<Scaled, false>(scores + half, keys, factor, shift, load(total + half) * scale));
    store(correction + half, scale);
  }
}

// What the queries summed so far, for a larger peak.
template <class W>
void scale_rows(const W* correction, int64_t queries, int64_t columns, W* out, int64_t out_row) {
  for (int64_t i = 0; i < queries; ++i)
    for (int64_t c = 0; c < columns; c += kLanes<W>) {
      W* const at = out + i * out_row + c;
      store(at, load(at) * correction[i]);
    }
}

// The logarithms of what `queries` queries summed. A query that saw masked keys alone has scores of 0.
template <class W>
void log_sums(const W* peak, const W* total, int64_t queries, W* lse) {
  constexpr int L = kLanes<W>;
  for (int64_t i = 0; i < queries; i += L) {
    const Vec<W> top = load(peak + i);
    const Vec<W> base = top == static_cast<W>(kMasked) ? Vec<W>{} : top * static_cast<W>(kLn2);
    const Vec<W> result = base + vlog(load(total + i));
    if (i + L <= queries)
      store(lse + i, result);
    else
      store_part(lse + i, result, static_cast<int>(queries - i));
  }
}

// Of a task that is done: attend(shifts) once more if it has queries that need them.
template <class T, class Attend>
void again_with_shifts(const AttentionForward& a, const AttentionQueries& task, const Attend& attend) {
  if (!a.bias) return;
  const auto [batch, head, first, queries] = task;
  Wide<T> shifts[kMostQueries];
  auto* lse = static_cast<Wide<T>*>(a.lse) + (batch * a.shape->heads + head) * a.shape->queries + first;
  if (!find_shifts(Extras<T>(a, batch, head), first, queries, lse, shifts)) return;
  attend(shifts);
  for (int64_t i = 0; i < queries; ++i) lse[i] += shifts[i];
}

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native
