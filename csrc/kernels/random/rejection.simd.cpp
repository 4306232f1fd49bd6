// Distributions drawn by rejection, in lanes: an element's trials have counters of their own (its index, trial, lane),
// so neither how many it takes nor who its neighbours are moves any bits.
#include "kernels/random/exact_double.simd.h"
#include "kernels/random/random.h"
#include "simd/philox.h"

namespace native {
namespace NATIVE_ISA {
namespace {

constexpr int kWordLanes = kLanes<uint32_t>, kDoubles = kLanes<double>;
// Elements that are drawn together: few enough for the first-level cache, many beside those that are rejected.
constexpr int64_t kBlock = 256;

static inline bool any(vi64 mask) {
#if NATIVE_MASKS
  return _mm512_movepi64_mask((__m512i)mask) != 0;
#else
  int64_t lanes = 0;
  for (int i = 0; i < kDoubles; ++i) lanes |= mask[i];
  return lanes != 0;
#endif
}

// The two 64-bit words of a block of Philox for each of some elements, as numbers below 2^53.
struct Words {
  uint64_t first[kWordLanes], second[kWordLanes];
};
static inline Words draw(const uint32_t* key, const uint64_t* elements, uint32_t trial, uint32_t lane) {
  uint32_t low[kWordLanes], high[kWordLanes];
  for (int i = 0; i < kWordLanes; ++i) {
    low[i] = static_cast<uint32_t>(elements[i]);
    high[i] = static_cast<uint32_t>(elements[i] >> 32);
  }
  vu32 words[4];
  philox(load(low), load(high), key[0], key[1], words, splat(trial), splat(lane));
  uint32_t word[4][kWordLanes];
  for (int w = 0; w < 4; ++w) store(word[w], words[w]);
  Words result;
  for (int i = 0; i < kWordLanes; ++i) {
    result.first[i] = (word[0][i] | static_cast<uint64_t>(word[1][i]) << 32) >> 11;
    result.second[i] = (word[2][i] | static_cast<uint64_t>(word[3][i]) << 32) >> 11;
  }
  return result;
}
// An integer below 2^53 as a number, its halves set into those of 2^84 and 2^52.
static inline vf64 number(const uint64_t* word) {
  const vu64 bits = load(word);
  const vf64 high = (vf64)((bits >> 32) | 0x4530000000000000), low = (vf64)((bits & 0xffffffff) | 0x4330000000000000);
  return (high - (0x1p84 + 0x1p52)) + low;
}
// A number in (0, 1].
static inline vf64 unit(const uint64_t* word) { return times(number(word) + 0.5, 0x1p-53); }

struct Drawn {
  vf64 value;
  vi64 accepted;
};

// Elements without a result yet: their indices and P parameters of each.
template <int P>
struct Pending {
  uint64_t element[kBlock + kWordLanes] = {};
  double parameter[P][kBlock + kWordLanes] = {};
  int count = 0;

  void add(uint64_t index, const double (&parameters)[P]) {
    element[count] = index;
    for (int p = 0; p < P; ++p) parameter[p][count] = parameters[p];
    ++count;
  }
  void keep(int i) {
    const uint64_t index = element[i];
    double parameters[P];
    for (int p = 0; p < P; ++p) parameters[p] = parameter[p][i];
    add(index, parameters);
  }
};

// Calls trial(words, offset, parameters) -> Drawn for vectors of elements until each has been accepted, with words of
// `Lanes` blocks from `lane` on, and then finish(element, value).
template <int Lanes, int P, class Trial, class Finish>
static inline void until_accepted(Pending<P>& pending, const uint32_t* key, uint32_t lane, const Trial& trial,
                                  const Finish& finish) {
  for (uint32_t number = 0; pending.count > 0; ++number) {
    const int all = pending.count;
    pending.count = 0;
    for (int at = 0; at < all; at += kWordLanes) {
      Words words[Lanes];
      for (int i = 0; i < Lanes; ++i)
        words[i] = draw(key, pending.element + at, number, lane + static_cast<uint32_t>(i));
      double values[kWordLanes];
      int64_t accepted[kWordLanes];
      for (int i = 0; i < kWordLanes; i += kDoubles) {
        vf64 parameters[P];
        for (int p = 0; p < P; ++p) parameters[p] = load(pending.parameter[p] + at + i);
        const Drawn drawn = trial(words, i, parameters);
        store(values + i, drawn.value);
        store(accepted + i, drawn.accepted);
      }
      for (int i = 0; i < kWordLanes && at + i < all; ++i) {
        if (accepted[i])
          finish(pending.element[at + i], values[i]);
        else
          pending.keep(at + i);
      }
    }
  }
}

// Marsaglia and Tsang, 2000: the cube of a normal number that is stretched and moved; a squeeze saves most
// logarithms. Below 1 it is drawn for alpha + 1 and shrunk.
static inline Drawn gamma_trial(const Words* words, int i, const vf64* parameters) {
  const vf64 alpha = parameters[0];
  const vi64 small = alpha < 1.0;
  const vf64 d = (small ? alpha + 1.0 : alpha) - 1.0 / 3, c = 1.0 / root(times(d, 9.0));
  const vf64 radius = root(times(log_of(unit(words[0].first + i)), -2.0));
  const vf64 x = times(radius, cosine_of_half_turns(times(number(words[0].second + i), 0x1p-52)));
  const vf64 side = times(c, x) + 1.0, v = times(times(side, side), side), dv = times(d, v);
  const vf64 u = unit(words[1].first + i), square = times(x, x);
  vi64 accepted = u < 1.0 - times(times(square, square), 0.0331);
  if (any(~accepted)) {
    const vf64 bound = times(square, 0.5) + d - dv + times(d, log_of(v));
    accepted |= log_of(u) < bound;
  }
  vf64 value = dv;
  if (any(small)) value = small ? times(dv, power_of(unit(words[1].second + i), 1.0 / alpha)) : dv;
  return {value, accepted & (v > 0.0)};
}

template <class T>
void gamma(const uint32_t* key, uint32_t lane, int64_t first, int64_t last, const void* alpha_, void* out_) {
  const T* alpha = static_cast<const T*>(alpha_);
  T* out = static_cast<T*>(out_);
  for (int64_t start = first; start < last; start += kBlock) {
    Pending<1> pending;
    for (int64_t i = start; i < (last < start + kBlock ? last : start + kBlock); ++i) {
      const double a = static_cast<double>(alpha[i]);
      if (a > 0 && a < __builtin_inf())
        pending.add(static_cast<uint64_t>(i), {a});
      else
        out[i] = a >= 0 ? alpha[i] : static_cast<T>(__builtin_nan(""));
    }
    until_accepted<2>(pending, key, lane, gamma_trial,
                      [=](uint64_t element, double value) { out[element] = static_cast<T>(value); });
  }
}

// For few successes: the distribution function is inverted by adding up probabilities, until they are nothing beside
// the least u.
static inline Drawn count_successes(const Words* words, int i, const vf64* parameters) {
  constexpr int kMost = 128;  // n p < 10: nothing is left far before
  const vf64 n = parameters[0], p = parameters[1], odds = p / (1.0 - p);
  vf64 left = unit(words[0].first + i), probability = exp_of(times(n, log_of_complement(p))), successes = {};
  for (int k = 0; k < kMost; ++k) {
    const vf64 next = times(times(probability, odds), times(n - k, 1.0 / (k + 1)));
    const vi64 more = (left > probability) & (next > 0x1p-60);
    if (!any(more)) break;
    left = more ? left - probability : splat(-1.0);
    successes = more ? successes + 1.0 : successes;
    probability = next;
  }
  return {successes, n == n};
}

// The rest of Stirling's series for log(k!), k >= 0 an integer.
static inline vf64 stirling(vf64 k) {
  constexpr double small[] = {0.08106146679532726, 0.04134069595540929, 0.02767792568499834, 0.02079067210376509,
                              0.01664469118982119, 0.01387612882307075, 0.01189670994589177, 0.01041126526197209,
                              0.00925546218271273, 0.00833056343336287};
  const vf64 next = k + 1.0, square = times(next, next);
  vf64 rest = (1.0 / 12 - (1.0 / 360 - (1.0 / 1260) / square) / square) / next;
  if (any(k < 10.0))
    for (int i = 0; i < kDoubles; ++i)
      if (k[i] >= 0 && k[i] < 10) rest[i] = small[static_cast<int>(k[i])];
  return rest;
}

// Hörmann, 1993: transformed rejection with a squeeze (BTRS), for n p >= 10 and p <= 1 / 2.
static inline Drawn transformed_rejection(const Words* words, int i, const vf64* parameters) {
  const vf64 n = parameters[0], p = parameters[1], complement = 1.0 - p, mean = times(n, p);
  const vf64 deviation = root(times(mean, complement));
  const vf64 b = times(deviation, 2.53) + 1.15, a = times(b, 0.0248) + -0.0873 + times(p, 0.01);
  const vf64 u = unit(words[0].first + i) - 0.5, v = unit(words[0].second + i), edge = 0.5 - vmax(u, -u);
  const vf64 k = floor_of(times(a / edge * 2.0 + b, u) + mean + 0.5);
  const vi64 inside = (k >= 0.0) & (k <= n);
  vi64 accepted = (edge >= 0.07) & (v <= 0.92 - 4.2 / b);
  if (any(inside & ~accepted)) {
    // Hörmann's bound by the distance from the mode, so that no terms of the size of n cancel.
    const vf64 odds = p / complement, mode = floor_of(times(n + 1.0, p)), rest = n - k, above = n - mode;
    const vf64 distance = k - mode;
    const vf64 bound = stirling(mode) + stirling(above) - stirling(k) - stirling(rest) -
                       times(distance, log_of((mode + 1.0) / times(odds, above + 1.0))) -
                       times(rest + 0.5, log_of_one_more(-distance / (above + 1.0))) -
                       times(k + 0.5, log_of_one_more(distance / (mode + 1.0)));
    const vf64 hat = times(5.1 / b + 2.83, deviation), height = a / times(edge, edge) + b;
    accepted |= inside & (log_of(times(v, hat) / height) <= bound);
  }
  return {k, accepted};
}

template <class T>
void binomial(const uint32_t* key, int64_t first, int64_t last, const void* counts_, const void* probabilities_,
              void* out_) {
  const T *counts = static_cast<const T*>(counts_), *probabilities = static_cast<const T*>(probabilities_);
  T* out = static_cast<T*>(out_);
  for (int64_t start = first; start < last; start += kBlock) {
    Pending<2> few, many;
    for (int64_t i = start; i < (last < start + kBlock ? last : start + kBlock); ++i) {
      const double count = static_cast<double>(counts[i]), p = static_cast<double>(probabilities[i]);
      if (!(count >= 0 && count < 0x1p63 && p >= 0 && p <= 1)) {
        out[i] = static_cast<T>(__builtin_nan(""));
        continue;
      }
      const double n = __builtin_trunc(count), rare = p <= 0.5 ? p : 1 - p;
      (n * rare < 10 ? few : many).add(static_cast<uint64_t>(i), {n, rare});
    }
    const auto finish = [=](uint64_t i, double k) {
      const double n = __builtin_trunc(static_cast<double>(counts[i]));
      out[i] = static_cast<T>(static_cast<double>(probabilities[i]) <= 0.5 ? k : n - k);
    };
    until_accepted<1>(few, key, 1, count_successes, finish);
    until_accepted<1>(many, key, 1, transformed_rejection, finish);
  }
}

}  // namespace

extern const RejectionTable rejection_table;
const RejectionTable rejection_table = {{gamma<float>, gamma<double>}, {binomial<float>, binomial<double>}};

}  // namespace NATIVE_ISA
}  // namespace native
