// Attention of one head, for the drivers: plain descriptions of the problem and of one task, and the table
// of functions. W, the type computed in, is double for float64 and float for all others.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native {

struct AttentionShape {
  int64_t batch, heads, key_heads, queries, keys, size, value_size;
  double scale, dropout;
  bool causal;
  // Elements between neighbours along [batch, head, query, key]; 0 where broadcast.
  int64_t bias_strides[4], mask_strides[4];
};

// Operands as the primitives have them; bias, mask and key may be null.
struct AttentionInputs {
  const AttentionShape* shape;
  const void *q, *k, *v, *bias;
  const uint8_t* mask;
  const uint32_t* key;
};

struct AttentionForward : AttentionInputs {
  void *out, *lse;
};

// One (batch, key head) and a range of its keys. If there are several ranges, each writes its part of dq, in W
// and of the shape of q, to its own dq_part.
struct AttentionBackward : AttentionInputs {
  const void *out, *lse, *ct, *ct_lse;  // ct_lse may be null
  void *dq, *dk, *dv, *dq_part;         // dq_part is null if the range is all keys
  void* ds;                             // gradient of the scores: if not null, the only result
};

// Queries of one head.
struct AttentionQueries {
  int64_t batch, head, first, count;
};

// Queries that one task should have, of the shape alone.
constexpr int64_t kMostQueries = 512;
int64_t attention_query_block(const AttentionShape& s);

struct AttentionForwardTable {
  int query_unit;  // the queries of all tasks but the last of a head are multiples of it
  // `next`, which may be none, is what the thread probably computes next.
  void (*run)(const AttentionForward& task, const AttentionQueries& queries, const AttentionQueries& next,
              void* scratch);
  int64_t (*scratch)(const AttentionShape& shape);  // bytes
};
struct AttentionForwardTables {
  AttentionForwardTable f16, bf16, f32, f64;
};
NATIVE_BF16_TABLE(AttentionForwardTables, attention_forward)

// Keys of one key head.
struct AttentionKeys {
  int64_t batch, key_head, first, count;
};

struct AttentionBackwardTable {
  int key_block;  // ranges of keys are multiples of it
  // `next` as above.
  void (*run)(const AttentionBackward& task, const AttentionKeys& keys, const AttentionKeys& next, void* scratch);
  int64_t (*scratch)(const AttentionInputs& inputs);  // bytes
  // dq[i] = sum over `parts` of dq_part[part * n + i] for `count` elements i from `first` on.
  void (*sum_parts)(const void* dq_part, int64_t parts, int64_t n, int64_t first, int64_t count, void* dq);
};
struct AttentionBackwardTables {
  AttentionBackwardTable f16, bf16, f32, f64;
};
NATIVE_BF16_TABLE(AttentionBackwardTables, attention_backward)

}  // namespace native
