// Transforms of the Winograd convolutions F(2x2, 3x3), F(4x4, 3x3) and F(2x2x2, 3x3x3), vectorised over channels: a
// square of results of side 2 costs 16 products of transformed values instead of 36, one of side 4 costs 36 instead of
// 144, a cube of side 2 costs 64 instead of 216. Elements are float32 or bfloat16. What is transformed is float32, so
// that bfloat16 is rounded once, at the end; or, of squares of side 2, bfloat16 where dot instructions multiply it:
// computed in float32 and rounded once more.
//
// Side 2 is computed at the points 0, 1, -1 and infinity. Side 4 at 0, +-sqrt(1/2), +-sqrt(2) and infinity: |A| |B|
// |G|, by which rounding grows, is 8.3 in each dimension there, and 16 at the usual 0, +-1, +-2 and infinity.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::conv {

// A tile of results: a square, or a cube of two planes of them. As many pixels are read for it, in the order of memory,
// as it has positions of what is transformed: 2 more along each dimension that has taps.
struct WinogradTile {
  int planes, side;

  int results(int dim) const { return dim == 0 ? planes : side; }
  int sources(int dim) const { return results(dim) == 1 ? 1 : results(dim) + 2; }
  int64_t results() const { return planes * side * side; }
  int64_t positions() const { return sources(0) * sources(1) * sources(2); }
  int64_t taps() const { return planes == 1 ? 9 : 27; }
};
constexpr int kMostTileResults = 16, kMostTilePositions = 64;

// The side in use: 2, or what NATIVE_WINOGRAD says, 2 or 4. Throws std::invalid_argument for anything else.
int winograd_side();

// T: elements of tensors; V: what they are transformed into. Sums of products are float32.
template <class T, class V = float>
struct WinogradTransforms {
  // The sources of a tile; value[p * pitch + c] is position p.
  void (*input)(const T* const* source, int64_t channels, V* value, int64_t pitch);
  // w[tap * tap_pitch + c] are the taps.
  void (*weight)(const T* w, int64_t tap_pitch, int64_t channels, V* value, int64_t pitch);
  // The results of a tile, null outside the image; bias may be null.
  // `residual` is added before the activation: like `result`, or null. Activation: 0 none, 1 relu, 2 relu6.
  // `past_caches`: results are whole lines, which no cache need keep; float32 heeds it.
  void (*output)(const float* value, int64_t pitch, int64_t channels, const T* bias, const T* const* residual,
                 int activation, bool past_caches, T* const* result);
  // The largest of a tile's results, and which it is, the first of several; `place` may be null.
  void (*largest)(const float* value, int64_t pitch, int64_t channels, const T* bias, int activation, T* result,
                  uint8_t* place);
  // The adjoint of `output`, from the cotangents of a tile.
  void (*cotangent)(const T* const* ct, int64_t channels, V* value, int64_t pitch);
  // The adjoint of `weight`, of a sum: value[part * part_pitch + p * pitch + c] over the parts in order.
  void (*weight_back)(const float* value, int64_t parts, int64_t part_pitch, int64_t pitch, int64_t channels, T* w,
                      int64_t tap_pitch);
};

struct WinogradTable {
  WinogradTransforms<float> f32[3];  // of squares of side 2 and 4, and of cubes
  WinogradTransforms<uint16_t> bf16[3];
  WinogradTransforms<uint16_t, uint16_t> narrow;  // of squares of side 2
};

NATIVE_BF16_TABLE(WinogradTable, winograd_table)

template <class T, class V = float>
static inline const WinogradTransforms<T, V>& winograd_transforms(const WinogradTile& tile) {
  [[maybe_unused]] const int form = tile.planes == 2 ? 2 : tile.side == 4;
  if constexpr (sizeof(V) != sizeof(float))
    return winograd_table().narrow;
  else if constexpr (sizeof(T) == sizeof(float))
    return winograd_table().f32[form];
  else
    return winograd_table().bf16[form];
}

}  // namespace native::conv
