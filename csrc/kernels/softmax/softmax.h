// Softmax, its logarithm, the cross-entropies and their gradients: what one thread does.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native {

struct SoftmaxTable {
  // Rows of n. `log`: log-softmax.
  void (*rows)(const void* x, void* y, int64_t rows, int64_t n, bool log);
  void (*rows_grad)(const void* ct, const void* y, void* dx, int64_t rows, int64_t n, bool log);
  // x[n, inner] along n, for `count` columns from the one pointed at.
  void (*columns)(const void* x, void* y, int64_t n, int64_t inner, int64_t count, bool log);
  void (*columns_grad)(const void* ct, const void* y, void* dx, int64_t n, int64_t inner, int64_t count, bool log);

  // -log softmax(x)[label] of rows of n; 0 for a label outside of them.
  void (*label_loss)(const void* x, const int64_t* labels, void* loss, int64_t rows, int64_t n);
  void (*label_loss_grad)(const void* ct, const void* x, const int64_t* labels, void* dx, int64_t rows, int64_t n);
  // -sum(target log softmax(x)) of rows of n.
  void (*target_loss)(const void* x, const void* targets, void* loss, int64_t rows, int64_t n);
  void (*target_loss_grad)(const void* ct, const void* x, const void* targets, void* dx, int64_t rows, int64_t n);
  // Binary cross-entropy of n logits.
  void (*sigmoid_loss)(const void* x, const void* targets, void* loss, int64_t n);
};

// For float16, bfloat16, float32, float64.
struct SoftmaxTables {
  SoftmaxTable f16, bf16, f32, f64;
};
NATIVE_BF16_TABLE(SoftmaxTables, softmax_tables)

}  // namespace native
