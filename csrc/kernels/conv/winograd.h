// Transforms of the Winograd convolutions F(2x2, 3x3) and F(4x4, 3x3), vectorised over channels: a square of results of
// side 2 costs 16 products of transformed values instead of 36, one of side 4 costs 36 instead of 144. Elements are
// float32 or bfloat16. What is transformed is float32, so that bfloat16 is rounded once, at the end; or, at side 2,
// bfloat16 where dot instructions multiply it: computed in float32 and rounded once more.
//
// Side 2 is computed at the points 0, 1, -1 and infinity. Side 4 at 0, +-sqrt(1/2), +-sqrt(2) and infinity: |A| |B|
// |G|, by which rounding grows, is 8.3 in each dimension there, and 16 at the usual 0, +-1, +-2 and infinity.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::conv {

// Pixels of x on each side of a square with results of that side, and positions of what is transformed.
constexpr int64_t winograd_patch(int64_t side) { return side + 2; }
constexpr int64_t winograd_positions(int64_t side) { return winograd_patch(side) * winograd_patch(side); }
constexpr int kMostSide = 4;

// The side in use: 2, or what NATIVE_WINOGRAD says, 2 or 4. Throws std::invalid_argument for anything else.
int winograd_side();

// T: elements of tensors; V: what they are transformed into. Sums of products are float32.
template <class T, class V = float>
struct WinogradTransforms {
  // source[patch * row + column] are the pixels of a square; value[p * pitch + c] is position p.
  void (*input)(const T* const* source, int64_t channels, V* value, int64_t pitch);
  // w[tap * tap_pitch + c] are the nine taps.
  void (*weight)(const T* w, int64_t tap_pitch, int64_t channels, V* value, int64_t pitch);
  // result[side * row + column] are the pixels of a square, null outside the image; bias may be null.
  // `residual` is added before the activation: like `result`, or null. Activation: 0 none, 1 relu, 2 relu6.
  void (*output)(const float* value, int64_t pitch, int64_t channels, const T* bias, const T* const* residual,
                 int activation, T* const* result);
  // The largest of a square's results.
  void (*largest)(const float* value, int64_t pitch, int64_t channels, const T* bias, int activation, T* result);
  // The adjoint of `output`: ct[side * row + column] are the cotangents of a square.
  void (*cotangent)(const T* const* ct, int64_t channels, V* value, int64_t pitch);
  // The adjoint of `weight`, of a sum: value[part * part_pitch + p * pitch + c] over the parts in order.
  void (*weight_back)(const float* value, int64_t parts, int64_t part_pitch, int64_t pitch, int64_t channels, T* w,
                      int64_t tap_pitch);
};

struct WinogradTable {
  WinogradTransforms<float> f32[2];  // of side 2 and 4
  WinogradTransforms<uint16_t> bf16[2];
  WinogradTransforms<uint16_t, uint16_t> narrow;  // of side 2
};

NATIVE_ISA_TABLE(WinogradTable, winograd_table)

template <class T, class V = float>
static inline const WinogradTransforms<T, V>& winograd_transforms(int side) {
  if constexpr (sizeof(V) != sizeof(float))
    return winograd_table().narrow;
  else if constexpr (sizeof(T) == sizeof(float))
    return winograd_table().f32[side == 4];
  else
    return winograd_table().bf16[side == 4];
}

}  // namespace native::conv
