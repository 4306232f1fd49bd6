// Loops of the depthwise 3x3 convolution in two dimensions, a vector of channels at a time over many pixels: the nine
// weights, or the nine sums of their gradient, stay in registers.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::conv {

// Addresses of the source's pixels as a padded image has them, `pitch` to a row; a pixel of the padding is a row of
// zeros. Tap (kh, kw) of result (y, x) reads pixels[(y * stride + kh) * pitch + x * stride + kw].
struct PixelGrid {
  const float* const* pixels;
  int64_t pitch;
  int64_t stride;                   // 1 or 2
  int64_t rows, columns, channels;  // of results
};

struct Depthwise3Table {
  // result[(y * columns + x) * channels + c] = activation(bias[c] + sum over taps), weights[tap] being a row of
  // channels; bias may be null; activation: 0 none, 1 relu, 2 relu6. At least 4 columns.
  void (*run)(const PixelGrid& grid, const float* const* weights, const float* bias, int activation, float* result);
  // sums[tap * channels + c] += source * cotangent, over all results.
  void (*sum)(const PixelGrid& grid, const float* cotangent, float* sums);
};

// Its functions are null where there are too few registers.
NATIVE_ISA_TABLE(Depthwise3Table, depthwise3_table)

}  // namespace native::conv
