// Loops of the depthwise convolution, vectorised over channels. A term is a window of taps of one result along the
// width: the address of its first source pixel and that of its first tap's weights, both rows of `channels`.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::conv {

// Whether there are windows: code of their own for each size, which few networks would run in double.
template <class T>
constexpr bool kHasWindows = sizeof(T) == sizeof(float);

// result[j] = activation(bias + sum over terms and taps t of their windows of source[term][j, t] * weight[term][t]),
// j < count.
template <class T>
struct DepthwiseRun {
  int64_t terms;
  int window;  // taps of a term, whose sources are neighbours: 3, 5 or 7 where kHasWindows, or 1
  int stride;  // neighbours from a result's window to the next one's: 1 or, of 3 and 5, 2; 1 of windows of 1
  const T* const* sources;  // of the first result; the next is `source_step` elements on
  const T* const* weights;
  int64_t source_step, weight_step;  // to the next result's source; to the next tap's weights
  // Which sources there are, counted in neighbours from the first result's first one; the others are padding.
  int64_t first_inside, last_inside;
  T* result;
  int64_t result_step, count, channels;
  int64_t group;   // channels that are computed of all results before the next ones
  const T* bias;   // or null
  int activation;  // 0 none, 1 relu, 2 relu6
  // Asked for meanwhile, in memory's order: `stride` rows, `source_row` apart, of as many sources as the results move
  // on.
  const T* ahead;
  int64_t source_row;
  bool past_caches;  // results are whole lines, which no cache need keep
};

// sum[row] += sum over j of source[row][j] * cotangent[j], j < count, for up to kDepthwiseRows rows.
constexpr int kDepthwiseRows = 3;
template <class T>
struct DepthwiseSum {
  int rows;
  const T* sources[kDepthwiseRows];
  T* sums[kDepthwiseRows];
  int64_t source_step;
  const T* cotangent;
  int64_t cotangent_step, count, channels;
};

struct DepthwiseTable {
  void (*run_f32)(const DepthwiseRun<float>&);
  void (*run_f64)(const DepthwiseRun<double>&);
  void (*sum_f32)(const DepthwiseSum<float>&);
  void (*sum_f64)(const DepthwiseSum<double>&);
};

NATIVE_ISA_TABLE(DepthwiseTable, depthwise_table)

}  // namespace native::conv
