// Transforms of the Winograd convolution F(2x2, 3x3), vectorised over channels: a 2x2 square of results
// costs 16 products of transformed values instead of 36. Elements are float32 or bfloat16; what is transformed is
// float32, so that bfloat16 is rounded once, at the end.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::conv {

template <class T>
struct WinogradTransforms {
  // source[4 * row + column] are the pixels of a 4x4 square; value[p * pitch + c] is position p of 16.
  void (*input)(const T* const* source, int64_t channels, float* value, int64_t pitch);
  // w[tap * tap_pitch + c] are the nine taps.
  void (*weight)(const T* w, int64_t tap_pitch, int64_t channels, float* value, int64_t pitch);
  // result[2 * row + column] are the pixels of a 2x2 square, null outside the image; bias may be null.
  // `residual` is added before the activation: like `result`, or null. Activation: 0 none, 1 relu, 2 relu6.
  void (*output)(const float* value, int64_t pitch, int64_t channels, const T* bias, const T* const* residual,
                 int activation, T* const* result);
  // The adjoint of `output`: ct[2 * row + column] are the cotangents of a 2x2 square.
  void (*cotangent)(const T* const* ct, int64_t channels, float* value, int64_t pitch);
  // The adjoint of `weight`, of a sum: value[part * part_pitch + p * pitch + c] over the parts in order.
  void (*weight_back)(const float* value, int64_t parts, int64_t part_pitch, int64_t pitch, int64_t channels, T* w,
                      int64_t tap_pitch);
};

struct WinogradTable {
  WinogradTransforms<float> f32;
  WinogradTransforms<uint16_t> bf16;
};

NATIVE_ISA_TABLE(WinogradTable, winograd_table)

template <class T>
static inline const WinogradTransforms<T>& winograd_transforms() {
  if constexpr (sizeof(T) == sizeof(float))
    return winograd_table().f32;
  else
    return winograd_table().bf16;
}

}  // namespace native::conv
