// Attention forward, one head and a block of its queries: for each block of keys scores, weights (see
// panel_probabilities) and the product with the values, panel by panel of queries, so that a panel's scores stay in the
// first-level cache. Causal work ends at the diagonal, to within a vector for scores and a tile for values; masked
// work, to within a panel and a block of keys.
#include "kernels/attention/ahead.h"
#include "kernels/attention/extras.h"
#include "kernels/attention/softmax.h"
#include "kernels/attention/words.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// Scores of a panel of `queries` queries against `keys` keys (rows of `k` up to a multiple of kRows exist), of
// which the panel's first vector sees `low`.
template <class W>
void panel_scores(const W* k, const W* q, int64_t queries, int64_t low, int64_t keys, int64_t size, W* scores,
                  RowsAhead& ahead) {
  constexpr int P = kPanel<W>, L = kLanes<W>;
  const auto rows_of = [&](auto vectors, int64_t lane, int64_t from, int64_t to) {
    each_tile(to - from, [&](auto rows, int64_t i) {
      const int64_t j = from + i;
      ahead.step();
      tile<decltype(rows)::value, decltype(vectors)::value>(scores + j * P + lane, P, k + j * size, size, 1, q + lane,
                                                            P, size, kSet);
    });
  };
  with_vectors<W>(queries, [&](auto vectors) { rows_of(vectors, 0, 0, low); });
  if (low < keys) rows_of(Count<1>{}, L, low, keys);
}

// 2^(scores - shift) of `keys` keys that all of the panel's queries see, a multiple of a third of kRows, without a way
// of the scores through memory; `total` with their sums.
template <class W>
void panel_weights(const W* k, const W* q, int64_t queries, int64_t keys, int64_t size, const W* shift, W* weights,
                   W* total, RowsAhead& ahead) {
  constexpr int P = kPanel<W>, L = kLanes<W>;
  with_vectors<W>(queries, [&](auto vectors) {
    constexpr int V = decltype(vectors)::value;
    each_tile(keys, [&](auto rows, int64_t j) {
      ahead.step();
      Vec<W> all[V] = {};
      const auto weight = [&](Vec<W> score, W*, int v) __attribute__((always_inline)) {
        const Vec<W> p = exp2_any(score - load(shift + v * L));
        all[v] += p;
        return p;
      };
      tile<decltype(rows)::value, V>(weights + j * P, P, k + j * size, size, 1, q, P, size, weight);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) store(total + v * L, load(total + v * L) + all[v]);
    });
  });
}

// out[queries][columns] += p^T v; query i has its last key at `diagonal` + i.
template <class W>
void add_values(const W* p, const W* v, int64_t queries, int64_t columns, int64_t keys, int64_t diagonal, W* out,
                int64_t out_row, RowsAhead& ahead) {
  constexpr int P = kPanel<W>;
  with_vectors<W>(columns, [&](auto vectors) {
    each_tile(queries, [&](auto rows, int64_t i) {
      constexpr int M = decltype(rows)::value;
      ahead.step();
      tile<M, decltype(vectors)::value>(out + i * out_row, out_row, p + i, 1, P, v, P,
                                        most(0, least(keys, diagonal + i + M)), kAdd);
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
    const int64_t queries = round_up(least(attention_query_block(s), s.queries), kPanel<W>);
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

// Where the rows of some queries of a head begin, and those of its keys.
template <class T>
struct Rows {
  const T *q, *k, *v;
  T* out;
  int64_t q_row, k_row, v_row, out_row;  // elements from one to the next
  Rows(const AttentionForward& a, const AttentionQueries& task) {
    const AttentionShape& s = *a.shape;
    const int64_t key_head = task.head / (s.heads / s.key_heads), query = task.batch * s.queries + task.first;
    q_row = s.heads * s.size;
    k_row = s.key_heads * s.size;
    v_row = s.key_heads * s.value_size;
    out_row = s.heads * s.value_size;
    q = static_cast<const T*>(a.q) + query * q_row + task.head * s.size;
    k = static_cast<const T*>(a.k) + task.batch * s.keys * k_row + key_head * s.size;
    v = static_cast<const T*>(a.v) + task.batch * s.keys * v_row + key_head * s.value_size;
    out = static_cast<T*>(a.out) + query * out_row + task.head * s.value_size;
  }
};

// Weights of a block may sum to 32 a key, where the largest score so far makes that 1 at most.
constexpr float kMostSum = 1 << 12;

// What a panel of queries is to a block of keys.
struct PanelKeys {
  int64_t first, query, used;  // the panel's first query in the task and in the head, and its queries
  int64_t key, seen;           // the first key, and how many from there on the panel sees
  int64_t low, whole;          // that its first vector sees, that all of its queries see
  bool begun;                  // it has seen keys before
};

// Probabilities of a panel times the sum of all, relative to 2^peak. What softmax takes from the scores is arbitrary:
// it need not be the largest so far, as long as weights keep clear of overflow. So it is the largest of the first few
// keys', and their weights are made where the tiles of scores end; only if a query's sum becomes large the panel goes
// the usual way, which looks for the largest score and scales what was summed before.
template <class T>
void panel_probabilities(const Block<T>& b, const Extras<T>& extras, const PanelKeys& at, const Wide<T>* masked,
                         RowsAhead& ahead) {
  using W = Wide<T>;
  constexpr int P = kPanel<W>, L = kLanes<W>, third = kRows / 3;
  const int64_t size = extras.shape->size;
  const W* const q = b.q + at.first * size;
  W *const peak = b.peak + at.first, *const total = b.total + at.first;
  const auto scores_from = [&](int64_t from) {
    panel_scores(b.k + from * size, q, at.used, at.low - from, at.seen - from, size, b.scores + from * P, ahead);
    apply_extras(extras, at.query, at.used, at.key + from, at.seen - from, masked, b.scores + from * P, P, b.room);
  };
  W correction[P] __attribute__((aligned(64))), before[P];
  for (int i = 0; i < P; ++i) before[i] = total[i];

  const bool plain = sizeof(W) == 4 && !extras.bias && !extras.mask;
  // With narrow vectors the largest score of the first keys costs a first block what it gains.
  bool keeps_peak = at.begun || (NATIVE_MASKS && plain && at.whole >= kRows);
  if (keeps_peak) {
    int64_t done = 0;
    if (!at.begun) {
      done = kRows;
      panel_scores(b.k, q, at.used, done, done, size, b.scores, ahead);
      online_softmax<false>(b.scores, at.used, done, W{1}, peak, total, correction);
    }
    if constexpr (sizeof(W) == 4)
      if (plain) {
        const int64_t keys = (at.whole - done) / third * third;
        panel_weights(b.k + done * size, q, at.used, keys, size, peak, b.scores + done * P, total, ahead);
        done += keys;
      }
    if (done < at.seen) {
      scores_from(done);
      for (int64_t half = 0; half < at.used; half += L)
        store(total + half, exponentials<false, true>(b.scores + done * P + half, (half == 0 ? at.low : at.seen) - done,
                                                      W{1}, load(peak + half), load(total + half)));
    }
    for (int i = 0; i < P; ++i) keeps_peak = keeps_peak && total[i] - before[i] <= static_cast<W>(kMostSum);
  }
  if (!keeps_peak) {
    for (int i = 0; i < P; ++i) {
      total[i] = before[i];
      if (!at.begun) peak[i] = -__builtin_inff();
    }
    scores_from(0);
    for (int64_t half = 0; half < at.used; half += L)
      online_softmax<false>(b.scores + half, L, half == 0 ? at.low : at.seen, W{1}, peak + half, total + half,
                            correction + half);
    if (at.begun) scale_rows(correction, at.used, b.columns, b.out + at.first * b.columns, b.columns);
  }
  for (int64_t j = at.low; j < at.seen; ++j) store(b.scores + j * P, Vec<W>{});
}

// With a shift of each query's bias, or none if `shifts` is null.
template <class T>
void attend(const AttentionForward& a, const AttentionQueries& task, const AttentionQueries& next, void* scratch,
            const Wide<T>* shifts) {
  using W = Wide<T>;
  constexpr int P = kPanel<W>, L = kLanes<W>;
  const AttentionShape& s = *a.shape;
  const auto [batch, head, first, queries] = task;
  const Rows<T> at(a, task), then(a, next);
  Extras<T> extras(a, batch, head);
  extras.shifts = shifts;
  extras.shifted_from = first;

  Scratch memory(scratch);
  const Block<T> b(memory, s);
  pack_transposed(at.q, at.q_row, queries, s.size, static_cast<W>(s.scale * kLog2e), b.q);
  const int64_t padded = round_up(queries, P);
  for (int64_t i = 0; i < padded * b.columns; ++i) b.out[i] = 0;
  for (int64_t i = 0; i < padded; ++i) {
    b.peak[i] = -__builtin_inff();
    b.total[i] = 0;
  }
  W masked[kMostQueries];
  masked_scores(extras, first, queries, masked);
  const bool stops = s.causal && a.mask == nullptr;

  Span spans[kMostQueries / P], all{s.keys, 0};
  for (int64_t i = 0; i < queries; i += P) {
    const Span span = spans[i / P] = keys_of_queries(extras, first + i, least(P, queries - i));
    all = {least(all.begin, span.begin), most(all.end, span.end)};
  }
  for (int64_t key = all.begin, keys; key < all.end; key += keys) {
    keys = next_block(all.end - key, kKeyBlock, kFewRows);
    pack_rows(at.k + key * at.k_row, at.k_row, keys, round_up(keys, kRows), s.size, b.k);
    pack_panels(at.v + key * at.v_row, at.v_row, keys, s.value_size, b.v);
    const auto unseen = [&](int64_t i) { return spans[i / P].end <= key || spans[i / P].begin >= key + keys; };

    RowsAhead ahead;
    const auto ask_for_keys = [&](const Rows<T>& of, int64_t begin, int64_t end) {
      const int64_t rows = next_block(end - begin, kKeyBlock, kFewRows);
      ahead.add(of.k + begin * of.k_row, of.k_row, rows, s.size);
      ahead.add(of.v + begin * of.v_row, of.v_row, rows, s.value_size);
    };
    if (key + keys < all.end) {
      ask_for_keys(at, key + keys, all.end);
    } else {
      ahead.add(at.out, at.out_row, queries, s.value_size);
      ahead.add(then.q, then.q_row, next.count, s.size);
      if (next.count > 0 && then.k != at.k) ask_for_keys(then, 0, s.keys);
    }
    int64_t panels = 0;
    for (int64_t i = 0; i < queries; i += P) panels += unseen(i) ? 0 : 1;
    ahead.spread(panels * (keys / kRows + P / kRows * (b.columns / P)));

    for (int64_t i = 0; i < queries; i += P) {
      if (unseen(i)) continue;
      const int64_t query = first + i, used = least(P, queries - i), seen = least(keys, spans[i / P].end - key);
      const auto seen_by = [&](int64_t last) { return stops ? most(0, least(seen, query + last + 1 - key)) : seen; };
      panel_probabilities(b, extras, {i, query, used, key, seen, seen_by(L - 1), seen_by(0), spans[i / P].begin < key},
                          masked + i, ahead);
      if (a.key) drop(extras, query, used, key, seen, b.words, b.scores);
      const int64_t diagonal = stops ? query - key : seen;
      for (int64_t c = 0; c < s.value_size; c += P)
        add_values(b.scores, b.v + c * keys, used, least(P, s.value_size - c), seen, diagonal,
                   b.out + i * b.columns + c, b.columns, ahead);
    }
  }

  const W scale = static_cast<W>(kept_scale(s));
  T* result = at.out;
  for (int64_t i = 0; i < queries; ++i, result += at.out_row) {
    const W inverse = scale / b.total[i], *row = b.out + i * b.columns;
    int64_t c = 0;
    for (; c + kLanes<W> <= s.value_size; c += kLanes<W>) vstore(result + c, load(row + c) * inverse);
    for (; c < s.value_size; ++c) put(result + c, row[c] * inverse);
  }
  log_sums(b.peak, b.total, queries, static_cast<W*>(a.lse) + (batch * s.heads + head) * s.queries + first);
}

template <class T>
void forward(const AttentionForward& a, const AttentionQueries& task, const AttentionQueries& next, void* scratch) {
  attend<T>(a, task, next, scratch, nullptr);
  again_with_shifts<T>(a, task, [&](const Wide<T>* shifts) { attend<T>(a, task, next, scratch, shifts); });
}

template <class T>
constexpr AttentionForwardTable make() {
  return {kLanes<Wide<T>>, forward<T>, forward_scratch<T>};
}

#if NATIVE_WORDS
constexpr AttentionForwardTable kNarrow = {kLanes<float>, forward_words, forward_words_scratch};
#else
constexpr AttentionForwardTable kNarrow = make<BFloat>();
#endif

}  // namespace

extern const AttentionForwardTables attention_forward;
const AttentionForwardTables attention_forward = {make<Half>(), kNarrow, make<float>(), make<double>()};

}  // namespace NATIVE_ISA
}  // namespace native
