// Activations that are too long for an inner loop (two polynomials and more): applied to finished results
// while these are still in the cache.
#pragma once

#include <cstdint>

#include "kernels/conv/geometry.h"

namespace native::conv {

// What an inner loop applies itself: 0 none, 1 relu, 2 relu6.
inline int inner_activation(Activation activation) {
  return activation <= Activation::Relu6 ? static_cast<int>(activation) : 0;
}

// The rest, in place, over `rows` rows of `columns` elements that are `row` elements apart. Nothing for what
// inner_activation() covers. Callable from inside a pool task.
template <class T>
void finish(Activation activation, int64_t rows, int64_t columns, T* first, int64_t row);

}  // namespace native::conv
