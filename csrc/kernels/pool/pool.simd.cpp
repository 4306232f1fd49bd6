#include "kernels/pool/pool.h"

#include "simd/largest.h"
#include "simd/partial.h"
#include "simd/stream.h"

namespace native::pooling {
namespace NATIVE_ISA {
namespace {

template <class T>
struct MaskOf;
template <>
struct MaskOf<float> {
  using type = int32_t;
};
template <>
struct MaskOf<double> {
  using type = int64_t;
};

// One byte for each lane.
template <class T>
struct BytesOf {
  typedef uint8_t type __attribute__((vector_size(NATIVE_VEC_BYTES / sizeof(T))));
};
template <class T>
using Bytes = typename BytesOf<T>::type;
template <class T>
using Mask = Vec<typename MaskOf<T>::type>;

template <class T, bool Partial>
inline Mask<T> load_places(const uint8_t* from, int lanes) {
  Bytes<T> bytes{};
  __builtin_memcpy(&bytes, from, Partial ? static_cast<size_t>(lanes) : sizeof bytes);
  return __builtin_convertvector(bytes, Mask<T>);
}
template <class T, bool Partial>
inline void store_places(uint8_t* to, Mask<T> places, int lanes) {
  const Bytes<T> bytes = __builtin_convertvector(places, Bytes<T>);
  __builtin_memcpy(to, &bytes, Partial ? static_cast<size_t>(lanes) : sizeof bytes);
}

template <bool Partial, class S, class T>
inline void put_stream(S stream, T* to, Vec<T> x, int lanes) {
  if (Partial)
    store_part(to, x, lanes);
  else
    stream.store(to, x);
}

template <bool Partial, class S, class T>
inline Vec<T> get_stream(S stream, const T* from, int lanes) {
  if constexpr (Partial)
    return load_part(from, lanes);
  else
    return stream.load(from);
}

// The vectors of a line: windows that lie side by side write whole ones in turn.
constexpr int kLineVectors = kLineBytes / kVecBytes;

// Calls body(Stream) for a gradient that windows set, or add to.
template <bool kSet, class T, class Body>
inline void with_gradient(const Window<T>& w, const T* gradient, const Body& body) {
  if constexpr (kSet)
    with_stream<T>(w.far && w.channels % (kLineVectors * kLanes<T>) == 0, gradient, w.channels, body);
  else
    body(Stream<false>{});
}

// The channels from c on that fill no vector.
template <class T, bool kPlaces>
inline void last_maxima(const Window<T>& w, int64_t c, T* out, uint8_t* place) {
  for (; c < w.channels; ++c) {
    Largest<T> best{w.x[w.offsets[0] + c], w.numbers[0]};
    for (int64_t t = 1; t < w.taps; ++t) best.take(w.x[w.offsets[t] + c], w.numbers[t]);
    out[c] = best.value;
    if (kPlaces) put_numbers(place + c, best.number);
  }
}

template <class T, bool kPlaces>
void maximum(const Window<T>& w, T* out, uint8_t* place) {
  constexpr int kL = kLanes<T>;
  using Number = typename MaskOf<T>::type;
  int64_t c = 0;
  for (; c + kL <= w.channels; c += kL) {
    Largest<Vec<T>> best{load(w.x + w.offsets[0] + c), splat<Number>(w.numbers[0])};
    for (int64_t t = 1; t < w.taps; ++t) best.take(load(w.x + w.offsets[t] + c), splat<Number>(w.numbers[t]));
    store(out + c, best.value);
    if (kPlaces) put_numbers(place + c, best.number);
  }
  last_maxima<T, kPlaces>(w, c, out, place);
}

// Part of what later windows read is asked for, as rows are too many for the processor's own guesses.
template <bool kAsk, class T>
inline void ask_ahead(const T* from) {
  constexpr int kAheadBytes = 2048;
  if (kAsk) __builtin_prefetch(reinterpret_cast<const char*>(from) + kAheadBytes);
}

// kCount vectors of channels from c on. Several at a time, as each tap waits for the one before. Which of two is taken
// where one is NaN is the instruction's own affair.
template <class T, bool kPlaces, bool kAsk, int kCount, bool Partial = false>
inline void maximum_block(const Window<T>& w, int64_t c, T* out, uint8_t* place, Vec<T>& unusual,
                          int lanes = kLanes<T>) {
  constexpr int kL = kLanes<T>;
  using Number = typename MaskOf<T>::type;
  Vec<T> best[kCount];
  Mask<T> at[kCount];
  for (int i = 0; i < kCount; ++i) {
    best[i] = get<Partial>(w.x + w.offsets[0] + c + i * kL, lanes);
    unusual += best[i] * T(0);
    at[i] = splat<Number>(w.numbers[0]);
  }
  for (int64_t t = 1; t < w.taps; ++t) {
    const T* const from = w.x + w.offsets[t] + c;
    const Mask<T> number = splat<Number>(w.numbers[t]);
    for (int i = 0; i < kCount; ++i) {
      ask_ahead<kAsk>(from + i * kL);
      const Vec<T> x = get<Partial>(from + i * kL, lanes);
      if (kPlaces) at[i] = x > best[i] ? number : at[i];
      best[i] = vmax(best[i], x);
      unusual += x * T(0);
    }
  }
  for (int i = 0; i < kCount; ++i) {
    put<Partial>(out + c + i * kL, best[i], lanes);
    if (kPlaces) store_places<T, Partial>(place + c + i * kL, at[i], lanes);
  }
}

template <class T, bool kPlaces, bool kAsk>
void maximum_of_numbers(const Window<T>& w, T* out, uint8_t* place) {
  constexpr int kL = kLanes<T>;
  Vec<T> unusual{};
  int64_t c = 0;
  for (; c + 4 * kL <= w.channels; c += 4 * kL) maximum_block<T, kPlaces, kAsk, 4>(w, c, out, place, unusual);
  for (; c + kL <= w.channels; c += kL) maximum_block<T, kPlaces, kAsk, 1>(w, c, out, place, unusual);
  if (c < w.channels)
    maximum_block<T, kPlaces, kAsk, 1, true>(w, c, out, place, unusual, static_cast<int>(w.channels - c));
  store(w.unusual, load(w.unusual) + unusual);
}
template <class T, bool kPlaces>
void maximum_of_numbers(const Window<T>& w, T* out, uint8_t* place) {
  w.ask ? maximum_of_numbers<T, kPlaces, true>(w, out, place) : maximum_of_numbers<T, kPlaces, false>(w, out, place);
}

template <class T, bool kSet, int kCount, bool Partial = false, class S>
inline void scatter_block(S stream, const Window<T>& w, int64_t c, const uint8_t* place, const T* ct, T* gradient,
                          int lanes = kLanes<T>) {
  constexpr int kL = kLanes<T>;
  using Number = typename MaskOf<T>::type;
  Vec<T> g[kCount];
  Mask<T> at[kCount];
  for (int i = 0; i < kCount; ++i) {
    g[i] = get<Partial>(ct + c + i * kL, lanes);
    at[i] = load_places<T, Partial>(place + c + i * kL, lanes);
  }
  for (int64_t t = 0; t < w.taps; ++t) {
    const Mask<T> number = splat<Number>(w.numbers[t]);
    for (int i = 0; i < kCount; ++i) {
      T* const to = gradient + w.offsets[t] + c + i * kL;
      const Vec<T> here = at[i] == number ? g[i] : Vec<T>{};
      put_stream<Partial>(stream, to, kSet ? here : get<Partial>(to, lanes) + here, lanes);
    }
  }
}

template <class T, bool kSet>
void scatter(const Window<T>& w, const uint8_t* place, const T* ct, T* gradient) {
  constexpr int kL = kLanes<T>, kLine = kLineVectors * kL;
  with_gradient<kSet>(w, gradient, [&](auto stream) {
    int64_t c = 0;
    for (; c + kLine <= w.channels; c += kLine) scatter_block<T, kSet, kLineVectors>(stream, w, c, place, ct, gradient);
    for (; c + kL <= w.channels; c += kL) scatter_block<T, kSet, 1>(stream, w, c, place, ct, gradient);
    if (c < w.channels)
      scatter_block<T, kSet, 1, true>(stream, w, c, place, ct, gradient, static_cast<int>(w.channels - c));
  });
}

template <class T, bool kAsk, int kCount, bool Partial = false>
inline void average_block(const Window<T>& w, int64_t c, T* out, int lanes = kLanes<T>) {
  constexpr int kL = kLanes<T>;
  Vec<T> sum[kCount] = {};
  for (int64_t t = 0; t < w.taps; ++t)
    for (int i = 0; i < kCount; ++i) {
      const T* const from = w.x + w.offsets[t] + c + i * kL;
      ask_ahead<kAsk>(from);
      sum[i] += get<Partial>(from, lanes);
    }
  for (int i = 0; i < kCount; ++i) put<Partial>(out + c + i * kL, sum[i] * w.scale, lanes);
}

template <class T, bool kAsk>
void average(const Window<T>& w, T* out) {
  constexpr int kL = kLanes<T>;
  int64_t c = 0;
  for (; c + 4 * kL <= w.channels; c += 4 * kL) average_block<T, kAsk, 4>(w, c, out);
  for (; c + 2 * kL <= w.channels; c += 2 * kL) average_block<T, kAsk, 2>(w, c, out);
  for (; c + kL <= w.channels; c += kL) average_block<T, kAsk, 1>(w, c, out);
  if (c < w.channels) average_block<T, kAsk, 1, true>(w, c, out, static_cast<int>(w.channels - c));
}
template <class T>
void average(const Window<T>& w, T* out) {
  w.ask ? average<T, true>(w, out) : average<T, false>(w, out);
}

template <class T, bool kSet, int kCount, bool Partial = false, class S>
inline void maximum_gradient_block(S stream, const Window<T>& w, int64_t c, const T* out, const T* ct, T* gradient,
                                   int lanes = kLanes<T>) {
  constexpr int kL = kLanes<T>;
  Vec<T> y[kCount], g[kCount];
  for (int i = 0; i < kCount; ++i) {
    y[i] = get<Partial>(out + c + i * kL, lanes);
    g[i] = get<Partial>(ct + c + i * kL, lanes);
  }
  for (int64_t t = 0; t < w.taps; ++t)
    for (int i = 0; i < kCount; ++i) {
      const int64_t at = w.offsets[t] + c + i * kL;
      const Vec<T> x = get_stream<Partial>(stream, w.x + at, lanes);
      // A window's NaN is its maximum. What was given is not given again.
      const Mask<T> hit = (x == y[i]) | (x != x);
      const Vec<T> here = hit ? g[i] : Vec<T>{};
      g[i] = hit ? Vec<T>{} : g[i];
      put_stream<Partial>(stream, gradient + at, kSet ? here : get<Partial>(gradient + at, lanes) + here, lanes);
    }
}

template <class T, bool kSet>
void maximum_gradient(const Window<T>& w, const T* out, const T* ct, T* gradient) {
  constexpr int kL = kLanes<T>, kLine = kLineVectors * kL;
  with_gradient<kSet>(w, gradient, [&](auto stream) {
    int64_t c = 0;
    for (; c + kLine <= w.channels; c += kLine)
      maximum_gradient_block<T, kSet, kLineVectors>(stream, w, c, out, ct, gradient);
    for (; c + kL <= w.channels; c += kL) maximum_gradient_block<T, kSet, 1>(stream, w, c, out, ct, gradient);
    if (c < w.channels)
      maximum_gradient_block<T, kSet, 1, true>(stream, w, c, out, ct, gradient, static_cast<int>(w.channels - c));
  });
}

template <class T>
void select(const Window<T>& w, const T* out, const T* values, T* result) {
  for (int64_t c = 0; c < w.channels; ++c) {
    result[c] = 0;
    for (int64_t t = 0; t < w.taps; ++t) {
      const T x = w.x[w.offsets[t] + c];
      if (x == out[c] || (x != x && out[c] != out[c])) {
        result[c] = values[w.offsets[t] + c];
        break;
      }
    }
  }
}

template <class T, bool kSet, int kCount, bool Partial = false, class S>
inline void average_gradient_block(S stream, const Window<T>& w, int64_t c, const T* ct, T* gradient,
                                   int lanes = kLanes<T>) {
  constexpr int kL = kLanes<T>;
  Vec<T> g[kCount];
  for (int i = 0; i < kCount; ++i) g[i] = get<Partial>(ct + c + i * kL, lanes) * w.scale;
  for (int64_t t = 0; t < w.taps; ++t)
    for (int i = 0; i < kCount; ++i) {
      T* const to = gradient + w.offsets[t] + c + i * kL;
      put_stream<Partial>(stream, to, kSet ? g[i] : get<Partial>(to, lanes) + g[i], lanes);
    }
}

template <class T, bool kSet>
void average_gradient(const Window<T>& w, const T* ct, T* gradient) {
  constexpr int kL = kLanes<T>, kLine = kLineVectors * kL;
  with_gradient<kSet>(w, gradient, [&](auto stream) {
    int64_t c = 0;
    for (; c + kLine <= w.channels; c += kLine)
      average_gradient_block<T, kSet, kLineVectors>(stream, w, c, ct, gradient);
    for (; c + kL <= w.channels; c += kL) average_gradient_block<T, kSet, 1>(stream, w, c, ct, gradient);
    if (c < w.channels)
      average_gradient_block<T, kSet, 1, true>(stream, w, c, ct, gradient, static_cast<int>(w.channels - c));
  });
}

template <class T>
constexpr PoolLoops<T> loops() {
  return {
      &maximum_of_numbers<T, false>, &maximum_of_numbers<T, true>, &maximum<T, false>, &maximum<T, true>, &average<T>,
      &maximum_gradient<T, false>,   &maximum_gradient<T, true>,   &scatter<T, false>, &scatter<T, true>, &select<T>,
      &average_gradient<T, false>,   &average_gradient<T, true>};
}

}  // namespace

extern const PoolTable pool_table;
const PoolTable pool_table = {loops<float>(), loops<double>()};

}  // namespace NATIVE_ISA
}  // namespace native::pooling
