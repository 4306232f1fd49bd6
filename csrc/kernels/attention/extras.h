// What bias, masks and dropout do to a panel of scores [key][query], and which keys its queries see.
// Included by attention's *.simd.cpp units only.
#pragma once

#include <type_traits>

#include "kernels/attention/tile.h"
#include "simd/philox.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// What bias, mask and dropout are for one (batch, head).
template <class T>
struct Extras {
  const T* bias;
  const uint8_t* mask;
  const uint32_t* key;
  const AttentionShape* shape;
  int64_t first_score;              // flat index of score (batch, head, 0, 0)
  const Wide<T>* shifts = nullptr;  // what is taken from the bias of each query from `shifted_from` on
  int64_t shifted_from = 0;

  Extras(const AttentionInputs& in, int64_t batch, int64_t head) : key(in.key), shape(in.shape) {
    const AttentionShape& s = *in.shape;
    bias = in.bias ? static_cast<const T*>(in.bias) + batch * s.bias_strides[0] + head * s.bias_strides[1] : nullptr;
    mask = in.mask ? in.mask + batch * s.mask_strides[0] + head * s.mask_strides[1] : nullptr;
    first_score = (batch * s.heads + head) * s.queries * s.keys;
  }
};

// Keys [begin, end): those that a query sees are among them.
struct Span {
  int64_t begin, end;
  bool empty() const { return begin >= end; }
};

// Of a query with a mask; empty where it sees none.
template <class T>
Span keys_of_query(const Extras<T>& e, int64_t query) {
  const AttentionShape& s = *e.shape;
  const uint8_t* m = e.mask + query * s.mask_strides[2];
  Span span{0, s.causal ? least(s.keys, query + 1) : s.keys};
  if (s.mask_strides[3] == 0) return *m ? span : Span{0, 0};
  const auto no_key = [m](int64_t j) {
    uint64_t word;
    __builtin_memcpy(&word, m + j, 8);
    return word == 0;
  };
  while (span.begin + 8 <= span.end && no_key(span.begin)) span.begin += 8;
  while (!span.empty() && !m[span.begin]) ++span.begin;
  while (span.begin + 8 <= span.end && no_key(span.end - 8)) span.end -= 8;
  while (!span.empty() && !m[span.end - 1]) --span.end;
  return span;
}

// Of some queries; never empty. A query that sees no key attends to all alike.
template <class T>
Span keys_of_queries(const Extras<T>& e, int64_t query, int64_t queries) {
  const AttentionShape& s = *e.shape;
  if (!e.mask) return {0, s.causal ? least(s.keys, query + queries) : s.keys};
  const bool alike = !s.causal && s.mask_strides[2] == 0;
  Span all{s.keys, 0};
  for (int64_t i = 0; i < (alike ? 1 : queries); ++i) {
    const Span one = keys_of_query(e, query + i);
    if (one.empty()) return {0, s.keys};
    all = {least(all.begin, one.begin), most(all.end, one.end)};
  }
  return all;
}

// The scores of masked keys, of a block of queries. Beside a bias kMasked may be the larger one: then they are minus
// infinity, but for a query that sees no key.
template <class T, class W>
void masked_scores(const Extras<T>& e, int64_t query, int64_t queries, W* masked) {
  for (int64_t i = 0; i < kMostQueries; ++i) masked[i] = kMasked;
  if (!e.bias || !e.mask) return;
  for (int64_t i = 0; i < queries; ++i)
    if (!keys_of_query(e, query + i).empty()) masked[i] = -static_cast<W>(__builtin_inff());
}

// Whether a query may attend to a key.
template <class T>
bool sees(const Extras<T>& e, int64_t query, int64_t key) {
  const AttentionShape& s = *e.shape;
  return (!s.causal || key <= query) && (!e.mask || e.mask[query * s.mask_strides[2] + key * s.mask_strides[3]]);
}

// Softmax does not see a number that all scores of a query have, but beside a large one, as where a bias of -1e9 masks
// all its keys, the scores and the logarithm of their sum are lost. From queries whose log-sum-exp is so large that a
// float's unit is more than 2^-14, the largest bias that they see is taken: shifts[i], else 0. Whether there are any.
template <class T, class W>
bool find_shifts(const Extras<T>& e, int64_t query, int64_t queries, const W* lse, W* shifts) {
  constexpr W large = 1024, infinity = __builtin_inff();
  const int64_t by_key = e.shape->bias_strides[3], by_query = e.shape->bias_strides[2];
  bool any = false;
  for (int64_t i = 0; i < queries; ++i) {
    shifts[i] = 0;
    if (lse[i] < large && lse[i] > -large) continue;
    const T* b = e.bias + (query + i) * by_query;
    W top = -infinity;
    for (int64_t j = 0; j < e.shape->keys; ++j)
      if (sees(e, query + i, j) && get(b + j * by_key) > top) top = get(b + j * by_key);
    if (top > -infinity && top < infinity) shifts[i] = top;
    any = any || shifts[i] != 0;
  }
  return any;
}

// Adds log2(e) (bias - shift) to scores[keys][ld] of a panel of `queries` queries.
template <class T, class W>
[[gnu::cold, gnu::noinline]] void add_shifted_bias(const Extras<T>& e, int64_t query, int64_t queries, int64_t key,
                                                   int64_t keys, W* scores, int64_t ld) {
  const int64_t by_key = e.shape->bias_strides[3], by_query = e.shape->bias_strides[2];
  const T* b = e.bias + query * by_query + key * by_key;
  const W* shifts = e.shifts + (query - e.shifted_from);
  for (int64_t i = 0; i < queries; ++i)
    for (int64_t j = 0; j < keys; ++j)
      scores[j * ld + i] += static_cast<W>(kLog2e) * (get(b + i * by_query + j * by_key) - shifts[i]);
}

// Adds log2(e) bias to scores[keys][ld] of a panel of `queries` queries. `room` has a panel of scores.
template <class T, class W>
void add_bias(const Extras<T>& e, int64_t query, int64_t queries, int64_t key, int64_t keys, W* scores, int64_t ld,
              W* room) {
  constexpr int L = kLanes<W>, P = kPanel<W>;
  constexpr W log2e = static_cast<W>(kLog2e);
  const int64_t by_key = e.shape->bias_strides[3], by_query = e.shape->bias_strides[2];
  const T* b = e.bias + query * by_query + key * by_key;
  if (by_query == 0) {
    for (int64_t j = 0; j < keys; ++j)
      for (int64_t half = 0; half < queries; half += L) {
        W* row = scores + j * ld + half;
        store(row, load(row) + splat(log2e * get(b + j * by_key)));
      }
    return;
  }
  // A bias that all keys have alike is one row.
  const int64_t step = by_key == 0 ? 0 : P;
  pack_transposed(b, by_query, queries, by_key == 0 ? 1 : keys, log2e, room);
  for (int64_t j = 0; j < keys; ++j)
    for (int64_t half = 0; half < queries; half += L) {
      W* row = scores + j * ld + half;
      store(row, load(row) + load(room + j * step + half));
    }
}

// scores = masked[query] where the mask is false; with `causal` also for later keys.
template <class T, class W>
void apply_mask(const Extras<T>& e, int64_t query, int64_t queries, int64_t key, int64_t keys, const W* masked,
                W* scores, int64_t ld) {
  constexpr int L = kLanes<W>;
  const int64_t by_key = e.shape->mask_strides[3], by_query = e.shape->mask_strides[2];
  if (by_query == 0 && !e.shape->causal) {
    for (int64_t j = 0; j < keys; ++j)
      if (!e.mask[(key + j) * by_key])
        for (int64_t half = 0; half < queries; half += L) store(scores + j * ld + half, load(masked + half));
    return;
  }
  for (int64_t i = 0; i < queries; ++i) {
    const uint8_t* m = e.mask + (query + i) * by_query + key * by_key;
    const int64_t allowed = e.shape->causal ? most(0, least(keys, query + i + 1 - key)) : keys;
    int64_t j = 0;
    while (j < allowed) {
      if (by_key == 1 && j + 8 <= allowed) {
        uint64_t word;
        __builtin_memcpy(&word, m + j, 8);
        if (word == 0x0101010101010101u) {
          j += 8;
          continue;
        }
      }
      const int64_t stop = least(allowed, j + 8);
      for (; j < stop; ++j)
        if (!m[j * by_key]) scores[j * ld + i] = masked[i];
    }
    for (; j < keys; ++j) scores[j * ld + i] = masked[i];
  }
}

// Scores of keys after the query become minus infinity (there is no mask; every query has its first key).
template <class W>
void apply_causal(int64_t query, int64_t queries, int64_t key, int64_t keys, W* scores, int64_t ld) {
  constexpr int L = kLanes<W>;
  for (int64_t half = 0; half < queries; half += L) {
    Vec<W> last;  // of each query, the last key that it sees
    for (int i = 0; i < L; ++i) last[i] = static_cast<W>(query + half + i - key);
    for (int64_t j = most(0, query + half + 1 - key); j < keys; ++j) {
      W* row = scores + j * ld + half;
      store(row, last < static_cast<W>(j) ? splat(-static_cast<W>(__builtin_inff())) : load(row));
    }
  }
}

// What bias, mask and causality make of scores[keys][ld]; `masked` and `room` as above.
template <class T, class W>
void apply_extras(const Extras<T>& e, int64_t query, int64_t queries, int64_t key, int64_t keys, const W* masked,
                  W* scores, int64_t ld, W* room) {
  if (e.shifts)
    add_shifted_bias(e, query, queries, key, keys, scores, ld);
  else if (e.bias)
    add_bias(e, query, queries, key, keys, scores, ld, room);
  if (e.mask)
    apply_mask(e, query, queries, key, keys, masked, scores, ld);
  else if (e.shape->causal && key + keys > query)
    apply_causal(query, queries, key, keys, scores, ld);
}

// A word of each query of a panel says of 32 keys which are kept: [keys / 32][panel], as wide as a score.
template <class W>
using KeyBits = std::conditional_t<sizeof(W) == 8, uint64_t, uint32_t>;
template <class W>
constexpr int64_t key_words(int64_t keys) {
  return round_up(keys, 32) / 32 * kPanel<W>;
}

// The keys whose probabilities dropout keeps, by the bits that random_bernoulli_scale draws for the flat index of the
// score.
template <class W, class T>
void kept_keys(const Extras<T>& e, int64_t query, int64_t queries, int64_t key, int64_t keys, KeyBits<W>* words) {
  constexpr int P = kPanel<W>;
  const uint64_t threshold = philox_threshold(e.shape->dropout);
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t first = e.first_score + (query + i) * e.shape->keys + key;
    const int64_t shift = first % 64;
    uint64_t group = static_cast<uint64_t>(first / 64), here = philox_at_least(e.key, group, threshold);
    for (int64_t j = 0; j < keys; j += 64) {
      const bool more = shift + keys - j > 64;
      const uint64_t next = more ? philox_at_least(e.key, ++group, threshold) : 0;
      const uint64_t bits = shift ? here >> shift | next << (64 - shift) : here;
      KeyBits<W>* to = words + j / 32 * P + i;
      to[0] = static_cast<uint32_t>(bits);
      if (j + 32 < keys) to[P] = static_cast<uint32_t>(bits >> 32);
      here = next;
    }
  }
}

// x where key j is kept, else 0; `words` begin at the first of the lanes.
template <class W>
inline __attribute__((always_inline)) Vec<W> kept(Vec<W> x, const KeyBits<W>* words, int64_t j) {
  const Vec<KeyBits<W>> bit = splat(static_cast<KeyBits<W>>(1u << j % 32));
  return (load(words + j / 32 * kPanel<W>) & bit) != 0 ? x : Vec<W>{};
}

// Sets to 0 what dropout takes from probabilities[keys][panel]; what is left is not scaled.
template <class T, class W>
void drop(const Extras<T>& e, int64_t query, int64_t queries, int64_t key, int64_t keys, KeyBits<W>* words,
          W* probabilities) {
  kept_keys<W>(e, query, queries, key, keys, words);
  for (int64_t half = 0; half < queries; half += kLanes<W>)
    for (int64_t j = 0; j < keys; ++j) {
      W* row = probabilities + j * kPanel<W> + half;
      store(row, kept<W>(load(row), words + half, j));
    }
}

// By what dropout multiplies the probabilities that it keeps.
static inline double kept_scale(const AttentionShape& s) { return 1.0 / (1.0 - s.dropout); }

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native
