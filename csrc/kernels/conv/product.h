// Products of pixels by channels for convolutions: C = activation(A * B + bias + added) of elements T, in one form for
// plans of floating-point numbers and of words. Row-major operands without gaps; the pool is used. Immutable.
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/words.h"

namespace native::conv {

struct BFloat16 {
  uint16_t bits;
};

struct ProductSizes {
  int64_t m, n, k;
  bool transpose_a, transpose_b;
};

template <class T>
class Product {
 public:
  Product(const ProductSizes& s, Activation activation)
      : activation_(activation),
        far_(is_far(s.m * s.n * static_cast<int64_t>(sizeof(T)))),
        plan_(gemm::kernels_of<T>(), s.m, s.n, s.k, s.transpose_a,
              s.transpose_b ? gemm::Form::Columns : gemm::Form::Rows) {}
  size_t scratch_bytes() const { return sizeof(T) * static_cast<size_t>(plan_.scratch_size()); }
  void run(const T* a, const T* b, T* c, const T* bias, const T* added, void* scratch) const {
    plan_.run(a, b, c, {.bias = bias, .activation = activation_, .added = added, .past = far_},
              static_cast<T*>(scratch));
  }

 private:
  const Activation activation_;
  const bool far_;
  const gemm::Plan<T> plan_;
};

// Only where has_word_products(), and no size is zero.
template <>
class Product<BFloat16> {
 public:
  Product(const ProductSizes& s, Activation activation)
      : plan_(words_table().bf16,
              {s.m, s.n, s.k, s.transpose_a, s.transpose_b, 1, nullptr, nullptr, activation, true}) {}
  size_t scratch_bytes() const { return plan_.scratch_size(); }
  void run(const BFloat16* a, const BFloat16* b, BFloat16* c, const BFloat16* bias, const BFloat16* added,
           void* scratch) const {
    plan_.run(a, b, c,
              {.bias = reinterpret_cast<const uint16_t*>(bias), .added = reinterpret_cast<const uint16_t*>(added)},
              scratch);
  }

 private:
  const gemm::WordPlan plan_;
};

inline bool has_word_products() { return words_table().bf16.block != nullptr; }

}  // namespace native::conv
