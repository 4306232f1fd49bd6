// Attention forward, one head and a block of its queries: for each block of keys scores, online softmax and
// the product with the values, panel by panel of queries, so that a panel's scores stay in the first-level
// cache. Causal work ends at the diagonal, to within a panel for scores and a tile for values.
#include "kernels/attention/softmax.h"
#include "kernels/attention/words.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// Scores of a panel of queries against `keys` keys (rows of `k` up to a multiple of kRows exist).
template <class W>
void panel_scores(const W* k, const W* q, int64_t keys, int64_t size, W* scores) {
  constexpr int P = kPanel<W>;
  for (int64_t j = 0; j < keys; j += kRows)
    tile<kRows, Write::Set>(scores + j * P, P, k + j * size, size, 1, q, P, size);
}

// out[panel][panel] = diag(correction) out + p^T v; query i of the panel has its last key at `diagonal` + i.
template <class W>
void add_values(const W* p, const W* v, int64_t keys, int64_t diagonal, const W* correction, W* out, int64_t out_row) {
  constexpr int P = kPanel<W>, tail = P % kRows;
  for (int i = 0; i + kRows <= P; i += kRows)
    tile<kRows, Write::ScaleAdd>(out + i * out_row, out_row, p + i, 1, P, v, P,
                                 most(0, least(keys, diagonal + i + kRows)), correction + i);
  if constexpr (tail > 0) {
    constexpr int i = P - tail;
    tile<tail, Write::ScaleAdd>(out + i * out_row, out_row, p + i, 1, P, v, P, most(0, least(keys, diagonal + P)),
                                correction + i);
  }
}

template <class W>
struct Sizes {
  int64_t queries, columns, keys;
  explicit Sizes(const AttentionShape& s)
      : queries(round_up(least(kQueryBlock, s.queries), kPanel<W>)),
        columns(round_up(s.value_size, kPanel<W>)),
        keys(round_up(least(kKeyBlock, s.keys), kRows)) {}
};

template <class T>
int64_t forward_scratch(const AttentionShape& s) {
  using W = Wide<T>;
  const Sizes<W> n(s);
  return scratch_of<W>(n.queries * s.size) + scratch_of<W>(n.keys * s.size) + scratch_of<W>(n.keys * n.columns) +
         2 * scratch_of<W>(n.keys * kPanel<W>) + scratch_of<W>(n.queries * n.columns) + 2 * scratch_of<W>(n.queries);
}

template <class T>
void forward(const AttentionForward& a, int64_t batch, int64_t head, int64_t first, int64_t queries, void* scratch) {
  using W = Wide<T>;
  constexpr int P = kPanel<W>;
  const AttentionShape& s = *a.shape;
  const Sizes<W> n(s);
  const int64_t key_head = head / (s.heads / s.key_heads);
  const int64_t q_row = s.heads * s.size, k_row = s.key_heads * s.size, v_row = s.key_heads * s.value_size;
  const T* q = static_cast<const T*>(a.q) + (batch * s.queries + first) * q_row + head * s.size;
  const T* k = static_cast<const T*>(a.k) + batch * s.keys * k_row + key_head * s.size;
  const T* v = static_cast<const T*>(a.v) + batch * s.keys * v_row + key_head * s.value_size;
  const Extras<T> extras(a, batch, head);

  Scratch room{static_cast<char*>(scratch)};
  W* qt = room.take<W>(n.queries * s.size);
  W* kb = room.take<W>(n.keys * s.size);
  W* vb = room.take<W>(n.keys * n.columns);
  W* scores = room.take<W>(n.keys * P);
  W* factors = room.take<W>(n.keys * P);
  W* out = room.take<W>(n.queries * n.columns);
  W* peak = room.take<W>(n.queries);
  W* total = room.take<W>(n.queries);

  pack_transposed(q, q_row, queries, s.size, static_cast<W>(s.scale * kLog2e), qt);
  const int64_t padded = round_up(queries, P);
  for (int64_t i = 0; i < padded * n.columns; ++i) out[i] = 0;
  for (int64_t i = 0; i < padded; ++i) {
    peak[i] = -__builtin_inff();
    total[i] = 0;
  }
  W masked[P];
  for (int i = 0; i < P; ++i) masked[i] = kMasked;
  // A mask may leave a query without keys, which then attends to all: only without one does the diagonal
  // end the work.
  const bool stops = s.causal && a.mask == nullptr;

  const int64_t last_key = stops ? least(s.keys, first + queries) : s.keys;
  for (int64_t key = 0; key < last_key; key += kKeyBlock) {
    const int64_t keys = least(kKeyBlock, last_key - key);
    pack_rows(k + key * k_row, k_row, keys, round_up(keys, kRows), s.size, kb);
    pack_panels(v + key * v_row, v_row, keys, s.value_size, vb);
    for (int64_t i = 0; i < queries; i += P) {
      const int64_t query = first + i, used = least(P, queries - i);
      const int64_t seen = stops ? least(keys, query + used - key) : keys;
      if (seen <= 0) continue;
      panel_scores(kb, qt + i * s.size, seen, s.size, scores);
      if (a.bias) add_bias(extras, query, used, key, seen, scores, P);
      if (a.mask)
        apply_mask(extras, query, used, key, seen, masked, scores, P);
      else if (stops && key + seen > query)
        apply_causal(query, used, key, seen, scores, P);
      W correction[P] __attribute__((aligned(64)));
      online_softmax<false>(scores, seen, W{1}, peak + i, total + i, correction);
      if (a.key) {
        dropout_factors(extras, query, used, key, seen, factors, P);
        for (int64_t j = 0; j < seen; ++j)
          for (int lane = 0; lane < used; ++lane) scores[j * P + lane] *= factors[j * P + lane];
      }
      const int64_t diagonal = stops ? query - key : seen;
      for (int64_t c = 0; c < n.columns; c += P)
        add_values(scores, vb + c * keys, seen, diagonal, correction, out + i * n.columns + c, n.columns);
    }
  }

  T* result = static_cast<T*>(a.out) + ((batch * s.queries + first) * s.heads + head) * s.value_size;
  for (int64_t i = 0; i < queries; ++i, result += s.heads * s.value_size) {
    const W inverse = 1 / total[i], *row = out + i * n.columns;
    int64_t c = 0;
    for (; c + kLanes<W> <= s.value_size; c += kLanes<W>) vstore(result + c, load(row + c) * inverse);
    for (; c < s.value_size; ++c) put(result + c, row[c] * inverse);
  }
  log_sums(peak, total, queries, static_cast<W*>(a.lse) + (batch * s.heads + head) * s.queries + first);
}

template <class T>
constexpr AttentionForwardTable make() {
  return {kQueryBlock, forward<T>, forward_scratch<T>};
}

#if NATIVE_WORDS
constexpr AttentionForwardTable kNarrow = {kQueryBlock, forward_words, forward_words_scratch};
#else
constexpr AttentionForwardTable kNarrow = make<BFloat>();
#endif

}  // namespace

extern const AttentionForwardTables attention_forward;
const AttentionForwardTables attention_forward = {make<Half>(), kNarrow, make<float>(), make<double>()};

}  // namespace NATIVE_ISA
}  // namespace native
