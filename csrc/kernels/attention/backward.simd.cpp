// Attention backward, one key head and a range of its keys: for each block of keys and each block of queries
// the probabilities are computed once more from the saved log-sum-exp, then
//     dp = v ct^T, ds = p (dp - delta), dv += p ct, dk += ds q, dq += ds^T k,
// all from the [key][query] layout. dk and dv of the block stay in the second-level cache.
#include "kernels/attention/tile.h"

namespace native {
namespace NATIVE_ISA {
namespace {

constexpr int kGradQueries = 64;  // p and ds of a block: 128 x 64 x 4 bytes each

template <class W>
struct Sizes {
  int64_t size, value_size, queries, all_queries, keys, columns, value_columns, row, group;
  explicit Sizes(const AttentionShape& s)
      : size(s.size),
        value_size(s.value_size),
        queries(round_up(least(kGradQueries, s.queries), kPanel<W>)),
        all_queries(round_up(s.queries, kPanel<W>)),
        keys(round_up(least(kKeyBlock, s.keys), kRows)),
        columns(round_up(s.size, kPanel<W>)),
        value_columns(round_up(s.value_size, kPanel<W>)),
        // An odd number of cache lines, so that a column of a block does not fall into a few cache sets.
        row(queries + 64 / static_cast<int64_t>(sizeof(W))),
        group(s.heads / s.key_heads) {}
};

// A block of queries of one head and a block of keys, packed.
template <class W>
struct Block {
  W *k_rows, *k_panels, *v_rows;                 // [keys][size], [columns / panel][keys][panel]
  W *q_lanes, *ct_lanes, *q_panels, *ct_panels;  // queries along the lanes; as panels of columns
  W *lse, *delta, *alive;                        // [queries]; alive is 0 where no key is allowed
  W *p, *ds, *factors;                           // [keys][row]
  W *dk, *dv, *dq;                               // [keys][columns]; [group][all queries][columns]

  Block(Scratch room, const Sizes<W>& n, bool dropout)
      : k_rows(room.take<W>(n.keys * n.size)),
        k_panels(room.take<W>(n.keys * n.columns)),
        v_rows(room.take<W>(n.keys * n.value_size)),
        q_lanes(room.take<W>(n.queries * n.size)),
        ct_lanes(room.take<W>(n.queries * n.value_size)),
        q_panels(room.take<W>(n.queries * n.columns)),
        ct_panels(room.take<W>(n.queries * n.value_columns)),
        lse(room.take<W>(n.queries)),
        delta(room.take<W>(n.queries)),
        alive(room.take<W>(n.queries)),
        p(room.take<W>(n.keys * n.row)),
        ds(room.take<W>(n.keys * n.row)),
        factors(dropout ? room.take<W>(n.keys * n.row) : nullptr),
        dk(room.take<W>(n.keys * n.columns)),
        dv(room.take<W>(n.keys * n.value_columns)),
        dq(room.take<W>(n.group * n.all_queries * n.columns)) {}
};

template <class T>
int64_t backward_scratch(const AttentionShape& s) {
  using W = Wide<T>;
  const Sizes<W> n(s);
  return scratch_of<W>(n.keys * n.size) + 2 * scratch_of<W>(n.keys * n.columns) + scratch_of<W>(n.keys * n.value_size) +
         scratch_of<W>(n.keys * n.value_columns) + scratch_of<W>(n.queries * n.size) +
         scratch_of<W>(n.queries * n.value_size) + scratch_of<W>(n.queries * n.columns) +
         scratch_of<W>(n.queries * n.value_columns) + 3 * scratch_of<W>(n.queries) + 3 * scratch_of<W>(n.keys * n.row) +
         scratch_of<W>(n.group * n.all_queries * n.columns);
}

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
bool has_key(const Extras<T>& e, int64_t query) {
  const AttentionShape& s = *e.shape;
  const uint8_t* m = e.mask + query * s.mask_strides[2];
  const int64_t keys = s.causal ? least(s.keys, query + 1) : s.keys;
  for (int64_t j = 0; j < keys; ++j)
    if (m[j * s.mask_strides[3]]) return true;
  return false;
}

// What a task works on; `stops` if no query needs keys after its own.
template <class T>
struct Task {
  using W = Wide<T>;
  const AttentionBackward& a;
  const AttentionShape& s;
  Sizes<W> n;
  Block<W> b;
  int64_t batch, key_head;
  bool stops;

  // The queries from `query` on of one head, packed.
  void load_queries(const Extras<T>& extras, int64_t head, int64_t query, int64_t queries) const {
    const int64_t q_row = s.heads * s.size, v_row = s.heads * s.value_size;
    const int64_t first = batch * s.queries + query;
    const T* q = static_cast<const T*>(a.q) + first * q_row + head * s.size;
    const T* ct = static_cast<const T*>(a.ct) + first * v_row + head * s.value_size;
    const T* out = static_cast<const T*>(a.out) + first * v_row + head * s.value_size;
    const int64_t statistic = (batch * s.heads + head) * s.queries + query;
    pack_transposed(q, q_row, queries, s.size, static_cast<W>(s.scale * kLog2e), b.q_lanes);
    pack_transposed(ct, v_row, queries, s.value_size, W{1}, b.ct_lanes);
    pack_panels(q, q_row, queries, s.size, b.q_panels);
    pack_panels(ct, v_row, queries, s.value_size, b.ct_panels);
    for (int64_t i = 0; i < round_up(queries, kPanel<W>); ++i) {
      const bool real = i < queries;
      b.lse[i] = real ? static_cast<const W*>(a.lse)[statistic + i] * static_cast<W>(kLog2e) : W{0};
      b.delta[i] = real ? dot(ct + i * v_row, out + i * v_row, s.value_size) : W{0};
      if (real && a.ct_lse) b.delta[i] -= static_cast<const W*>(a.ct_lse)[statistic + i];
      b.alive[i] = real && (a.mask == nullptr || has_key(extras, query + i)) ? W{1} : W{0};
    }
  }

  // p and ds of a panel of queries.
  void probabilities(const Extras<T>& extras, int64_t query, int64_t i, int64_t used, int64_t key, int64_t rows) const {
    constexpr int P = kPanel<W>, L = kLanes<W>;
    W *p = b.p + i, *ds = b.ds + i;
    for (int64_t j = 0; j < rows; j += kRows) {
      tile<kRows, Write::Set>(p + j * n.row, n.row, b.k_rows + j * s.size, s.size, 1, b.q_lanes + i * s.size, P,
                              s.size);
      tile<kRows, Write::Set>(ds + j * n.row, n.row, b.v_rows + j * s.value_size, s.value_size, 1,
                              b.ct_lanes + i * s.value_size, P, s.value_size);
    }
    const int64_t keys = least(rows, s.keys - key);
    if (a.bias) add_bias(extras, query + i, used, key, keys, p, n.row);
    if (a.mask) {
      W masked[P];  // the scores of a query without keys are all 0
      for (int lane = 0; lane < P; ++lane)
        masked[lane] = b.alive[i + lane] != 0 ? -static_cast<W>(__builtin_inff()) : W{0};
      apply_mask(extras, query + i, used, key, keys, masked, p, n.row);
    } else if (stops && key + rows > query + i) {
      apply_causal(query + i, used, key, rows, p, n.row);
    }
    if (a.key) dropout_factors(extras, query + i, used, key, keys, b.factors + i, n.row);
    for (int half = 0; half < P; half += L) {
      const Vec<W> lse = load(b.lse + i + half), delta = load(b.delta + i + half), alive = load(b.alive + i + half);
      for (int64_t j = 0; j < rows; ++j) {
        W *to_p = p + j * n.row + half, *to_ds = ds + j * n.row + half;
        Vec<W> weight = exp2_small(load(to_p) - lse), dp = load(to_ds);
        if (a.key) dp *= load(b.factors + i + j * n.row + half);
        Vec<W> slope = weight * (dp - delta);
        if (a.mask) slope *= alive;
        if (a.key) weight *= load(b.factors + i + j * n.row + half);
        store(to_p, weight);
        store(to_ds, slope);
      }
    }
  }

  // c[keys][columns] += x[keys][queries] y[queries][columns]; before the diagonal x is not there.
  void add_to_keys(W* c, int64_t columns, const W* x, const W* y, int64_t queries, int64_t query, int64_t key,
                   int64_t keys) const {
    constexpr int P = kPanel<W>;
    for (int64_t column = 0; column < columns; column += P, y += queries * P)
      for (int64_t j = 0; j < keys; j += kRows) {
        const int64_t skip = stops ? most(0, key + j - query) : 0;
        if (skip < queries)
          tile<kRows, Write::Add>(c + j * columns + column, columns, x + j * n.row + skip, n.row, 1, y + skip * P, P,
                                  queries - skip);
      }
  }

  template <int M>
  void add_to_queries(W* dq, int64_t lane, int64_t diagonal, int64_t keys) const {
    constexpr int P = kPanel<W>;
    const int64_t seen = stops ? least(keys, diagonal + M) : keys;
    if (seen <= 0) return;
    for (int64_t column = 0; column < n.columns; column += P)
      tile<M, Write::Add>(dq + column, n.columns, b.ds + lane, 1, n.row, b.k_panels + column * keys, P, seen);
  }

  void store_scores(int64_t head, int64_t query, int64_t i, int64_t used, int64_t key, int64_t rows) const {
    T* out = static_cast<T*>(a.ds) + ((batch * s.heads + head) * s.queries + query + i) * s.keys + key;
    const int64_t keys = least(rows, s.keys - key);
    for (int64_t lane = 0; lane < used; ++lane, out += s.keys)
      for (int64_t j = 0; j < keys; ++j) put(out + j, b.ds[j * n.row + i + lane]);
  }

  void keys_and_queries(int64_t member, int64_t query, int64_t key, int64_t keys) const {
    constexpr int P = kPanel<W>, tail = P % kRows;
    const int64_t head = key_head * n.group + member, queries = least(kGradQueries, s.queries - query);
    const Extras<T> extras(a, batch, head);
    load_queries(extras, head, query, queries);
    for (int64_t i = 0; i < queries; i += P) {
      const int64_t seen = stops ? least(keys, query + i + P - key) : keys, used = least(P, queries - i);
      if (seen <= 0) continue;
      probabilities(extras, query, i, used, key, round_up(seen, kRows));
      if (a.ds) store_scores(head, query, i, used, key, seen);
    }
    if (a.ds) return;
    add_to_keys(b.dv, n.value_columns, b.p, b.ct_panels, queries, query, key, keys);
    add_to_keys(b.dk, n.columns, b.ds, b.q_panels, queries, query, key, keys);
    for (int64_t i = 0; i < queries; i += P) {
      W* dq = b.dq + (member * n.all_queries + query + i) * n.columns;
      const int64_t diagonal = query + i - key;
      for (int r = 0; r + kRows <= P; r += kRows) add_to_queries<kRows>(dq + r * n.columns, i + r, diagonal + r, keys);
      if constexpr (tail > 0)
        add_to_queries<tail>(dq + (P - tail) * n.columns, i + P - tail, diagonal + P - tail, keys);
    }
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
void backward(const AttentionBackward& a, int64_t batch, int64_t key_head, int64_t first_key, int64_t keys,
              void* scratch) {
  using W = Wide<T>;
  const AttentionShape& s = *a.shape;
  const Sizes<W> n(s);
  const Block<W> b(Scratch{static_cast<char*>(scratch)}, n, a.key != nullptr);
  const Task<T> task{a, s, n, b, batch, key_head, s.causal && a.mask == nullptr};
  const int64_t k_row = s.key_heads * s.size, v_row = s.key_heads * s.value_size, q_row = s.heads * s.size;
  const W scale = static_cast<W>(s.scale);

  if (!a.ds) clear(b.dq, n.group * n.all_queries * n.columns);
  for (int64_t key = first_key; key < first_key + keys; key += kKeyBlock) {
    const int64_t count = least(kKeyBlock, first_key + keys - key), at = batch * s.keys + key;
    const T* k = static_cast<const T*>(a.k) + at * k_row + key_head * s.size;
    const T* v = static_cast<const T*>(a.v) + at * v_row + key_head * s.value_size;
    pack_rows(k, k_row, count, round_up(count, kRows), s.size, b.k_rows);
    pack_panels(k, k_row, count, s.size, b.k_panels);
    pack_rows(v, v_row, count, round_up(count, kRows), s.value_size, b.v_rows);
    clear(b.dk, n.keys * n.columns);
    clear(b.dv, n.keys * n.value_columns);
    for (int64_t member = 0; member < n.group; ++member)
      for (int64_t query = task.stops ? key / kGradQueries * kGradQueries : 0; query < s.queries; query += kGradQueries)
        task.keys_and_queries(member, query, key, count);
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
