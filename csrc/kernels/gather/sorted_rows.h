// Updates of rows in the order of their rows, so that each row of a result is written once, with its updates joined
// in their order.
#pragma once

#include <cstdint>

#include "kernels/gather/indices.h"

namespace native {

class SortedRows {
 public:
  // Rows of updates lie anywhere in memory: who reads them asks for them so many ahead.
  static constexpr int64_t kAhead = 8;

  // Whether there are few enough rows and updates.
  static bool takes(const RowsView& view) {
    return view.rows < (int64_t{1} << 32) - 1 && view.count < (int64_t{1} << 32);
  }
  // Where `view.count` updates go.
  SortedRows(RowsView view, DType index);

  // What sort() writes to memory of scratch_bytes(): rows in ascending order, and for each the update that goes there;
  // those of one row in their own order.
  struct Order {
    const uint32_t *rows, *updates;
    int64_t count;

    // The first entry of that row or one behind it.
    int64_t find(int64_t row) const;
    // The first entry from `at` on that is not of its row.
    int64_t end_of(int64_t at) const;
  };
  size_t scratch_bytes() const;
  Order sort(const void* indices, void* scratch) const;

  const RowsView& view() const { return view_; }

 private:
  RowsView view_;
  DType index_;
  int passes_, digit_bits_;
};

}  // namespace native
