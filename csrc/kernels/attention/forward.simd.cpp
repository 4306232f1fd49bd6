// Attention forward, one head and a block of its queries: for each block of keys scores, online softmax and
// the product with the values, panel by panel of queries, so that a panel's scores stay in the first-level
// cache. Causal work ends at the diagonal, to within a panel for scores and a tile for values; masked work, to
// within a panel and a block of keys.
#include "kernels/attention/extras.h"
#include "kernels/attention/softmax.h"
#include "kernels/attention/words.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// Scores of a panel of `queries` queries against `keys` keys (rows of `k` up to a multiple of kRows exist).
template <class W>
void panel_scores(const W* k, const W* q, int64_t queries, int64_t keys, int64_t size, W* scores) {
  constexpr int P = kPanel<W>;
  with_vectors<W>(queries, [&](auto vectors) {
    each_tile(keys, [&](auto rows, int64_t j) {
      tile<decltype(rows)::value, decltype(vectors)::value, Write::Set>(scores + j * P, P, k + j * size, size, 1, q, P,
                                                                        size);
    });
  });
}

// out[queries][columns] = diag(correction) out + p^T v; query i has its last key at `diagonal` + i.
template <class W>
void add_values(const W* p, const W* v, int64_t queries, int64_t columns, int64_t keys, int64_t diagonal,
                const W* correction, W* out, int64_t out_row) {
  constexpr int P = kPanel<W>;
  with_vectors<W>(columns, [&](auto vectors) {
    each_tile(queries, [&](auto rows, int64_t i) {
      constexpr int M = decltype(rows)::value;
      tile<M, decltype(vectors)::value, Write::ScaleAdd>(out + i * out_row, out_row, p + i, 1, P, v, P,
                                                         most(0, least(keys, diagonal + i + M)), correction + i);
    });
  });
}

// A block of queries and a block of keys.
template <class T>
struct Block {
  using W = Wide<T>;
  int64_t columns;  // of the values, padded
  W *q, *k, *v;     // queries along the lanes; [keys][size]; [columns / panel][keys][panel]
  W *scores, *room;
  KeyBits<W>* words;
  W *out, *peak, *total;

  Block(Scratch& memory, const AttentionShape& s) : columns(round_up(s.value_size, kPanel<W>)) {
    const int64_t queries = round_up(least(kQueryBlock, s.queries), kPanel<W>);
    const int64_t keys = round_up(least(kKeyBlock + kFewRows, s.keys), kRows);
    q = memory.take<W>(queries * s.size);
    k = memory.take<W>(keys * s.size);
    v = memory.take<W>(keys * columns);
    scores = memory.take<W>(keys * kPanel<W>);
    room = memory.take<W>(keys * kPanel<W>);
    words = memory.take<KeyBits<W>>(key_words<W>(keys));
    out = memory.take<W>(queries * columns);
    peak = memory.take<W>(queries);
    total = memory.take<W>(queries);
  }
};

template <class T>
int64_t forward_scratch(const AttentionShape& s) {
  Scratch counted(nullptr);
  Block<T> block(counted, s);
  return static_cast<int64_t>(counted.next);
}

// With a shift of each query's bias, or none if `shifts` is null.
template <class T>
void attend(const AttentionForward& a, int64_t batch, int64_t head, int64_t first, int64_t queries, void* scratch,
            const Wide<T>* shifts) {
  using W = Wide<T>;
  constexpr int P = kPanel<W>;
  const AttentionShape& s = *a.shape;
  const int64_t key_head = head / (s.heads / s.key_heads);
  const int64_t q_row = s.heads * s.size, k_row = s.key_heads * s.size, v_row = s.key_heads * s.value_size;
  const T* q = static_cast<const T*>(a.q) + (batch * s.queries + first) * q_row + head * s.size;
  const T* k = static_cast<const T*>(a.k) + batch * s.keys * k_row + key_head * s.size;
  const T* v = static_cast<const T*>(a.v) + batch * s.keys * v_row + key_head * s.value_size;
  Extras<T> extras(a, batch, head);
  extras.shifts = shifts;
  extras.shifted_from = first;

  Scratch memory(scratch);
  const Block<T> b(memory, s);
  pack_transposed(q, q_row, queries, s.size, static_cast<W>(s.scale * kLog2e), b.q);
  const int64_t padded = round_up(queries, P);
  for (int64_t i = 0; i < padded * b.columns; ++i) b.out[i] = 0;
  for (int64_t i = 0; i < padded; ++i) {
    b.peak[i] = -__builtin_inff();
    b.total[i] = 0;
  }
  W masked[kQueryBlock];
  masked_scores(extras, first, queries, masked);
  const bool stops = s.causal && a.mask == nullptr;

  Span spans[kQueryBlock / P], all{s.keys, 0};
  for (int64_t i = 0; i < queries; i += P) {
    const Span span = spans[i / P] = keys_of_queries(extras, first + i, least(P, queries - i));
    all = {least(all.begin, span.begin), most(all.end, span.end)};
  }
  for (int64_t key = all.begin, keys; key < all.end; key += keys) {
    keys = next_block(all.end - key, kKeyBlock, kFewRows);
    pack_rows(k + key * k_row, k_row, keys, round_up(keys, kRows), s.size, b.k);
    pack_panels(v + key * v_row, v_row, keys, s.value_size, b.v);
    for (int64_t i = 0; i < queries; i += P) {
      const int64_t query = first + i, used = least(P, queries - i), seen = least(keys, spans[i / P].end - key);
      if (seen <= 0 || spans[i / P].begin >= key + keys) continue;
      panel_scores(b.k, b.q + i * s.size, used, seen, s.size, b.scores);
      apply_extras(extras, query, used, key, seen, masked + i, b.scores, P, b.room);
      W correction[P] __attribute__((aligned(64)));
      online_softmax<false>(b.scores, used, seen, W{1}, b.peak + i, b.total + i, correction);
      if (a.key) drop(extras, query, used, key, seen, b.words, b.scores);
      const int64_t diagonal = stops ? query - key : seen;
      for (int64_t c = 0; c < s.value_size; c += P)
        add_values(b.scores, b.v + c * keys, used, least(P, s.value_size - c), seen, diagonal, correction,
                   b.out + i * b.columns + c, b.columns);
    }
  }

  const W scale = static_cast<W>(kept_scale(s));
  T* result = static_cast<T*>(a.out) + ((batch * s.queries + first) * s.heads + head) * s.value_size;
  for (int64_t i = 0; i < queries; ++i, result += s.heads * s.value_size) {
    const W inverse = scale / b.total[i], *row = b.out + i * b.columns;
    int64_t c = 0;
    for (; c + kLanes<W> <= s.value_size; c += kLanes<W>) vstore(result + c, load(row + c) * inverse);
    for (; c < s.value_size; ++c) put(result + c, row[c] * inverse);
  }
  log_sums(b.peak, b.total, queries, static_cast<W*>(a.lse) + (batch * s.heads + head) * s.queries + first);
}

template <class T>
void forward(const AttentionForward& a, int64_t batch, int64_t head, int64_t first, int64_t queries, void* scratch) {
  attend<T>(a, batch, head, first, queries, scratch, nullptr);
  again_with_shifts<T>(a, batch, head, first, queries,
                       [&](const Wide<T>* shifts) { attend<T>(a, batch, head, first, queries, scratch, shifts); });
}

template <class T>
constexpr AttentionForwardTable make() {
  return {kQueryBlock, kLanes<Wide<T>>, forward<T>, forward_scratch<T>};
}

#if NATIVE_WORDS
constexpr AttentionForwardTable kNarrow = {kQueryBlock, kLanes<float>, forward_words, forward_words_scratch};
#else
constexpr AttentionForwardTable kNarrow = make<BFloat>();
#endif

}  // namespace

extern const AttentionForwardTables attention_forward;
const AttentionForwardTables attention_forward = {make<Half>(), kNarrow, make<float>(), make<double>()};

}  // namespace NATIVE_ISA
}  // namespace native
