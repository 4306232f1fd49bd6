// What blocks and plans of a product share: see gemm.h.
#pragma once

#include <algorithm>

#include "kernels/gemm/gemm.h"

namespace native::gemm {

// Whether A is copied before it is multiplied by many columns.
template <class T>
bool packs_a(const Kernels<T>& kernels, const Operand<T>& a) {
  constexpr int64_t kPage = 4096;
  if (a.column == 1) return false;
  return !kernels.reads_columns || a.column * static_cast<int64_t>(sizeof(T)) % kPage == 0;
}

template <class T>
bool needs_finish(const Epilogue<T>& epilogue) {
  return epilogue.bias || epilogue.added || epilogue.activation != Activation::None;
}

// k == 0.
template <class T>
void no_terms(const Kernels<T>& kernels, int64_t m, int64_t n, T* c, int64_t c_row, bool accumulate,
              const Epilogue<T>& epilogue) {
  if (!accumulate)
    for (int64_t i = 0; i < m; ++i) std::fill_n(c + i * c_row, n, T{});
  kernels.finish(m, n, c, c_row, epilogue);
}

}  // namespace native::gemm
