// What launches of attention are told. Plain data, for device and host.
#pragma once

#include "kernels/gemm/params.h"
#include "kernels/tensor_map.h"

namespace native::cuda::attention {

// Score of a masked key: nothing beside any other, but finite, so that a query without keys attends to all.
constexpr float kMasked = -1e30f;

// What a query has whose biases are shifted: see scores.cuh.
constexpr float kShifted = 2;

// Elements between neighbours along [batch, head, query, key]; 0 where broadcast.
struct Strides {
  int64_t batch, head;
  int query, key;
};

// q [batch, queries, heads, size], k [batch, keys, key_heads, size], v [batch, keys, key_heads, value_size]; ct
// and out as q with value_size; lse and ct_lse [batch, heads, queries].
struct Params {
  gemm::Operand q, k, v, ct;  // ct: gradients only
  const void* bias;           // or null, as mask and key
  const uint8_t* mask;
  const uint32_t* key;  // of dropout: two words
  Strides bias_strides, mask_strides;

  void *out, *dq, *dk, *dv, *ds;
  float* lse;

  // Gradients only: what the forward pass gave, and what statistics() makes of it for each query.
  const void* given_out;
  const float *given_lse, *ct_lse;  // ct_lse may be null
  // One after the other for all queries: lse in base 2; sum(ct out) - ct_lse; 0 where no key is allowed, else 1, or
  // kShifted; what is taken from its biases. Heads begin `statistics_pitch` apart.
  float* statistics;
  int statistics_pitch;

  int batch, heads, key_heads, queries, keys, size, value_size;
  int causal;
  float scale, scale_2;  // of the scores, and to base 2
  uint32_t threshold;    // a word below it drops the probability
  float kept;            // factor of those kept
  DataType type;
};

// Of kernels for warp groups: tensors as bulk copies see them, [batch, length, heads, size], and the problem.
struct WarpgroupParams {
  TensorMap q, k, v, out;
  Params problem;
  int blocks;         // of queries, of all heads
  int heads_at_once;  // that many heads' blocks are computed together, of these the longest first
};
// Of their gradients. Keys and values are a pair, and so are queries and cotangents: one pair is owned, with the
// results that are its gradients (of cotangents there is none), the other walked along.
struct WarpgroupGradParams {
  TensorMap own, own_2, other, other_2, out, out_2;
  TensorMap statistics;  // the first two of them, [2, batch * heads, statistics_pitch]
  Params problem;
  int heads_at_once;
};

}  // namespace native::cuda::attention
