#include "kernels/softmax/softmax.h"

#include "simd/element.h"
#include "simd/math.h"

namespace native {
namespace NATIVE_ISA {
namespace {

static inline float log_of(float x) { return __builtin_logf(x); }
static inline double log_of(double x) { return __builtin_log(x); }

// Whether elements are as they are computed.
template <class T>
constexpr bool kWide = sizeof(T) == sizeof(Wide<T>);

// The first n lanes of v; the other ones are `fill`.
template <class W>
Vec<W> first_lanes(Vec<W> v, int64_t n, W fill) {
  W number[kLanes<W>];
  for (int i = 0; i < kLanes<W>; ++i) number[i] = static_cast<W>(i);
  return load(number) < splat(static_cast<W>(n)) ? v : splat(fill);
}

// Up to a vector of elements; the other lanes are `fill`.
template <class T>
Vec<Wide<T>> take(const T* p, int64_t n, Wide<T> fill) {
  using W = Wide<T>;
  if (n >= kLanes<W>) return vload(p);
  if constexpr (NATIVE_MASKS && kWide<T>) return first_lanes(load_part(p, static_cast<int>(n)), n, fill);
  W lanes[kLanes<W>];
  for (int i = 0; i < kLanes<W>; ++i) lanes[i] = i < n ? get(p + i) : fill;
  return load(lanes);
}
template <class T>
void give(T* p, Vec<Wide<T>> v, int64_t n) {
  using W = Wide<T>;
  if (n >= kLanes<W>) return vstore(p, v);
  if constexpr (NATIVE_MASKS && kWide<T>) return store_part(p, v, static_cast<int>(n));
  W lanes[kLanes<W>];
  store(lanes, v);
  for (int64_t i = 0; i < n; ++i) put(p + i, lanes[i]);
}

constexpr double kInfinity = __builtin_inf();

template <class T>
Wide<T> maximum(const T* x, int64_t n) {
  using W = Wide<T>;
  constexpr int L = kLanes<W>;
  const W lowest = static_cast<W>(-kInfinity);
  Vec<W> top[2] = {splat(lowest), splat(lowest)};
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    top[0] = vmax(vload(x + i), top[0]);
    top[1] = vmax(vload(x + i + L), top[1]);
  }
  for (; i < n; i += L) top[0] = vmax(take(x + i, n - i, lowest), top[0]);
  return reduce_max<W>(vmax(top[0], top[1]));
}

// Whether exponentials may wait for their scale among the results: in half precision they would be rounded twice.
template <class T>
constexpr bool kKeeps = kWide<T>;

// Sum of exp(x - top), each handed to keep(i, value, lanes left).
template <class T, class Keep>
Wide<T> exponentials(const T* x, int64_t n, Wide<T> top, const Keep& keep) {
  using W = Wide<T>;
  constexpr int L = kLanes<W>;
  const W lowest = static_cast<W>(-kInfinity);
  Vec<W> sum[2] = {};
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L)
    for (int u = 0; u < 2; ++u) {
      const Vec<W> e = vexp(vload(x + i + u * L) - top);
      keep(i + u * L, e, L);
      sum[u] += e;
    }
  for (; i < n; i += L) {
    const Vec<W> e = vexp(take(x + i, n - i, lowest) - top);
    keep(i, e, n - i);
    // Lanes that were filled up are NaN, not 0, where the row's maximum is minus infinity.
    sum[0] += first_lanes(e, n - i, W{0});
  }
  return reduce_add<W>(sum[0] + sum[1]);
}
// For sums alone.
struct Forget {
  template <class V>
  void operator()(int64_t, V, int64_t) const {}
};

// out[i] = f(i, lanes left), vector by vector.
template <class T, class F>
void fill(T* out, int64_t n, const F& f) {
  for (int64_t i = 0; i < n; i += kLanes<Wide<T>>) give(out + i, f(i, n - i), n - i);
}
// Sum of f(i, lanes left), which is 0 in the lanes beyond.
template <class W, class F>
W sum_of(int64_t n, const F& f) {
  constexpr int L = kLanes<W>;
  Vec<W> sum[2] = {};
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    sum[0] += f(i, L);
    sum[1] += f(i + L, L);
  }
  for (; i < n; i += L) sum[0] += f(i, n - i);
  return reduce_add<W>(sum[0] + sum[1]);
}

template <class T>
void columns(const void* x_, void* y_, int64_t n, int64_t inner, int64_t count, bool log) {
  using W = Wide<T>;
  for (int64_t c = 0; c < count; c += kLanes<W>) {
    const T* x = static_cast<const T*>(x_) + c;
    T* y = static_cast<T*>(y_) + c;
    const int64_t left = count - c;
    Vec<W> top = splat(static_cast<W>(-kInfinity)), total{};
    for (int64_t k = 0; k < n; ++k) top = vmax(take(x + k * inner, left, W{0}), top);
    const auto each = [&](const auto& f) {
      for (int64_t k = 0; k < n; ++k) f(take(x + k * inner, left, W{0}) - top, y + k * inner);
    };
    const auto sum = [&](const auto& keep) {
      each([&](Vec<W> d, T* to) {
        const Vec<W> e = vexp(d);
        keep(to, e);
        total += e;
      });
    };
    if (log) {
      sum([](T*, Vec<W>) {});
      total = vlog(total);
      each([&](Vec<W> d, T* to) { give(to, d - total, left); });
    } else if constexpr (kKeeps<T>) {
      sum([&](T* to, Vec<W> e) { give(to, e, left); });
      const Vec<W> scale = 1 / total;
      for (int64_t k = 0; k < n; ++k) give(y + k * inner, take(y + k * inner, left, W{0}) * scale, left);
    } else {
      sum([](T*, Vec<W>) {});
      const Vec<W> scale = 1 / total;
      each([&](Vec<W> d, T* to) { give(to, vexp(d) * scale, left); });
    }
  }
}

template <class T>
void columns_grad(const void* ct_, const void* y_, void* dx_, int64_t n, int64_t inner, int64_t count, bool log) {
  using W = Wide<T>;
  for (int64_t c = 0; c < count; c += kLanes<W>) {
    const T *ct = static_cast<const T*>(ct_) + c, *y = static_cast<const T*>(y_) + c;
    T* dx = static_cast<T*>(dx_) + c;
    const int64_t left = count - c;
    Vec<W> sum{};
    for (int64_t k = 0; k < n; ++k) {
      const Vec<W> g = take(ct + k * inner, left, W{0});
      sum += log ? g : g * take(y + k * inner, left, W{0});
    }
    for (int64_t k = 0; k < n; ++k) {
      const Vec<W> g = take(ct + k * inner, left, W{0}), v = take(y + k * inner, left, W{0});
      give(dx + k * inner, log ? g - vexp(v) * sum : v * (g - sum), left);
    }
  }
}

// Rows of few elements: a vector of rows at a time, each in a lane, so that none is a vector with lanes to spare.
constexpr int64_t kFew = 48;

template <class T>
struct Lanes {
  using W = Wide<T>;
  static constexpr int L = kLanes<W>;
  alignas(64) W at[kFew * L];

  // L rows of n in, or fewer, the other lanes being 0; and out.
  void take(const T* x, int64_t rows, int64_t n) {
    if (rows < L) __builtin_memset(at, 0, static_cast<size_t>(n) * L * sizeof(W));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < n; ++k) at[k * L + r] = get(x + r * n + k);
  }
  void give(T* x, int64_t rows, int64_t n) const {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < n; ++k) put(x + r * n + k, at[k * L + r]);
  }
  Vec<W> operator[](int64_t k) const { return load(at + k * L); }
  void set(int64_t k, Vec<W> v) { store(at + k * L, v); }
  void softmax(int64_t n, bool log) { columns<W>(at, at, n, L, L, log); }
};

// f(first row, how many) for each vector of rows.
template <class T, class F>
void by_lanes(int64_t rows, const F& f) {
  constexpr int64_t L = kLanes<Wide<T>>;
  for (int64_t r = 0; r < rows; r += L) f(r, rows - r < L ? rows - r : L);
}

template <class T>
void few(const T* x, T* y, int64_t rows, int64_t n, bool log) {
  Lanes<T> lanes;
  by_lanes<T>(rows, [&](int64_t r, int64_t count) {
    lanes.take(x + r * n, count, n);
    lanes.softmax(n, log);
    lanes.give(y + r * n, count, n);
  });
}

template <class T>
void few_grad(const T* ct, const T* y, T* dx, int64_t rows, int64_t n, bool log) {
  using W = Wide<T>;
  constexpr int L = kLanes<W>;
  Lanes<T> g, v;
  by_lanes<T>(rows, [&](int64_t r, int64_t count) {
    g.take(ct + r * n, count, n);
    v.take(y + r * n, count, n);
    columns_grad<W>(g.at, v.at, g.at, n, L, L, log);
    g.give(dx + r * n, count, n);
  });
}

template <class T>
void few_label_loss(const T* x, const int64_t* labels, T* loss, int64_t rows, int64_t n) {
  Lanes<T> lanes;
  by_lanes<T>(rows, [&](int64_t r, int64_t count) {
    lanes.take(x + r * n, count, n);
    lanes.softmax(n, true);
    for (int64_t i = r; i < r + count; ++i) {
      const bool inside = labels[i] >= 0 && labels[i] < n;
      put(loss + i, inside ? -lanes.at[labels[i] * Lanes<T>::L + i - r] : Wide<T>{0});
    }
  });
}

template <class T>
void few_label_loss_grad(const T* ct, const T* x, const int64_t* labels, T* dx, int64_t rows, int64_t n) {
  using W = Wide<T>;
  constexpr int L = kLanes<W>;
  Lanes<T> lanes;
  by_lanes<T>(rows, [&](int64_t r, int64_t count) {
    lanes.take(x + r * n, count, n);
    lanes.softmax(n, false);
    W scale[L] = {};
    for (int64_t i = 0; i < count; ++i) {
      const int64_t label = labels[r + i];
      if (label < 0 || label >= n) {  // a row of zeros, whatever x is
        for (int64_t k = 0; k < n; ++k) lanes.at[k * L + i] = 0;
        continue;
      }
      scale[i] = get(ct + r + i);
      lanes.at[label * L + i] -= 1;
    }
    for (int64_t k = 0; k < n; ++k) lanes.set(k, lanes[k] * load(scale));
    lanes.give(dx + r * n, count, n);
  });
}

template <class T>
void few_target_loss(const T* x, const T* targets, T* loss, int64_t rows, int64_t n) {
  using W = Wide<T>;
  Lanes<T> lanes, t;
  by_lanes<T>(rows, [&](int64_t r, int64_t count) {
    lanes.take(x + r * n, count, n);
    t.take(targets + r * n, count, n);
    lanes.softmax(n, true);
    Vec<W> sum{};
    for (int64_t k = 0; k < n; ++k) sum -= t[k] * lanes[k];
    for (int64_t i = 0; i < count; ++i) put(loss + r + i, sum[i]);
  });
}

template <class T>
void few_target_loss_grad(const T* ct, const T* x, const T* targets, T* dx, int64_t rows, int64_t n) {
  using W = Wide<T>;
  Lanes<T> lanes, t;
  by_lanes<T>(rows, [&](int64_t r, int64_t count) {
    lanes.take(x + r * n, count, n);
    t.take(targets + r * n, count, n);
    lanes.softmax(n, false);
    Vec<W> mass{}, scale{};
    for (int64_t k = 0; k < n; ++k) mass += t[k];
    for (int64_t i = 0; i < count; ++i) scale[i] = get(ct + r + i);
    for (int64_t k = 0; k < n; ++k) lanes.set(k, scale * (lanes[k] * mass - t[k]));
    lanes.give(dx + r * n, count, n);
  });
}

// y[i] = result(i, lanes left, p) for p = exp(x - top) scale(their sum).
template <class T, class Scale, class Result>
void from_exponentials(const T* x, int64_t n, Wide<T> top, T* y, const Scale& scale_of, const Result& result) {
  using W = Wide<T>;
  if constexpr (kKeeps<T>) {
    const W scale = scale_of(exponentials(x, n, top, [y](int64_t i, Vec<W> e, int64_t left) { give(y + i, e, left); }));
    fill(y, n, [=](int64_t i, int64_t left) { return result(i, left, take(y + i, left, W{0}) * scale); });
  } else {
    const W scale = scale_of(exponentials(x, n, top, Forget{}));
    fill(y, n, [=](int64_t i, int64_t left) { return result(i, left, vexp(take(x + i, left, W{0}) - top) * scale); });
  }
}
struct Same {
  template <class V>
  V operator()(int64_t, int64_t, V p) const {
    return p;
  }
};

template <class T>
void rows(const void* x_, void* y_, int64_t rows, int64_t n, bool log) {
  using W = Wide<T>;
  if (n <= kFew) return few(static_cast<const T*>(x_), static_cast<T*>(y_), rows, n, log);
  for (int64_t r = 0; r < rows; ++r) {
    const T* x = static_cast<const T*>(x_) + r * n;
    T* y = static_cast<T*>(y_) + r * n;
    const W top = maximum(x, n);
    if (log) {
      const W total = log_of(exponentials(x, n, top, Forget{}));
      fill(y, n, [=](int64_t i, int64_t left) { return (take(x + i, left, W{0}) - top) - total; });
    } else {
      from_exponentials(x, n, top, y, [](W total) { return 1 / total; }, Same{});
    }
  }
}

template <class T>
void rows_grad(const void* ct_, const void* y_, void* dx_, int64_t rows, int64_t n, bool log) {
  using W = Wide<T>;
  if (n <= kFew)
    return few_grad(static_cast<const T*>(ct_), static_cast<const T*>(y_), static_cast<T*>(dx_), rows, n, log);
  for (int64_t r = 0; r < rows; ++r) {
    const T *ct = static_cast<const T*>(ct_) + r * n, *y = static_cast<const T*>(y_) + r * n;
    T* dx = static_cast<T*>(dx_) + r * n;
    if (log) {
      const W sum = sum_of<W>(n, [=](int64_t i, int64_t left) { return take(ct + i, left, W{0}); });
      fill(dx, n,
           [=](int64_t i, int64_t left) { return take(ct + i, left, W{0}) - vexp(take(y + i, left, W{0})) * sum; });
    } else {
      const W sum =
          sum_of<W>(n, [=](int64_t i, int64_t left) { return take(ct + i, left, W{0}) * take(y + i, left, W{0}); });
      fill(dx, n, [=](int64_t i, int64_t left) { return take(y + i, left, W{0}) * (take(ct + i, left, W{0}) - sum); });
    }
  }
}

template <class T>
void label_loss(const void* x_, const int64_t* labels, void* loss_, int64_t rows, int64_t n) {
  using W = Wide<T>;
  if (n <= kFew) return few_label_loss(static_cast<const T*>(x_), labels, static_cast<T*>(loss_), rows, n);
  for (int64_t r = 0; r < rows; ++r) {
    const T* x = static_cast<const T*>(x_) + r * n;
    T* loss = static_cast<T*>(loss_) + r;
    if (labels[r] < 0 || labels[r] >= n) {
      put(loss, W{0});
      continue;
    }
    const W top = maximum(x, n);
    put(loss, log_of(exponentials(x, n, top, Forget{})) - (get(x + labels[r]) - top));
  }
}

template <class T>
void label_loss_grad(const void* ct_, const void* x_, const int64_t* labels, void* dx_, int64_t rows, int64_t n) {
  using W = Wide<T>;
  if (n <= kFew)
    return few_label_loss_grad(static_cast<const T*>(ct_), static_cast<const T*>(x_), labels, static_cast<T*>(dx_),
                               rows, n);
  for (int64_t r = 0; r < rows; ++r) {
    const T* x = static_cast<const T*>(x_) + r * n;
    T* dx = static_cast<T*>(dx_) + r * n;
    const int64_t label = labels[r];
    if (label < 0 || label >= n) {
      fill(dx, n, [](int64_t, int64_t) { return Vec<W>{}; });
      continue;
    }
    const W ct = get(static_cast<const T*>(ct_) + r), top = maximum(x, n);
    W inverse{};
    const auto scale_of = [&](W total) {
      inverse = 1 / total;
      return ct * inverse;
    };
    from_exponentials(x, n, top, dx, scale_of, Same{});
    const W p = vexp(splat(get(x + label) - top))[0] * inverse;
    put(dx + label, ct * (p - 1));
  }
}

template <class T>
void target_loss(const void* x_, const void* targets_, void* loss_, int64_t rows, int64_t n) {
  using W = Wide<T>;
  if (n <= kFew)
    return few_target_loss(static_cast<const T*>(x_), static_cast<const T*>(targets_), static_cast<T*>(loss_), rows, n);
  for (int64_t r = 0; r < rows; ++r) {
    const T *x = static_cast<const T*>(x_) + r * n, *t = static_cast<const T*>(targets_) + r * n;
    const W top = maximum(x, n), total = log_of(exponentials(x, n, top, Forget{}));
    const W loss = sum_of<W>(n, [=](int64_t i, int64_t left) {
      return take(t + i, left, W{0}) * (total - (take(x + i, left, W{0}) - top));
    });
    put(static_cast<T*>(loss_) + r, loss);
  }
}

template <class T>
void target_loss_grad(const void* ct_, const void* x_, const void* targets_, void* dx_, int64_t rows, int64_t n) {
  using W = Wide<T>;
  if (n <= kFew)
    return few_target_loss_grad(static_cast<const T*>(ct_), static_cast<const T*>(x_), static_cast<const T*>(targets_),
                                static_cast<T*>(dx_), rows, n);
  for (int64_t r = 0; r < rows; ++r) {
    const T *x = static_cast<const T*>(x_) + r * n, *t = static_cast<const T*>(targets_) + r * n;
    const W ct = get(static_cast<const T*>(ct_) + r), top = maximum(x, n);
    const W mass = sum_of<W>(n, [=](int64_t i, int64_t left) { return take(t + i, left, W{0}); });
    from_exponentials(
        x, n, top, static_cast<T*>(dx_) + r * n, [=](W total) { return mass / total; },
        [=](int64_t i, int64_t left, Vec<W> p) { return ct * (p - take(t + i, left, W{0})); });
  }
}

template <class T>
void sigmoid_loss(const void* x_, const void* targets_, void* loss, int64_t n) {
  using W = Wide<T>;
  const T *x = static_cast<const T*>(x_), *t = static_cast<const T*>(targets_);
  fill(static_cast<T*>(loss), n, [=](int64_t i, int64_t left) {
    const Vec<W> v = take(x + i, left, W{0});
    const Vec<W> positive = v < 0 ? Vec<W>{} : v;  // NaN stays
    return (positive - v * take(t + i, left, W{0})) + vlog1p(vexp(-vabs(v)));
  });
}

template <class T>
constexpr SoftmaxTable make() {
  return {rows<T>,        rows_grad<T>,        columns<T>,     columns_grad<T>, label_loss<T>, label_loss_grad<T>,
          target_loss<T>, target_loss_grad<T>, sigmoid_loss<T>};
}

}  // namespace

extern const SoftmaxTables softmax_tables;
const SoftmaxTables softmax_tables = {make<Half>(), make<BFloat>(), make<float>(), make<double>()};

}  // namespace NATIVE_ISA
}  // namespace native
