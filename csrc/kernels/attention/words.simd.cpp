// Attention forward in bfloat16: both products by the dot instruction, which takes words, two neighbours of a sum.
// Those of a score are neighbours in memory, in keys and in queries; those of a result are of two keys: rows of the
// values are interleaved, and two rows of probabilities become one of words. Scores, softmax and results are float32.
#include "kernels/attention/words.h"

#if NATIVE_WORDS

#include "kernels/attention/softmax.h"

namespace native {
namespace NATIVE_ISA {

extern const gemm::WordTable words_table;

namespace {

constexpr int P = kPanel<float>;  // queries in a panel of scores
constexpr int kColumns = 64;      // queries, or columns of values, in a panel of words

struct WordSizes {
  int64_t terms, queries, columns, keys;  // of a row of keys with the last word whole; of a task; of all values
  explicit WordSizes(const AttentionShape& s)
      : terms(round_up(s.size, 2)),
        queries(round_up(least(kQueryBlock, s.queries), kColumns)),
        columns(round_up(s.value_size, kColumns)),
        keys(round_up(least(kKeyBlock, s.keys), 2)) {}
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

void scale_rows(const float* factors, int64_t rows, int64_t columns, float* out, int64_t out_row) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t c = 0; c < columns; c += kLanes<float>) {
      float* const at = out + i * out_row + c;
      store(at, load(at) * factors[i]);
    }
}

}  // namespace

int64_t forward_words_scratch(const AttentionShape& s) {
  const WordSizes n(s);
  return scratch_of<uint32_t>(n.queries * n.terms / 2) + scratch_of<uint16_t>(n.keys * n.terms) +
         scratch_of<uint32_t>(n.keys / 2 * n.columns) + 2 * scratch_of<float>(n.keys * P) +
         scratch_of<uint32_t>(n.keys / 2 * P) + scratch_of<float>(n.queries * n.columns) +
         2 * scratch_of<float>(n.queries);
}

void forward_words(const AttentionForward& a, int64_t batch, int64_t head, int64_t first, int64_t queries,
                   void* scratch) {
  const gemm::WordKernels& kernels = words_table.bf16;
  const AttentionShape& s = *a.shape;
  const WordSizes n(s);
  const int64_t key_head = head / (s.heads / s.key_heads);
  const int64_t q_row = s.heads * s.size, k_row = s.key_heads * s.size, v_row = s.key_heads * s.value_size;
  const auto* q = static_cast<const BFloat*>(a.q) + (batch * s.queries + first) * q_row + head * s.size;
  const auto* k = static_cast<const BFloat*>(a.k) + batch * s.keys * k_row + key_head * s.size;
  const auto* v = static_cast<const BFloat*>(a.v) + batch * s.keys * v_row + key_head * s.value_size;
  const Extras<BFloat> extras(a, batch, head);

  Scratch room{static_cast<char*>(scratch)};
  auto* const qt = room.take<uint32_t>(n.queries * n.terms / 2);
  auto* const kb = room.take<uint16_t>(n.keys * n.terms);
  auto* const vb = room.take<uint32_t>(n.keys / 2 * n.columns);
  auto* const scores = room.take<float>(n.keys * P);
  auto* const factors = room.take<float>(n.keys * P);
  auto* const words = room.take<uint32_t>(n.keys / 2 * P);
  auto* const out = room.take<float>(n.queries * n.columns);
  auto* const peak = room.take<float>(n.queries);
  auto* const total = room.take<float>(n.queries);

  const int64_t q_panel = n.terms / 2 * kColumns;
  for (int64_t i = 0; i < queries; i += kColumns) {
    uint32_t* const panel = qt + i / kColumns * q_panel;
    if (queries - i < kColumns) __builtin_memset(panel, 0, static_cast<size_t>(q_panel) * sizeof(uint32_t));
    kernels.pack_columns(reinterpret_cast<const char*>(q + i * q_row), 2 * q_row, s.size, least(kColumns, queries - i),
                         panel);
  }
  for (int64_t i = 0; i < n.queries; ++i) {
    peak[i] = -__builtin_inff();
    total[i] = 0;
  }
  float masked[P];
  for (int i = 0; i < P; ++i) masked[i] = kMasked;
  // A mask may leave a query without keys, which then attends to all: only without one does the diagonal
  // end the work.
  const bool stops = s.causal && a.mask == nullptr;
  // What bias and mask give is a scaled score already.
  const float factor = static_cast<float>(s.scale * kLog2e);
  const bool late = !a.bias && !a.mask && factor > 0;

  const int64_t last_key = stops ? least(s.keys, first + queries) : s.keys;
  for (int64_t key = 0; key < last_key; key += kKeyBlock) {
    const int64_t keys = least(kKeyBlock, last_key - key), v_panel = (keys + 1) / 2 * kColumns;
    copy_keys(k + key * k_row, k_row, keys, s.size, kb);
    for (int64_t c = 0; c < s.value_size; c += kColumns)
      kernels.interleave_rows(reinterpret_cast<const char*>(v + key * v_row + c), 2 * v_row, keys,
                              least(kColumns, s.value_size - c), vb + c / kColumns * v_panel);
    for (int64_t i = 0; i < queries; i += P) {
      const int64_t query = first + i, used = least(P, queries - i);
      const int64_t seen = stops ? least(keys, query + used - key) : keys;
      if (seen <= 0) continue;
      panel_scores(kb, seen, n.terms, qt + i / kColumns * q_panel + i % kColumns, scores);
      if (!late)
        for (int64_t j = 0; j < seen * P; j += kLanes<float>) store(scores + j, load(scores + j) * factor);
      if (a.bias) add_bias(extras, query, used, key, seen, scores, P);
      if (a.mask)
        apply_mask(extras, query, used, key, seen, masked, scores, P);
      else if (stops && key + seen > query)
        apply_causal(query, used, key, seen, scores, P);
      float correction[P] __attribute__((aligned(64)));
      if (late)
        online_softmax<true>(scores, seen, factor, peak + i, total + i, correction);
      else
        online_softmax<false>(scores, seen, factor, peak + i, total + i, correction);
      if (a.key) {
        dropout_factors(extras, query, used, key, seen, factors, P);
        for (int64_t j = 0; j < seen; ++j)
          for (int lane = 0; lane < used; ++lane) scores[j * P + lane] *= factors[j * P + lane];
      }
      round_pairs(scores, seen, words);
      float* const sums = out + i * n.columns;
      if (key > 0) scale_rows(correction, used, s.value_size, sums, n.columns);
      add_values(words, used, seen, vb, v_panel, s.value_size, key > 0, sums, n.columns);
    }
  }

  auto* result = static_cast<BFloat*>(a.out) + ((batch * s.queries + first) * s.heads + head) * s.value_size;
  for (int64_t i = 0; i < queries; ++i, result += s.heads * s.value_size) {
    const float inverse = 1 / total[i], *row = out + i * n.columns;
    int64_t c = 0;
    for (; c + kLanes<float> <= s.value_size; c += kLanes<float>) vstore(result + c, load(row + c) * inverse);
    for (; c < s.value_size; ++c) put(result + c, row[c] * inverse);
  }
  log_sums(peak, total, queries, static_cast<float*>(a.lse) + (batch * s.heads + head) * s.queries + first);
}

}  // namespace NATIVE_ISA
}  // namespace native

#endif
