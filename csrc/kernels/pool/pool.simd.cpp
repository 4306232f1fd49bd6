#include "kernels/pool/pool.h"

#include "simd/vec.h"

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

// The larger, and NaN if either is.
template <class V>
inline V larger(V a, V b) {
  return ((a > b) | (a != a)) ? a : b;
}
inline float larger(float a, float b) { return a > b || a != a ? a : b; }
inline double larger(double a, double b) { return a > b || a != a ? a : b; }

template <class T>
void maximum(const Window<T>& w, T* out) {
  constexpr int kL = kLanes<T>;
  int64_t c = 0;
  for (; c + 2 * kL <= w.channels; c += 2 * kL) {
    Vec<T> a = load(w.x + w.offsets[0] + c), b = load(w.x + w.offsets[0] + c + kL);
    for (int64_t t = 1; t < w.taps; ++t) {
      a = larger(a, load(w.x + w.offsets[t] + c));
      b = larger(b, load(w.x + w.offsets[t] + c + kL));
    }
    store(out + c, a);
    store(out + c + kL, b);
  }
  for (; c < w.channels; ++c) {
    T a = w.x[w.offsets[0] + c];
    for (int64_t t = 1; t < w.taps; ++t) a = larger(a, w.x[w.offsets[t] + c]);
    out[c] = a;
  }
}

template <class T>
void average(const Window<T>& w, T* out) {
  constexpr int kL = kLanes<T>;
  int64_t c = 0;
  for (; c + 2 * kL <= w.channels; c += 2 * kL) {
    Vec<T> a{}, b{};
    for (int64_t t = 0; t < w.taps; ++t) {
      a += load(w.x + w.offsets[t] + c);
      b += load(w.x + w.offsets[t] + c + kL);
    }
    store(out + c, a * w.scale);
    store(out + c + kL, b * w.scale);
  }
  for (; c < w.channels; ++c) {
    T a = 0;
    for (int64_t t = 0; t < w.taps; ++t) a += w.x[w.offsets[t] + c];
    out[c] = a * w.scale;
  }
}

template <class T, bool kSet>
void maximum_gradient(const Window<T>& w, const T* out, const T* ct, T* gradient) {
  constexpr int kL = kLanes<T>;
  using Mask = Vec<typename MaskOf<T>::type>;
  int64_t c = 0;
  for (; c + kL <= w.channels; c += kL) {
    const Vec<T> y = load(out + c), g = load(ct + c), zero{};
    Mask open = ~Mask{};
    for (int64_t t = 0; t < w.taps; ++t) {
      const Vec<T> x = load(w.x + w.offsets[t] + c);
      // Negated, so that it holds for NaN: a window's NaN is its maximum.
      const Mask hit = open & ~((x < y) | (x > y) | ((x == x) & (y != y)));
      open &= ~hit;
      T* to = gradient + w.offsets[t] + c;
      store(to, kSet ? (hit ? g : zero) : load(to) + (hit ? g : zero));
    }
  }
  for (; c < w.channels; ++c) {
    const T y = out[c];
    bool open = true;
    for (int64_t t = 0; t < w.taps; ++t) {
      const T x = w.x[w.offsets[t] + c];
      const bool hit = open && (x == y || (x != x && y != y));
      open = open && !hit;
      T* to = gradient + w.offsets[t] + c;
      *to = (kSet ? T(0) : *to) + (hit ? ct[c] : T(0));
    }
  }
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

template <class T, bool kSet>
void average_gradient(const Window<T>& w, const T* ct, T* gradient) {
  constexpr int kL = kLanes<T>;
  int64_t c = 0;
  for (; c + kL <= w.channels; c += kL) {
    const Vec<T> g = load(ct + c) * w.scale;
    for (int64_t t = 0; t < w.taps; ++t) {
      T* to = gradient + w.offsets[t] + c;
      store(to, kSet ? g : load(to) + g);
    }
  }
  for (; c < w.channels; ++c)
    for (int64_t t = 0; t < w.taps; ++t) {
      T* to = gradient + w.offsets[t] + c;
      *to = (kSet ? T(0) : *to) + ct[c] * w.scale;
    }
}

template <class T>
constexpr PoolLoops<T> loops() {
  return {&maximum<T>,
          &average<T>,
          &maximum_gradient<T, false>,
          &maximum_gradient<T, true>,
          &select<T>,
          &average_gradient<T, false>,
          &average_gradient<T, true>};
}

}  // namespace

extern const PoolTable pool_table;
const PoolTable pool_table = {loops<float>(), loops<double>()};

}  // namespace NATIVE_ISA
}  // namespace native::pooling
