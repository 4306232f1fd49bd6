// Loops of the depthwise convolution, vectorised over channels. A term is one tap of one result: the
// address of a source pixel and that of the tap's weights, both rows of `channels`.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::conv {

// result[j] = activation(bias + sum over terms of source[term][j] * weight[term]), j < count.
template <class T>
struct DepthwiseRun {
  int64_t terms;
  // 3, 5 or 7: terms come in groups of so many, whose sources are neighbours. Else 1.
  int window;
  int stride;  // neighbours from a result's window to the next one's: 1 or, of 3 and 5, 2; 1 where there is no window
  const T* const* sources;  // of the first result; the next is `source_step` elements on
  const T* const* weights;
  int64_t source_step;
  T* result;
  int64_t result_step, count, channels;
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
