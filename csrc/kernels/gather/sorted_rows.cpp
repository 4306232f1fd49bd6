#include "kernels/gather/sorted_rows.h"

#include <algorithm>
#include <bit>

#include "kernels/grid.h"

namespace native {
namespace {

// Digits of so many bits at most: their counts stay in the first-level cache.
constexpr int kDigitBits = 11;

}  // namespace

int64_t SortedRows::Order::find(int64_t row) const {
  return std::lower_bound(rows, rows + count, static_cast<uint32_t>(row)) - rows;
}

int64_t SortedRows::Order::end_of(int64_t at) const {
  int64_t end = at + 1;
  while (end < count && rows[end] == rows[at]) ++end;
  return end;
}

SortedRows::SortedRows(RowsView view, DType index) : view_(std::move(view)), index_(index) {
  const int bits = std::bit_width(static_cast<uint64_t>(std::max<int64_t>(view_.rows, 2) - 1));
  passes_ = static_cast<int>(ceil_div(bits, kDigitBits));
  digit_bits_ = static_cast<int>(ceil_div(bits, passes_));
}

size_t SortedRows::scratch_bytes() const {
  const auto list = whole_lines(static_cast<size_t>(view_.count) * sizeof(uint32_t));
  return 4 * list + (size_t{1} << digit_bits_) * sizeof(uint32_t);
}

// By digits, the lowest first: each pass keeps the order of equal ones.
SortedRows::Order SortedRows::sort(const void* data, void* scratch) const {
  const Indices indices(data, index_);
  const int64_t n = view_.count, list = static_cast<int64_t>(whole_lines(n * sizeof(uint32_t)) / sizeof(uint32_t));
  uint32_t *rows = static_cast<uint32_t*>(scratch), *order = rows + list;
  uint32_t *next_rows = order + list, *next_order = next_rows + list, *const ends = next_order + list;
  for (int64_t i = 0; i < n; ++i) {
    rows[i] = static_cast<uint32_t>(view_.row(indices, i));
    order[i] = static_cast<uint32_t>(i);
  }
  const uint32_t digits = uint32_t{1} << digit_bits_;
  for (int pass = 0; pass < passes_; ++pass) {
    const auto digit = [&](uint32_t row) { return row >> (pass * digit_bits_) & (digits - 1); };
    std::fill_n(ends, digits, 0);
    for (int64_t i = 0; i < n; ++i) ++ends[digit(rows[i])];
    for (uint32_t d = 0, sum = 0; d < digits; ++d) {
      const uint32_t count = ends[d];
      ends[d] = sum;
      sum += count;
    }
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t place = ends[digit(rows[i])]++;
      next_rows[place] = rows[i];
      next_order[place] = order[i];
    }
    std::swap(rows, next_rows);
    std::swap(order, next_order);
  }
  return {rows, order, n};
}

}  // namespace native
