// Transforms of convolutions of stride 2 with windows of 3x3 or 4x4, which polyphase.cpp describes: vectorised over
// channels, additions alone.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::conv {

// Sources of a square: pixels on each side of its patch, and values on each side that are made of them.
struct PolyphaseInput {
  int patch, values;
  // source[patch * row + column] are the pixels of a square. The values of slot (i, j), one after another, are those of
  // its `counts[i]` rows and `counts[j]` columns; a value is `channels` elements.
  void (*run)(const float* const* source, int64_t channels, float* value);
  int counts[3];
};

struct PolyphaseTable {
  // Of the forward pass with a window of 3 and of 4, and of the gradient by the input.
  PolyphaseInput forward[2], gradient;
  // result[2 * r + c] = activation(bias + the sum of product[3 * i + j] over i in {r, r + 1}, j in {c, c + 1}), for
  // those results that are not null; products that are null are 0. Activation: 0 none, 1 relu, 2 relu6.
  void (*output)(const float* const* product, int64_t channels, const float* bias, int activation,
                 float* const* result);
};

NATIVE_ISA_TABLE(PolyphaseTable, polyphase_table)

}  // namespace native::conv
