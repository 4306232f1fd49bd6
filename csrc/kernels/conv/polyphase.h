// Transforms of convolutions of stride 2 with windows of 3x3 or 4x4, which polyphase.cpp describes: vectorised over
// channels, additions alone.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native {
struct Problem;
}

namespace native::conv {

struct Geometry;

// Sources of a square: pixels on each side of its patch, and values on each side that are made of them.
struct PolyphaseInput {
  int patch, values;
  // source[patch * row + column] are the pixels of a square. Those values of a slot, rows by columns, stand together;
  // a value is `channels` elements.
  void (*run)(const float* const* source, int64_t channels, float* value);
};

// By slot: the taps, as bits, whose sum is the weight of each of its terms (forward) or parities (gradient).
struct PolyphaseTaps {
  int count[3];
  unsigned taps[3][2];
};
constexpr PolyphaseTaps kForwardTaps[2] = {{{2, 1, 2}, {{1, 2}, {1 | 4, 0}, {4, 2}}},
                                           {{2, 2, 2}, {{1, 2}, {1 | 4, 2 | 8}, {4, 8}}}};
constexpr PolyphaseTaps kGradientTaps[2] = {{{1, 2, 2}, {{4, 0}, {1 | 4, 2}, {1, 2}}},
                                            {{2, 2, 2}, {{4, 8}, {1 | 4, 2 | 8}, {1, 2}}}};

struct PolyphaseTable {
  // Of the forward pass with a window of 3 and of 4, of the gradient by the input, and of that whose even results lie
  // behind the odd ones: its values are those of both.
  PolyphaseInput forward[2], gradient, shifted_gradient;
  // result[2 * r + c] = activation(bias + the sum of product[3 * i + j] over i in {r, r + 1}, j in {c, c + 1}), for
  // those results that are not null; products that are null are 0. Activation: 0 none, 1 relu, 2 relu6.
  void (*output)(const float* const* product, int64_t channels, const float* bias, int activation,
                 float* const* result);
  // Its adjoint: out[slot * pitch + c] of slot (i, j) is the sum of those of the four cotangents ct[2 * r + c] that it
  // has a part in.
  void (*cotangent)(const float* const* ct, int64_t channels, float* out, int64_t pitch);
};

NATIVE_ISA_TABLE(PolyphaseTable, polyphase_table)

// Whether a convolution or one of its gradients is such, and whether with so many multiplications it is worth it.
bool polyphase_fits(const Problem& problem, const Geometry& g);
bool polyphase_pays(const Problem& problem, const Geometry& g, int64_t multiply_adds);

}  // namespace native::conv
