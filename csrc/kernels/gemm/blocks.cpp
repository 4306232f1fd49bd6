// Blocks of a product on one thread, and packing all of B. No vector code here.
#include "kernels/gemm/blocks.h"

#include <algorithm>

#include "kernels/grid.h"
#include "runtime/pool.h"
#include "simd/nontemporal.h"

namespace native::gemm {
namespace {

// Up to so many terms the bytes of a large C take longer than its sums; from 128 on tiles fetch it in time.
constexpr int64_t kShortSum = 64;
// Lines a multiple of so many bytes apart take twice the time of others on their way past the caches (8 ns in place of
// 4): rows of 1 and 2 KB lose up to a tenth.
constexpr int64_t kSlowRows = 1024;

// Terms of a block out of k, and rows out of m of one of so many terms.
template <class T>
int64_t block_depth(const Kernels<T>& kernels, int64_t k, bool packed_b) {
  return even_share(k, packed_b ? kernels.deep_kc : kernels.kc, 8);
}
template <class T>
int64_t block_rows(const Kernels<T>& kernels, int64_t m, int64_t terms) {
  const int64_t fit = kBlockBytes / (terms * static_cast<int64_t>(sizeof(T)));
  return even_share(m, std::min<int64_t>(kernels.mc, fit / kernels.mr * kernels.mr), kernels.mr);
}

template <class T>
void activate(const Kernels<T>& kernels, int64_t m, int64_t n, T* c, int64_t c_row, Activation activation) {
  if (activation != Activation::None && !clips(activation)) kernels.finish(m, n, c, c_row, {.activation = activation});
}

// Whether tiles store their part of C past the caches: whole lines that no pass follows.
template <class T>
bool goes_past(int64_t terms, const T* c, int64_t c_row, bool accumulate, const Epilogue<T>& epilogue) {
  const bool last = epilogue.activation == Activation::None || clips(epilogue.activation);
  const bool worth = terms <= kShortSum && c_row * static_cast<int64_t>(sizeof(T)) % kSlowRows != 0;
  return epilogue.past && last && worth && !accumulate && at_line(c) && at_line(c + c_row);
}

// Terms [p, p + steps) of k for at most mc rows; B is the panels of these terms. `copy`: where they are copied, or
// null.
template <class T>
void block_terms(const Kernels<T>& kernels, int64_t m, int64_t n, int64_t steps, const Operand<T>& a,
                 const Panels<T>& b, T* c, int64_t c_row, bool accumulate, const Epilogue<T>& epilogue, T* packed_a,
                 T* copy = nullptr) {
  Block<T> block{m, n, steps, a, kernels.mr * a.row, b, c, c_row, accumulate, epilogue, copy};
  block.epilogue.past = goes_past(steps, c, c_row, accumulate, epilogue);
  const bool copies_a = a.column == 1 ? n >= kernels.sliver_columns : n > 2 * kernels.nr && packs_a(kernels, a);
  if (copies_a) kernels.pack_a(block, packed_a);
  kernels.block(block);
}

}  // namespace

template <class T>
int64_t block_scratch_size(const Kernels<T>& kernels, int64_t k, int64_t n) {
  return packed_a_size(kernels) + packed_b_size(kernels, std::min<int64_t>(k, kernels.deep_kc), n);
}

template <class T>
void block_packed(const Kernels<T>& kernels, int64_t m, int64_t n, int64_t k, const Operand<T>& a, const Panels<T>& b,
                  T* c, int64_t c_row, bool accumulate, const Epilogue<T>& epilogue, T* scratch) {
  if (k == 0) return no_terms(kernels, m, n, c, c_row, accumulate, epilogue);
  const int64_t depth = block_depth(kernels, k, b.row == kernels.nr), most = block_rows(kernels, m, depth);
  for (int64_t i = 0; i < m; i += most) {
    const int64_t rows = std::min(most, m - i);
    for (int64_t p = 0; p < k; p += depth)
      block_terms(kernels, rows, n, std::min(depth, k - p), {a.data + i * a.row + p * a.column, a.row, a.column},
                  {b.data + p * b.row, b.row, b.panel}, c + i * c_row, c_row, accumulate || p > 0,
                  p + depth >= k ? epilogue.from(i, 0, c_row) : Epilogue<T>{}, scratch);
    activate(kernels, rows, n, c + i * c_row, c_row, epilogue.activation);
  }
}

template <class T>
void block(const Kernels<T>& kernels, int64_t m, int64_t n, int64_t k, const Operand<T>& a, const Operand<T>& b, T* c,
           int64_t c_row, bool accumulate, const Epilogue<T>& epilogue, T* scratch) {
  if (k == 0) return no_terms(kernels, m, n, c, c_row, accumulate, epilogue);
  // Whole panels of a row-major B are read in place when few rows would use a copy, or else copied by their first tile.
  const int64_t whole = b.column == 1 ? n / kernels.direct_columns * kernels.direct_columns : 0;
  const int64_t direct = m <= kernels.direct_rows ? whole : 0;
  if (direct > 0)
    block_packed(kernels, m, direct, k, a, {b.data, b.row, kernels.nr}, c, c_row, accumulate, epilogue, scratch);
  if (direct == n) return;
  T* const packed_b = scratch + packed_a_size(kernels);
  const int64_t columns = n - direct, copied = (whole - direct) / kernels.nr * kernels.nr;
  const int64_t depth = block_depth(kernels, k, true), most = block_rows(kernels, m, depth);
  const Epilogue<T> rest = epilogue.from(0, direct, c_row);
  c += direct;
  for (int64_t p = 0; p < k; p += depth) {
    const int64_t steps = std::min(depth, k - p), panel = steps * kernels.nr;
    const T* const from = b.data + direct * b.column + p * b.row;
    kernels.pack_b({from + copied * b.column, b.row, b.column}, steps, columns - copied, packed_b + copied * steps,
                   panel);
    for (int64_t i = 0; i < m; i += most) {
      const Epilogue<T> last = p + steps == k ? rest.from(i, 0, c_row) : Epilogue<T>{};
      const auto part = [&](int64_t j, int64_t count, const Panels<T>& panels, T* copy) {
        if (count > 0)
          block_terms(kernels, std::min(most, m - i), count, steps,
                      {a.data + i * a.row + p * a.column, a.row, a.column}, panels, c + i * c_row + j, c_row,
                      accumulate || p > 0, last.from(0, j, c_row), scratch, copy);
      };
      const int64_t first = i == 0 ? copied : 0;
      part(0, first, {from, b.row, kernels.nr}, packed_b);
      part(first, columns - first, {packed_b + first * steps, kernels.nr, panel}, nullptr);
    }
  }
  activate(kernels, m, columns, c, c_row, epilogue.activation);
}

template <class T>
void pack_panels(const Kernels<T>& kernels, const Operand<T>& b, int64_t k, int64_t n, T* out) {
  // In pieces of 64 K elements, wide ones of few rows so that a row is read along its pages.
  const int64_t nr = kernels.nr, panel = k * nr;
  const int64_t width = round_up(std::min<int64_t>(n, 512), nr);
  const int64_t rows = std::min(k, std::max<int64_t>(8, 65536 / width)), pieces = ceil_div(n, width);
  pool::parallel_for(pieces * ceil_div(k, rows), [&](int64_t task) {
    const int64_t j = task % pieces * width, p = task / pieces * rows;
    kernels.pack_b({b.data + p * b.row + j * b.column, b.row, b.column}, std::min(rows, k - p), std::min(width, n - j),
                   out + j / nr * panel + p * nr, panel);
  });
}

#define NATIVE_GEMM(T)                                                                                                 \
  template int64_t block_scratch_size(const Kernels<T>&, int64_t, int64_t);                                            \
  template void block_packed(const Kernels<T>&, int64_t, int64_t, int64_t, const Operand<T>&, const Panels<T>&, T*,    \
                             int64_t, bool, const Epilogue<T>&, T*);                                                   \
  template void block(const Kernels<T>&, int64_t, int64_t, int64_t, const Operand<T>&, const Operand<T>&, T*, int64_t, \
                      bool, const Epilogue<T>&, T*);                                                                   \
  template void pack_panels(const Kernels<T>&, const Operand<T>&, int64_t, int64_t, T*);
NATIVE_GEMM(float)
NATIVE_GEMM(double)
#undef NATIVE_GEMM

}  // namespace native::gemm
