// Pooling loops over the channels of neighbouring outputs. A window is a list of source pixels, each a row
// of `channels`; those in the padding are left out by the caller.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::pooling {

// One window.
template <class T>
struct Window {
  int64_t taps;
  const int64_t* offsets;  // [taps], elements from `x`, in row-major order of the window
  int64_t channels;
  const T* x;
  T scale;                 // of an average: one over the count
  const uint8_t* numbers;  // [taps], which of the window's places each is, counting those in the padding
  T* unusual;              // a vector to which maxima of numbers add what is not 0 if a tap is NaN or infinite
  bool ask;                // no cache keeps x, and neighbouring rows of windows share some of its rows
  bool far;                // no cache keeps the gradient, each line of which is set once
};

// The place of a window that holds nothing but padding.
constexpr uint8_t kNowhere = 0xFF;

template <class T>
struct PoolLoops {
  // The maximum, NaN if there is one, and (if placed) the number of the first tap that is it. Of numbers: what else
  // there may be is told, and the results are to be made anew.
  using Maximum = void (*)(const Window<T>& w, T* out, uint8_t* place);
  Maximum maximum_of_numbers, placed_of_numbers, maximum, placed;
  void (*average)(const Window<T>& w, T* out);
  // gradient[tap] receives ct where x[tap] is the first that equals out. Set: the other taps are zeroed
  // instead of kept (windows that do not overlap).
  void (*maximum_add)(const Window<T>& w, const T* out, const T* ct, T* gradient);
  void (*maximum_set)(const Window<T>& w, const T* out, const T* ct, T* gradient);
  // gradient[tap] receives ct where the tap's number is the place.
  void (*scatter_add)(const Window<T>& w, const uint8_t* place, const T* ct, T* gradient);
  void (*scatter_set)(const Window<T>& w, const uint8_t* place, const T* ct, T* gradient);
  // result = values[tap] of that tap.
  void (*select)(const Window<T>& w, const T* out, const T* values, T* result);
  // gradient[tap] += ct * scale, or is set to it.
  void (*average_add)(const Window<T>& w, const T* ct, T* gradient);
  void (*average_set)(const Window<T>& w, const T* ct, T* gradient);
};

struct PoolTable {
  PoolLoops<float> f32;
  PoolLoops<double> f64;
};

NATIVE_ISA_TABLE(PoolTable, pool_table)

}  // namespace native::pooling
