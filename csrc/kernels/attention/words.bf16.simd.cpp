// Attention forward in bfloat16: both products by the dot instruction, which takes words, two neighbours of a sum.
// Those of a score are neighbours in memory, in keys and in queries; those of a result are of two keys: rows of the
// values are interleaved, and two rows of probabilities become one of words. Scores, softmax and results are float32.
#include "kernels/attention/words.h"

#if NATIVE_WORDS

#include "kernels/attention/extras.h"
#include "kernels/attention/softmax.h"

namespace native {
namespace NATIVE_ISA {

extern const gemm::WordTable words_table;

namespace {

constexpr int P = kPanel<float>;  // queries in a panel of scores
constexpr int kColumns = 64;      // queries, or columns of values, in a panel of words

// A block of queries and a block of keys.
struct Block {
  int64_t terms, queries, columns;  // of a row of keys with the last word whole; of a task; of all values
  uint32_t* q;                      // [queries / columns of a panel][words][columns of a panel]
  uint16_t* k;                      // [keys][terms]
  uint32_t* v;                      // [columns / columns of a panel][keys / 2][columns of a panel]
  float *scores, *room;
  uint32_t *kept, *words;
  float *out, *peak, *total;

  Block(Scratch& memory, const AttentionShape& s)
      : terms(round_up(s.size, 2)),
        queries(round_up(least(attention_query_block(s), s.queries), kColumns)),
        columns(round_up(s.value_size, kColumns)) {
    const int64_t keys = round_up(least(kKeyBlock + kFewRows, s.keys), 2);
    q = memory.take<uint32_t>(queries * terms / 2);
    k = memory.take<uint16_t>(keys * terms);
    v = memory.take<uint32_t>(keys / 2 * columns);
    scores = memory.take<float>(keys * P);
    room = memory.take<float>(keys * P);
    kept = memory.take<uint32_t>(key_words<float>(keys));
    words = memory.take<uint32_t>(keys / 2 * P);
    out = memory.take<float>(queries * columns);
    peak = memory.take<float>(queries);
    total = memory.take<float>(queries);
  }
};

// Keys as they lie, one row after the other, the last word of each completed with zero.
void copy_keys(const BFloat* k, int64_t stride, int64_t keys, int64_t size, uint16_t* out) {
  const int64_t terms = round_up(size, 2);
  for (int64_t j = 0; j < keys; ++j, k += stride, out += terms) {
    __builtin_memcpy(out, k, static_cast<size_t>(size) * sizeof(uint16_t));
    if (terms > size) out[size] = 0;
  }
}

// scores[keys][P] of a panel of queries, which begins at `q` in a panel of words.
void panel_scores(const uint16_t* k, int64_t keys, int64_t terms, const uint32_t* q, float* scores) {
  gemm::WordBlock block{};
  block.m = keys;
  block.n = P;
  block.k = terms;
  block.a = reinterpret_cast<const char*>(k);
  block.a_row = 2 * terms;
  block.a_word = 4;
  block.panel = const_cast<uint32_t*>(q);  // only read, as block.b is null
  block.sum = scores;
  block.sum_row = P;
  words_table.bf16.block(block);
}

// Rows of probabilities two by two as one row of words.
void round_pairs(const float* p, int64_t keys, uint32_t* words) {
  // Lane i of the first row beside lane i of the second.
  const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i order =
      _mm512_add_epi32(_mm512_set1_epi32(0x00100000), _mm512_mullo_epi32(count, _mm512_set1_epi32(0x00010001)));
  for (int64_t j = 0; j < keys; j += 2, words += P)
    for (int half = 0; half < P; half += kLanes<float>) {
      const __m512 low = (__m512)load(p + j * P + half);
      const __m512 high = j + 1 < keys ? (__m512)load(p + (j + 1) * P + half) : _mm512_setzero_ps();
      const __m512i pair = (__m512i)_mm512_cvtne2ps_pbh(high, low);
      _mm512_store_si512(words + half, _mm512_permutexvar_epi16(order, pair));
    }
}

// out[queries][columns] += p^T v, or = it.
void add_values(const uint32_t* p, int64_t queries, int64_t keys, const uint32_t* v, int64_t panel, int64_t value_size,
                bool accumulate, float* out, int64_t out_row) {
  gemm::WordBlock block{};
  block.m = queries;
  block.k = keys;
  block.a = reinterpret_cast<const char*>(p);
  block.a_row = 4;
  block.a_word = 4 * P;
  block.sum_row = out_row;
  block.accumulate = accumulate;
  for (int64_t c = 0; c < value_size; c += kColumns, v += panel) {
    block.n = least(kColumns, value_size - c);
    block.panel = const_cast<uint32_t*>(v);
    block.sum = out + c;
    words_table.bf16.block(block);
  }
}

}  // namespace

int64_t forward_words_scratch(const AttentionShape& s) {
  Scratch counted(nullptr);
  Block block(counted, s);
  return static_cast<int64_t>(counted.next);
}

// With a shift of each query's bias, or none if `shifts` is null.
static void attend(const AttentionForward& a, const AttentionQueries& task, void* scratch, const float* shifts) {
  const gemm::WordKernels& kernels = words_table.bf16;
  const AttentionShape& s = *a.shape;
  const auto [batch, head, first, queries] = task;
  const int64_t key_head = head / (s.heads / s.key_heads);
  const int64_t q_row = s.heads * s.size, k_row = s.key_heads * s.size, v_row = s.key_heads * s.value_size;
  const auto* q = static_cast<const BFloat*>(a.q) + (batch * s.queries + first) * q_row + head * s.size;
  const auto* k = static_cast<const BFloat*>(a.k) + batch * s.keys * k_row + key_head * s.size;
  const auto* v = static_cast<const BFloat*>(a.v) + batch * s.keys * v_row + key_head * s.value_size;
  Extras<BFloat> extras(a, batch, head);
  extras.shifts = shifts;
  extras.shifted_from = first;

  Scratch memory(scratch);
  const Block b(memory, s);
  const int64_t q_panel = b.terms / 2 * kColumns;
  for (int64_t i = 0; i < queries; i += kColumns) {
    uint32_t* const panel = b.q + i / kColumns * q_panel;
    if (queries - i < kColumns) __builtin_memset(panel, 0, static_cast<size_t>(q_panel) * sizeof(uint32_t));
    kernels.pack_columns(reinterpret_cast<const char*>(q + i * q_row), 2 * q_row, s.size, least(kColumns, queries - i),
                         panel);
  }
  for (int64_t i = 0; i < b.queries; ++i) {
    b.peak[i] = -__builtin_inff();
    b.total[i] = 0;
  }
  float masked[kMostQueries];
  masked_scores(extras, first, queries, masked);
  // What bias and mask give is a scaled score already.
  const float factor = static_cast<float>(s.scale * kLog2e);
  const bool late = !a.bias && !a.mask && factor > 0;

  Span spans[kMostQueries / P], all{s.keys, 0};
  for (int64_t i = 0; i < queries; i += P) {
    const Span span = spans[i / P] = keys_of_queries(extras, first + i, least(P, queries - i));
    all = {least(all.begin, span.begin), most(all.end, span.end)};
  }
  for (int64_t key = all.begin, keys; key < all.end; key += keys) {
    keys = next_block(all.end - key, kKeyBlock, kFewRows);
    const int64_t v_panel = (keys + 1) / 2 * kColumns;
    copy_keys(k + key * k_row, k_row, keys, s.size, b.k);
    for (int64_t c = 0; c < s.value_size; c += kColumns)
      kernels.interleave_rows(reinterpret_cast<const char*>(v + key * v_row + c), 2 * v_row, keys,
                              least(kColumns, s.value_size - c), b.v + c / kColumns * v_panel);
    for (int64_t i = 0; i < queries; i += P) {
      const int64_t query = first + i, used = least(P, queries - i), seen = least(keys, spans[i / P].end - key);
      if (seen <= 0 || spans[i / P].begin >= key + keys) continue;
      panel_scores(b.k, seen, b.terms, b.q + i / kColumns * q_panel + i % kColumns, b.scores);
      if (!late)
        for (int64_t j = 0; j < seen * P; j += kLanes<float>) store(b.scores + j, load(b.scores + j) * factor);
      apply_extras(extras, query, used, key, seen, masked + i, b.scores, P, b.room);
      float correction[P] __attribute__((aligned(64)));
      if (late)
        online_softmax<true>(b.scores, P, seen, factor, b.peak + i, b.total + i, correction);
      else
        online_softmax<false>(b.scores, P, seen, 1.0f, b.peak + i, b.total + i, correction);
      if (a.key) drop(extras, query, used, key, seen, b.kept, b.scores);
      round_pairs(b.scores, seen, b.words);
      float* const sums = b.out + i * b.columns;
      const bool begins = spans[i / P].begin >= key;
      if (!begins) scale_rows(correction, used, s.value_size, sums, b.columns);
      add_values(b.words, used, seen, b.v, v_panel, s.value_size, !begins, sums, b.columns);
    }
  }

  const float scale = static_cast<float>(kept_scale(s));
  auto* result = static_cast<BFloat*>(a.out) + ((batch * s.queries + first) * s.heads + head) * s.value_size;
  for (int64_t i = 0; i < queries; ++i, result += s.heads * s.value_size) {
    const float inverse = scale / b.total[i], *row = b.out + i * b.columns;
    int64_t c = 0;
    for (; c + kLanes<float> <= s.value_size; c += kLanes<float>) vstore(result + c, load(row + c) * inverse);
    for (; c < s.value_size; ++c) put(result + c, row[c] * inverse);
  }
  log_sums(b.peak, b.total, queries, static_cast<float*>(a.lse) + (batch * s.heads + head) * s.queries + first);
}

void forward_words(const AttentionForward& a, const AttentionQueries& task, const AttentionQueries&, void* scratch) {
  attend(a, task, scratch, nullptr);
  again_with_shifts<BFloat>(a, task, [&](const float* shifts) { attend(a, task, scratch, shifts); });
}

}  // namespace NATIVE_ISA
}  // namespace native

#endif
