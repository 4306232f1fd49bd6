// Loops of the depthwise convolution in two dimensions, a vector of channels at a time over many pixels: sums stay in
// registers, and a source is loaded once for all results that see it.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::conv {

// Rows of results of one image. Tap (kh, kw) of result (y, x) reads pixel (top + y * stride + kh, left + x * stride +
// kw), which outside of the image is padding.
struct SlabView {
  const float* image;  // [height, width, channels]
  int64_t height, width, channels;
  int64_t top, left;
  int64_t window, stride;  // 3, 5 or 7 in both directions; 1 or 2
  int64_t rows, columns;   // of results
};

struct SlabRun {
  // Of at least kSlabColumns; the first's last column of taps and the last's first one lie inside of the image. Windows
  // of 7 have stride 1 alone.
  SlabView view;
  const float* weights;  // of the first tap, a row of channels
  int64_t tap_step;      // elements to the next tap's, down if the window is turned
  const float* bias;     // or null
  int activation;        // 0 none, 1 relu, 2 relu6
  float* result;         // [rows, columns, channels]
  bool past_caches;      // results are whole lines, which no cache need keep
};
constexpr int64_t kSlabColumns = 4;

// sums[tap * channels + c] += source * cotangent, over all results.
struct SlabSum {
  SlabView view;
  // But of whole slabs, addresses of the pixels that the results read, `pitch` to a row, and of zeros in the padding.
  const float* const* pixels;
  int64_t pitch;
  const float* cotangent;  // [rows, columns, channels]
  float* sums;
  // Asked for meanwhile, in memory's order: as many cotangents, and of each of `stride` ranges, `source_range` apart,
  // as many sources as the results move on.
  const float *next_cotangent, *next_source;
  int64_t source_range;
};

struct SlabTable {
  void (*run)(const SlabRun& run);  // null where there are too few registers
  void (*sum)(const SlabSum& sum);
  bool whole_slabs;  // for `sum`, which asks for the next one; else parts of rows
};

NATIVE_ISA_TABLE(SlabTable, slab_table)

}  // namespace native::conv
