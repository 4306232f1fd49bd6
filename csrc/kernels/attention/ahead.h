// Rows asked for while products are computed. Included by attention's *.simd.cpp units only.
#pragma once

#include <cstdint>

namespace native {
namespace NATIVE_ISA {
namespace {

// Rows of a head lie a page or half of one apart, where the processor fetches nothing by itself, and packing them costs
// few operations beside what it waits for. So what is packed or written next is asked for before, a few rows with each
// tile of a product: products need arithmetic alone, and more lines at a time than can be on their way would stop them.
class RowsAhead {
 public:
  // `rows` of `size` elements, `stride` apart; what is added beyond kPieces times is left out.
  template <class T>
  void add(const T* x, int64_t stride, int64_t rows, int64_t size) {
    if (rows <= 0 || count_ == kPieces) return;
    constexpr int64_t bytes = sizeof(T);
    pieces_[count_++] = {reinterpret_cast<const char*>(x), stride * bytes, rows, size * bytes};
    rows_ += rows;
  }
  // All that was added within so many calls of step().
  void spread(int64_t steps) { rows_ = steps > 0 ? (rows_ + steps - 1) / steps : 0; }
  void step() {
    for (int64_t i = 0; i < rows_ && now_ < count_; ++i) {
      Rows& piece = pieces_[now_];
      for (int64_t at = 0; at < piece.bytes; at += kLine) __builtin_prefetch(piece.at + at, 0, kSecondLevel);
      piece.at += piece.stride;
      if (--piece.rows == 0) ++now_;
    }
  }

 private:
  static constexpr int kPieces = 8, kSecondLevel = 2;
  static constexpr int64_t kLine = 64;
  struct Rows {
    const char* at;
    int64_t stride, rows, bytes;
  };
  Rows pieces_[kPieces];
  int count_ = 0, now_ = 0;
  int64_t rows_ = 0;  // added; from spread() on, of each step
};

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native
