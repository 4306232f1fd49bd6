// Arithmetic of blocks and grids of tasks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace native {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
// Bytes as whole cache lines.
constexpr size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

// An equal share of `total` in pieces of about `most`, a multiple of `unit`.
constexpr int64_t even_share(int64_t total, int64_t most, int64_t unit) {
  if (total <= most) return total;
  return round_up(ceil_div(total, ceil_div(total, most)), unit);
}

// Where one of `shares` shares of `total` begins: multiples of `unit`, as many for each or one more. The last ends at
// share_begin(..., shares).
constexpr int64_t share_begin(int64_t total, int64_t shares, int64_t unit, int64_t share) {
  const int64_t begin = ceil_div(total, unit) * share / shares * unit;
  return begin < total ? begin : total;
}

}  // namespace native
