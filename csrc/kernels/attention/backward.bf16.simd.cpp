// Attention backward, one key head and a range of its keys: for each block of keys and each block of queries
// the probabilities are computed once more from the saved log-sum-exp, then
//     dp = v ct^T, ds = p (dp - delta), dv += p ct, dk += ds q, dq += ds^T k,
// all from the [key][query] layout. dk and dv of the block stay in the second-level cache.
#include "kernels/attention/ahead.h"
#include "kernels/attention/extras.h"
#include "kernels/attention/softmax.h"

namespace native {
namespace NATIVE_ISA {
namespace {

constexpr int kGradQueries = 64;  // p and ds of a block: 128 x 64 x 4 bytes each
// So many keys more than a block are no block of their own: for each block of keys the queries are packed once more.
constexpr int kFewKeys = 80;

template <class W>
struct Sizes {
  int64_t size, value_size, queries, all_queries, keys, columns, value_columns, row, group;
  explicit Sizes(const AttentionShape& s)
      : size(s.size),
        value_size(s.value_size),
        queries(round_up(least(kGradQueries + kFewRows, s.queries), kPanel<W>)),
        all_queries(round_up(s.queries, kPanel<W>)),
        keys(round_up(least(kKeyBlock + kFewKeys, s.keys), kRows)),
        columns(round_up(s.size, kPanel<W>)),
        value_columns(round_up(s.value_size, kPanel<W>)),
        row(odd_lines(least(kGradQueries + kFewRows, round_up(s.queries, kLanes<W>)))),
        group(s.heads / s.key_heads) {}

  // An odd number of cache lines, so that a column of a block does not fall into a few cache sets.
  static int64_t odd_lines(int64_t n) {
    constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(W));
    return (round_up(n, line) / line | 1) * line;
  }
};

// A block of queries of one head and a block of keys, packed.
template <class W>
struct Block {
  W *k_rows, *k_panels, *v_rows;                 // [keys][size], [columns / panel][keys][panel]
  W *q_lanes, *ct_lanes, *q_panels, *ct_panels;  // queries along the lanes; as panels of columns
  W *lse, *delta;                                // of all queries of the group
  W *p, *ds, *room;                              // [keys][row]; a panel of scores
  KeyBits<W>* words;
  W *dk, *dv, *dq;  // [keys][columns]; [group][all queries][columns]
  // With a mask: of all queries of the group, 0 where no key is allowed, else 1; and of each of their panels.
  W* alive;
  Span* spans;
  // With a bias: what is taken from that of all queries of the group, and what then is their log2-sum-exp2.
  W *shifts, *sums;

  Block(Scratch& room_, const Sizes<W>& n, const AttentionInputs& in)
      : k_rows(room_.take<W>(n.keys * n.size)),
        k_panels(room_.take<W>(n.keys * n.columns)),
        v_rows(room_.take<W>(n.keys * n.value_size)),
        q_lanes(room_.take<W>(n.queries * n.size)),
        ct_lanes(room_.take<W>(n.queries * n.value_size)),
        q_panels(room_.take<W>(n.queries * n.columns)),
        ct_panels(room_.take<W>(n.queries * n.value_columns)),
        lse(room_.take<W>(n.group * n.all_queries)),
        delta(room_.take<W>(n.group * n.all_queries)),
        p(room_.take<W>(n.keys * n.row)),
        ds(room_.take<W>(n.keys * n.row)),
        room(room_.take<W>(in.bias ? n.keys * kPanel<W> : 0)),
        words(room_.take<KeyBits<W>>(in.key ? key_words<W>(n.keys) : 0)),
        dk(room_.take<W>(n.keys * n.columns)),
        dv(room_.take<W>(n.keys * n.value_columns)),
        dq(room_.take<W>(n.group * n.all_queries * n.columns)),
        alive(room_.take<W>(in.mask ? n.group * n.all_queries : 0)),
        spans(room_.take<Span>(in.mask ? n.group * n.all_queries / kPanel<W> : 0)),
        shifts(room_.take<W>(in.bias ? n.group * n.all_queries : 0)),
        sums(room_.take<W>(in.bias ? n.group * n.all_queries : 0)) {}
};

template <class W>
void clear(W* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = 0;
}

template <class T>
Wide<T> dot(const T* a, const T* b, int64_t n) {
  using W = Wide<T>;
  Vec<W> sum{};
  int64_t i = 0;
  for (; i + kLanes<W> <= n; i += kLanes<W>) sum += vload(a + i) * vload(b + i);
  W total = reduce_add<W>(sum);
  for (; i < n; ++i) total += get(a + i) * get(b + i);
  return total;
}

template <class T>
int64_t backward_scratch(const AttentionInputs& in) {
  Scratch counted(nullptr);
  Block<Wide<T>> block(counted, Sizes<Wide<T>>(*in.shape), in);
  return static_cast<int64_t>(counted.next);
}

// What a task works on; `stops` if no query needs keys after its own.
template <class T>
struct Task {
  using W = Wide<T>;
  static constexpr int P = kPanel<W>, L = kLanes<W>;
  const AttentionBackward& a;
  const AttentionShape& s;
  Sizes<W> n;
  Block<W> b;
  int64_t batch, key_head;
  bool stops;
  RowsAhead& ahead;
  bool shifted = false;  // whether the bias of any query is

  int64_t head_of(int64_t member) const { return key_head * n.group + member; }

  // What the mask lets each query of the group see.
  void load_spans() const {
    for (int64_t member = 0; member < n.group; ++member) {
      const Extras<T> extras(a, batch, head_of(member));
      for (int64_t query = 0, at = member * n.all_queries; query < s.queries; query += P, at += P) {
        const int64_t used = least(P, s.queries - query);
        b.spans[at / P] = keys_of_queries(extras, query, used);
        for (int64_t i = 0; i < P; ++i)
          b.alive[at + i] = i < used && !keys_of_query(extras, query + i).empty() ? W{1} : W{0};
      }
    }
  }

  Extras<T> extras_of(int64_t member) const {
    Extras<T> extras(a, batch, head_of(member));
    if (shifted) extras.shifts = b.shifts + member * n.all_queries;
    return extras;
  }

  // What is taken from the bias of each query of the group.
  void load_shifts() {
    for (int64_t member = 0; member < n.group; ++member) {
      const auto* lse = static_cast<const W*>(a.lse) + (batch * s.heads + head_of(member)) * s.queries;
      W* shifts = b.shifts + member * n.all_queries;
      if (find_shifts(Extras<T>(a, batch, head_of(member)), 0, s.queries, lse, shifts)) shifted = true;
    }
    for (int64_t member = 0; shifted && member < n.group; ++member)
      for (int64_t query = 0; query < s.queries; query += P) sum_shifted(member, query, least(P, s.queries - query));
  }

  // The sums of a panel of queries, over all keys. Hardly ever called, it is compiled to be small.
  [[gnu::cold, gnu::noinline]] void sum_shifted(int64_t member, int64_t query, int64_t used) const {
    const int64_t q_row = s.heads * s.size, k_row = s.key_heads * s.size;
    const T* q = static_cast<const T*>(a.q) + (batch * s.queries + query) * q_row + head_of(member) * s.size;
    const T* k = static_cast<const T*>(a.k) + batch * s.keys * k_row + key_head * s.size;
    pack_transposed(q, q_row, used, s.size, static_cast<W>(s.scale * kLog2e), b.q_lanes);
    W peak[P] __attribute__((aligned(64))), total[P] __attribute__((aligned(64)));
    W correction[P] __attribute__((aligned(64))), masked[P];
    for (int lane = 0; lane < P; ++lane) {
      peak[lane] = -static_cast<W>(__builtin_inff());
      total[lane] = 0;
      masked[lane] = kMasked;
    }
    for (int64_t key = 0, keys; key < s.keys; key += keys) {
      keys = next_block(s.keys - key, kKeyBlock, kFewKeys);
      pack_rows(k + key * k_row, k_row, keys, round_up(keys, kRows), s.size, b.k_rows);
      with_vectors<W>(used, [&](auto vectors) {
        each_tile(keys, [&](auto rows, int64_t j) {
          tile<decltype(rows)::value, decltype(vectors)::value>(b.room + j * P, P, b.k_rows + j * s.size, s.size, 1,
                                                                b.q_lanes, P, s.size, kSet);
        });
      });
      apply_extras(extras_of(member), query, used, key, keys, masked, b.room, P, static_cast<W*>(nullptr));
      online_softmax<false>(b.room, used, keys, W{1}, peak, total, correction);
    }
    W* sums = b.sums + member * n.all_queries + query;
    for (int64_t i = 0; i < used; ++i)
      sums[i] = peak[i] + static_cast<W>(__builtin_log2(static_cast<double>(total[i])));
  }

  // The keys that a panel of queries sees.
  Span span(int64_t member, int64_t query) const {
    if (a.mask) return b.spans[(member * n.all_queries + query) / P];
    return {0, stops ? least(s.keys, query + P) : s.keys};
  }

  // The queries from `query` on of one head, packed.
  void load_queries(int64_t member, int64_t query, int64_t queries) const {
    const int64_t head = head_of(member);
    const int64_t q_row = s.heads * s.size, v_row = s.heads * s.value_size;
    const int64_t first = batch * s.queries + query;
    const T* q = static_cast<const T*>(a.q) + first * q_row + head * s.size;
    const T* ct = static_cast<const T*>(a.ct) + first * v_row + head * s.value_size;
    pack_transposed(q, q_row, queries, s.size, static_cast<W>(s.scale * kLog2e), b.q_lanes);
    pack_transposed(ct, v_row, queries, s.value_size, W{1}, b.ct_lanes);
    pack_panels(q, q_row, queries, s.size, b.q_panels);
    pack_panels(ct, v_row, queries, s.value_size, b.ct_panels);
  }

  // What the probabilities and their gradients need of all queries, once for all blocks of keys.
  void load_statistics() const {
    const int64_t v_row = s.heads * s.value_size;
    for (int64_t member = 0; member < n.group; ++member) {
      const int64_t head = head_of(member), statistic = (batch * s.heads + head) * s.queries;
      const int64_t first = batch * s.queries * v_row + head * s.value_size;
      const T *ct = static_cast<const T*>(a.ct) + first, *out = static_cast<const T*>(a.out) + first;
      W *lse = b.lse + member * n.all_queries, *delta = b.delta + member * n.all_queries;
      for (int64_t i = 0; i < n.all_queries; ++i) {
        const bool real = i < s.queries;
        lse[i] = real ? static_cast<const W*>(a.lse)[statistic + i] * static_cast<W>(kLog2e) : W{0};
        delta[i] = real ? dot(ct + i * v_row, out + i * v_row, s.value_size) : W{0};
        if (real && shifted && b.shifts[member * n.all_queries + i] != 0) lse[i] = b.sums[member * n.all_queries + i];
        if (real && a.ct_lse) delta[i] -= static_cast<const W*>(a.ct_lse)[statistic + i];
      }
    }
  }

  // p and ds of `rows` keys by the `used` queries from i on of the block, of which the first vector sees `low`.
  void probabilities(const Extras<T>& extras, int64_t member, int64_t query, int64_t i, int64_t used, int64_t key,
                     int64_t low, int64_t rows) const {
    W *p = b.p + i, *ds = b.ds + i;
    const int64_t at = member * n.all_queries + query + i;
    const W *const alive = b.alive + at, *const lse = b.lse + at, *const delta = b.delta + at;
    const auto products = [&](auto vectors, int64_t lane, int64_t from, int64_t to, const auto& of_score,
                              const auto& of_slope) {
      constexpr int V = decltype(vectors)::value;
      each_tile(to - from, [&](auto count, int64_t r) {
        constexpr int M = decltype(count)::value;
        const int64_t j = from + r;
        ahead.step();
        tile<M, V>(p + j * n.row + lane, n.row, b.k_rows + j * s.size, s.size, 1, b.q_lanes + i * s.size + lane, P,
                   s.size, of_score);
        tile<M, V>(ds + j * n.row + lane, n.row, b.v_rows + j * s.value_size, s.value_size, 1,
                   b.ct_lanes + i * s.value_size + lane, P, s.value_size, of_slope);
      });
    };
    // Where all queries see a key and nothing else is done to its scores, what comes of them is made where tiles end,
    // if there are registers for it.
    int64_t done = 0;
    if constexpr (NATIVE_MASKS && sizeof(W) == 4)
      if (!a.bias && !a.mask && !a.key) {
        constexpr int third = kRows / 3;
        done = (stops ? most(0, least(rows, query + i - key + 1)) : rows) / third * third;
        const auto weight = [&](Vec<W> score, W*, int v)
                                __attribute__((always_inline)) { return exp2_small(score - load(lse + v * L)); };
        const auto slope = [&](Vec<W> dp, W* to, int v) __attribute__((always_inline)) {
          return load(to - ds + p) * (dp - load(delta + v * L));
        };
        with_vectors<W>(used, [&](auto vectors) { products(vectors, 0, 0, done, weight, slope); });
      }
    with_vectors<W>(used, [&](auto vectors) { products(vectors, 0, done, low, kSet, kSet); });
    if (low < rows && used > L) products(Count<1>{}, L, low, rows, kSet, kSet);
    W masked[P];  // the scores of a query without keys are all 0
    if (a.mask)
      for (int lane = 0; lane < P; ++lane) masked[lane] = alive[lane] != 0 ? -static_cast<W>(__builtin_inff()) : W{0};
    apply_extras(extras, query + i, used, key + done, rows - done, masked, p + done * n.row, n.row, b.room);
    if (a.key) kept_keys<W>(extras, query + i, used, key, rows, b.words);
    const Vec<W> scale = splat(static_cast<W>(kept_scale(s)));
    for (int64_t half = 0; half < used; half += L) {
      const Vec<W> lse_of = load(lse + half), delta_of = load(delta + half);
      const Vec<W> live = a.mask ? load(alive + half) : splat(W{1});
      for (int64_t j = done; j < (half == 0 ? low : rows); ++j) {
        W *to_p = p + j * n.row + half, *to_ds = ds + j * n.row + half;
        Vec<W> weight = exp2_small(load(to_p) - lse_of), dp = load(to_ds);
        const Vec<W> factor = a.key ? kept<W>(scale, b.words + half, j) : scale;
        if (a.key) dp *= factor;
        Vec<W> slope = weight * (dp - delta_of);
        if (a.mask) slope *= live;
        if (a.key) weight *= factor;
        store(to_p, weight);
        store(to_ds, slope);
      }
    }
    for (int64_t j = low; j < rows; ++j) {
      store(p + j * n.row, Vec<W>{});
      store(ds + j * n.row, Vec<W>{});
    }
  }

  // c[keys][columns] += x[keys][queries] y[queries][columns] for the queries [first, last) of the block; before the
  // diagonal x is not there. y has `queries` rows.
  void add_to_keys(W* c, int64_t size, const W* x, const W* y, int64_t queries, int64_t first, int64_t last,
                   int64_t query, int64_t key, int64_t keys) const {
    const int64_t columns = round_up(size, P);
    for (int64_t column = 0; column < size; column += P, y += queries * P)
      with_vectors<W>(size - column, [&](auto vectors) {
        each_tile(keys, [&](auto count, int64_t j) {
          const int64_t from = stops ? most(first, key + j - query) : first;
          ahead.step();
          if (from < last)
            tile<decltype(count)::value, decltype(vectors)::value>(
                c + j * columns + column, columns, x + j * n.row + from, n.row, 1, y + from * P, P, last - from, kAdd);
        });
      });
  }

  // dq[queries][columns] += ds^T k for the `used` queries from lane i on, of which the first has its last key at
  // `diagonal`.
  void add_to_queries(W* dq, int64_t i, int64_t used, int64_t diagonal, int64_t keys, int64_t seen) const {
    for (int64_t column = 0; column < s.size; column += P)
      with_vectors<W>(s.size - column, [&](auto vectors) {
        each_tile(used, [&](auto count, int64_t r) {
          constexpr int M = decltype(count)::value;
          const int64_t depth = stops ? least(seen, diagonal + r + M) : seen;
          ahead.step();
          if (depth > 0)
            tile<M, decltype(vectors)::value>(dq + r * n.columns + column, n.columns, b.ds + i + r, 1, n.row,
                                              b.k_panels + column * keys, P, depth, kAdd);
        });
      });
  }

  void store_scores(int64_t head, int64_t query, int64_t i, int64_t used, int64_t key, int64_t rows) const {
    T* out = static_cast<T*>(a.ds) + ((batch * s.heads + head) * s.queries + query + i) * s.keys + key;
    for (int64_t lane = 0; lane < used; ++lane, out += s.keys)
      for (int64_t j = 0; j < rows; ++j) put(out + j, b.ds[j * n.row + i + lane]);
  }

  // What comes after the queries of a block of keys, and where its results go.
  RowsAhead ask(int64_t key, int64_t keys, int64_t end, const AttentionKeys& next) const {
    constexpr int64_t few = 512;  // queries whose rows the second-level cache has room for
    const int64_t q_row = s.heads * s.size, v_row = s.heads * s.value_size;
    const int64_t k_row = s.key_heads * s.size, kv_row = s.key_heads * s.value_size;
    RowsAhead to;
    const auto ask_for_keys = [&](const void* k, const void* v, int64_t from_batch, int64_t head, int64_t from,
                                  int64_t rows) {
      const int64_t row = from_batch * s.keys + from;
      to.add(static_cast<const T*>(k) + row * k_row + head * s.size, k_row, rows, s.size);
      to.add(static_cast<const T*>(v) + row * kv_row + head * s.value_size, kv_row, rows, s.value_size);
    };
    const auto ask_for_queries = [&](const void* x, int64_t row, int64_t size, const AttentionKeys& of) {
      to.add(static_cast<const T*>(x) + of.batch * s.queries * row + of.key_head * n.group * size, row,
             least(few, s.queries), n.group * size);
    };
    if (!a.ds) ask_for_keys(a.dk, a.dv, batch, key_head, key, keys);
    if (key + keys < end) {
      ask_for_keys(a.k, a.v, batch, key_head, key + keys, next_block(end - key - keys, kKeyBlock, kFewKeys));
    } else {
      if (!a.ds && !a.dq_part) ask_for_queries(a.dq, q_row, s.size, {batch, key_head, 0, 0});
      if (next.count > 0)
        ask_for_keys(a.k, a.v, next.batch, next.key_head, next.first, next_block(next.count, kKeyBlock, kFewKeys));
      if (next.count > 0 && next.first == 0) {
        ask_for_queries(a.ct, v_row, s.value_size, next);
        ask_for_queries(a.out, v_row, s.value_size, next);
        ask_for_queries(a.q, q_row, s.size, next);
      }
    }
    int64_t panels = 0;
    for (int64_t member = 0; member < n.group; ++member)
      for (int64_t query = 0; query < s.queries; query += P) {
        const Span seen = span(member, query);
        panels += seen.begin < key + keys && seen.end > key ? 1 : 0;
      }
    const int64_t tiles = keys / kRows, across = n.columns / P, value_across = n.value_columns / P;
    to.spread(panels * (tiles + (a.ds ? 0 : tiles * (across + value_across) * P / kGradQueries + P / kRows * across)));
    return to;
  }

  void keys_and_queries(int64_t member, int64_t query, int64_t queries, int64_t key, int64_t keys) const {
    int64_t first = queries, last = 0;  // panels that see any of the keys
    for (int64_t i = 0; i < queries; i += P) {
      const Span seen = span(member, query + i);
      if (seen.begin >= key + keys || seen.end <= key) continue;
      first = least(first, i);
      last = least(queries, i + P);
    }
    if (first >= last) return;
    const int64_t head = head_of(member);
    const Extras<T> extras = extras_of(member);
    load_queries(member, query, queries);
    const auto seen_from = [&](int64_t i) { return most(0, least(keys, span(member, query + i).end - key)); };
    for (int64_t i = first; i < last; i += P) {
      const int64_t seen = seen_from(i), used = least(P, last - i), whole = round_up(seen, kRows);
      // add_to_keys reads whole tiles, and those that all keys end with need not begin at a multiple of kRows.
      const int64_t rows = keys - whole < kRows ? keys : whole;
      const int64_t low = stops ? most(0, least(rows, query + i + L - key)) : rows;
      probabilities(extras, member, query, i, used, key, low, rows);
      // Without a mask what is not there is not read.
      for (int64_t j = a.mask ? rows : keys; j < keys; ++j) {
        clear(b.p + j * n.row + i, round_up(used, L));
        clear(b.ds + j * n.row + i, round_up(used, L));
      }
      if (a.ds) store_scores(head, query, i, used, key, seen);
    }
    if (a.ds) return;
    add_to_keys(b.dv, s.value_size, b.p, b.ct_panels, queries, first, last, query, key, keys);
    add_to_keys(b.dk, s.size, b.ds, b.q_panels, queries, first, last, query, key, keys);
    for (int64_t i = first; i < last; i += P)
      add_to_queries(b.dq + (member * n.all_queries + query + i) * n.columns, i, least(P, last - i), query + i - key,
                     keys, seen_from(i));
  }
};

// rows x size of W, `row` apart, times `factor`, to elements `out_row` apart.
template <class T, class W>
void unpack(const W* x, int64_t row, int64_t rows, int64_t size, W factor, T* out, int64_t out_row) {
  constexpr int L = kLanes<W>;
  for (int64_t r = 0; r < rows; ++r, x += row, out += out_row) {
    int64_t c = 0;
    for (; c + L <= size; c += L) vstore(out + c, load(x + c) * factor);
    for (; c < size; ++c) put(out + c, x[c] * factor);
  }
}

template <class T>
void backward(const AttentionBackward& a, const AttentionKeys& keys, const AttentionKeys& next, void* scratch) {
  using W = Wide<T>;
  const AttentionShape& s = *a.shape;
  const auto [batch, key_head, first_key, all_keys] = keys;
  const Sizes<W> n(s);
  Scratch memory(scratch);
  const Block<W> b(memory, n, a);
  RowsAhead ahead;
  Task<T> task{a, s, n, b, batch, key_head, s.causal && a.mask == nullptr, ahead};
  const int64_t k_row = s.key_heads * s.size, v_row = s.key_heads * s.value_size, q_row = s.heads * s.size;
  const W scale = static_cast<W>(s.scale);

  if (!a.ds) clear(b.dq, n.group * n.all_queries * n.columns);
  if (a.mask) task.load_spans();
  if (a.bias) task.load_shifts();
  task.load_statistics();
  const int64_t end = first_key + all_keys;
  for (int64_t key = first_key, count; key < end; key += count) {
    count = next_block(end - key, kKeyBlock, kFewKeys);
    const int64_t at = batch * s.keys + key;
    const T* k = static_cast<const T*>(a.k) + at * k_row + key_head * s.size;
    const T* v = static_cast<const T*>(a.v) + at * v_row + key_head * s.value_size;
    pack_rows(k, k_row, count, round_up(count, kRows), s.size, b.k_rows);
    pack_panels(k, k_row, count, s.size, b.k_panels);
    pack_rows(v, v_row, count, round_up(count, kRows), s.value_size, b.v_rows);
    clear(b.dk, n.keys * n.columns);
    clear(b.dv, n.keys * n.value_columns);
    ahead = task.ask(key, count, end, next);
    for (int64_t member = 0; member < n.group; ++member)
      for (int64_t query = 0, queries; query < s.queries; query += queries) {
        queries = next_block(s.queries - query, kGradQueries, kFewRows);
        task.keys_and_queries(member, query, queries, key, count);
      }
    if (a.ds) continue;
    unpack(b.dk, n.columns, count, s.size, scale, static_cast<T*>(a.dk) + at * k_row + key_head * s.size, k_row);
    unpack(b.dv, n.value_columns, count, s.value_size, W{1},
           static_cast<T*>(a.dv) + at * v_row + key_head * s.value_size, v_row);
  }
  if (a.ds) return;
  for (int64_t member = 0; member < n.group; ++member) {
    const W* dq = b.dq + member * n.all_queries * n.columns;
    const int64_t to = batch * s.queries * q_row + (key_head * n.group + member) * s.size;
    if (a.dq_part)
      unpack(dq, n.columns, s.queries, s.size, scale, static_cast<W*>(a.dq_part) + to, q_row);
    else
      unpack(dq, n.columns, s.queries, s.size, scale, static_cast<T*>(a.dq) + to, q_row);
  }
}

template <class T>
void sum_parts(const void* dq_part, int64_t parts, int64_t n, int64_t first, int64_t count, void* dq) {
  using W = Wide<T>;
  const W* in = static_cast<const W*>(dq_part);
  for (int64_t i = first; i < first + count; ++i) {
    W sum = in[i];
    for (int64_t part = 1; part < parts; ++part) sum += in[part * n + i];
    put(static_cast<T*>(dq) + i, sum);
  }
}

template <class T>
constexpr AttentionBackwardTable make() {
  return {kKeyBlock, backward<T>, backward_scratch<T>, sum_parts<T>};
}

}  // namespace

extern const AttentionBackwardTables attention_backward;
const AttentionBackwardTables attention_backward = {make<Half>(), make<BFloat>(), make<float>(), make<double>()};

}  // namespace NATIVE_ISA
}  // namespace native
