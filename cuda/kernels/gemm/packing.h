// An operand of an exact product whose k are contiguous is turned by every block that reads it, word by word. Where
// many do, a launch before the product turns it once for all of them.
#pragma once

#include "kernels/gemm/choice.h"
#include "kernels/gemm/problem.h"
#include "kernels/shape/params.h"
#include "runtime/images.h"

namespace native::cuda::gemm {

// B of a single product, [n, k] in memory, as [k, n] in rows of whole chunks, which end in zeros.
class Packing {
 public:
  Packing(const native::gemm::Matrices& r, const Kind& kind, bool large)
      : wanted_(r.transpose_b && kind.name == "exact" && large && r.batch == 1 && r.m >= kRows && r.k > 0 &&
                r.k * row_of(r.n) <= kMost),
        row_(row_of(r.n)),
        k_(r.k),
        copy_("shape/transposed_copy", "transposed_copy_4") {
    p_.rows = static_cast<int>(r.n);
    p_.columns = static_cast<int>(r.k);
    p_.zeros = static_cast<int>(row_ - r.n);  // less than a chunk
    p_.row_stride = r.k;
    p_.column_stride = row_;
    p_.by_columns = divisor(ceil_div(r.k, shape::kSide));
    p_.by_rows = divisor(ceil_div(r.n, shape::kSide));
  }

  bool wanted() const { return wanted_; }
  int64_t row() const { return row_; }  // elements from one of k to the next
  size_t bytes() const { return sizeof(float) * static_cast<size_t>(k_ * row_); }

  void run(const void* b, void* packed) const {
    shape::TransposedParams p = p_;
    p.from = b;
    p.to = packed;
    copy_.launch({static_cast<unsigned>(ceil_div(p.columns, shape::kSide) * ceil_div(p.rows, shape::kSide))},
                 shape::kThreads, 0, p);
  }

 private:
  // 8 bytes a word at 2.7 TB/s are won back by rows of A: 4096^3 in 3.10 ms as it is and in 2.91 with B turned, to
  // which the copy adds 0.05, which is even at about 1100 rows. No more than 128 MiB are kept for it.
  static constexpr int64_t kRows = 2048, kMost = int64_t{1} << 25;
  static int64_t row_of(int64_t n) { return ceil_div(n, 4) * 4; }

  const bool wanted_;
  const int64_t row_, k_;
  const Function copy_;
  shape::TransposedParams p_{};
};

}  // namespace native::cuda::gemm
