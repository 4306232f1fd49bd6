// The register-blocked inner loops of the direct convolution: `rows` pixels by `columns` channels, or the largest of
// each four or eight of these pixels.
//
// The left operand is never gathered: a table holds, for each tap, the address of the source pixel of each
// of the tile's pixels (a row of zeros where it lies in the padding), and the loop broadcasts from there.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/cpu.h"

namespace native {
class Kernel;
struct Problem;
}  // namespace native

namespace native::conv {

template <class T>
struct DirectTile {
  int64_t tiles;            // one after another
  const T* const* sources;  // [tiles][taps][rows]
  int64_t taps;
  int64_t run;        // consecutive elements that each tap reads from a source
  int64_t offset;     // added to every source: the first channel of the group
  const T* weights;   // [taps * run][columns]
  const T* bias;      // [columns], or null
  T* const* results;  // [tiles][rows], or of the windows of which the largest are taken, plus `result_offset`
  // Likewise: what is added before the activation; or null. Not where the largest are taken.
  const T* const* residuals;
  // Of windows: which pixel of each is the largest, the first of several. Like results.
  uint8_t* const* places;
  int64_t result_offset;
  int64_t ahead;   // results so far on are fetched; 0: none
  int width;       // columns to store, at most `columns`
  int activation;  // 0 none, 1 relu, 2 relu6
};

template <class T>
struct DirectVariant {
  int rows, columns;
  // Relative speed of the loop when no column is wasted.
  float speed;
  void (*run)(const DirectTile<T>& tile);
  // Of windows of 4 and 8 pixels, without and with places; null if `rows` is no multiple.
  void (*run_largest[2][2])(const DirectTile<T>& tile);
};

constexpr int kDirectVariants = 4;

struct DirectTable {
  int variants;  // of the kDirectVariants slots
  DirectVariant<float> f32[kDirectVariants];
  DirectVariant<double> f64[kDirectVariants];
};

NATIVE_ISA_TABLE(DirectTable, direct_table)

// The direct kernel of a problem in float32 or float64, else null.
std::unique_ptr<Kernel> direct_conv(const Problem& problem);

}  // namespace native::conv
