// Loops of the depthwise convolution in two dimensions, a vector of channels at a time over many pixels: sums stay in
// registers, and a source is loaded once for all results that see it.
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

struct SlabRun {
  PixelGrid grid;        // of at least 7 columns, or 4 where the window is 3
  int64_t window;        // 3, 5 or 7 in both directions; 7 with stride 1 alone
  const float* weights;  // of the first tap, a row of channels
  int64_t tap_step;      // elements to the next tap's, down if the window is turned
  const float* bias;     // or null
  int activation;        // 0 none, 1 relu, 2 relu6
  float* result;         // [rows, columns, channels]
};

// sums[tap * channels + c] += source * cotangent, over all results.
struct SlabSum {
  PixelGrid grid;
  int64_t window;          // 3, 5 or 7
  const float* cotangent;  // [rows, columns, channels]
  float* sums;
  // Asked for meanwhile, in memory's order: as many cotangents, and of each of `stride` rows, `source_row` apart, as
  // many sources as the results move on.
  const float *next_cotangent, *next_source;
  int64_t source_row;
};

struct SlabTable {
  void (*run)(const SlabRun& run);  // null where there are too few registers
  void (*sum)(const SlabSum& sum);
  bool sum_asks;  // for what lies ahead
};

NATIVE_ISA_TABLE(SlabTable, slab_table)

}  // namespace native::conv
