// Shared by the drivers of normalisations.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/floating.h"
#include "kernels/norm/norm.h"

namespace native {

// The functions for a floating dtype, nullptr for any other.
inline const NormTable* norm_table(DType dtype) { return floating_entry(norm_tables(), dtype); }

// How an operation on rows is cut: up to `most` tasks of at least about 16K elements, so that waking
// another thread pays.
struct RowTasks {
  int64_t count, rows_each, rows;
  RowTasks(int64_t rows, int64_t row_elements, int64_t most = 64) : rows(rows) {
    const int64_t wanted = std::clamp<int64_t>(rows * row_elements / 16384, 1, most);
    rows_each = (rows + wanted - 1) / wanted;
    count = (rows + rows_each - 1) / rows_each;
  }
  int64_t begin(int64_t task) const { return task * rows_each; }
  int64_t size(int64_t task) const { return std::min(rows_each, rows - begin(task)); }
};

// Elements of a dtype and of the type W that it is computed in. Parameters and statistics are of a dtype of their own:
// the same, or W.
struct Elements {
  const NormTable* table;
  DType dtype;
  size_t size, wide;
  bool wide_parameters;
  Elements(DType dtype, DType parameters)
      : table(norm_table(dtype)),
        dtype(dtype),
        size(size_of(dtype)),
        wide(dtype == DType::F64 ? 8 : 4),
        wide_parameters(size_of(parameters) == wide) {}

  // A parameter as [n] of W: where it stands if it is there in W, else in `room`; `otherwise` if null.
  const void* parameter(const void* given, int64_t n, double otherwise, void* room) const {
    if (given == nullptr) {
      if (wide == 8)
        std::fill_n(static_cast<double*>(room), n, otherwise);
      else
        std::fill_n(static_cast<float*>(room), n, static_cast<float>(otherwise));
      return room;
    }
    if (wide_parameters) return given;
    table->widen(given, room, n);
    return room;
  }
  // The same, always in `room`; and back.
  void take(const void* given, int64_t n, void* room) const {
    if (wide_parameters)
      std::memcpy(room, given, static_cast<size_t>(n) * wide);
    else
      table->widen(given, room, n);
  }
  void give(const void* computed, int64_t n, void* out) const {
    if (wide_parameters)
      std::memcpy(out, computed, static_cast<size_t>(n) * wide);
    else
      table->narrow(computed, out, n);
  }
};

inline const char* at(const void* base, int64_t elements, size_t size) {
  return static_cast<const char*>(base) + elements * static_cast<int64_t>(size);
}
inline char* at(void* base, int64_t elements, size_t size) {
  return static_cast<char*>(base) + elements * static_cast<int64_t>(size);
}

}  // namespace native
