#include "kernels/norm/norm.h"

#include "kernels/norm/rows.simd.h"
#include "simd/stream.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// Calls body(std-like constant vectors, first channel) over all channels in strips of 4, 2, 1 vectors and
// then single channels; sums of a strip stay in registers while its rows are run through.
template <class W, class Body, class Tail>
void strips(int64_t channels, const Body& body, const Tail& tail) {
  constexpr int L = kLanes<W>;
  int64_t c = 0;
  for (; c + 4 * L <= channels; c += 4 * L) body(Count<4>{}, c);
  for (; c + 2 * L <= channels; c += 2 * L) body(Count<2>{}, c);
  for (; c + L <= channels; c += L) body(Count<1>{}, c);
  for (; c < channels; ++c) tail(c);
}

// first[c] += sum of d and second[c] += sum of d * e over the rows, where (d, e) = values(row, channel).
template <class W, class Values, class Scalars>
void two_sums(int64_t rows, int64_t channels, W* first, W* second, const Values& values, const Scalars& scalars) {
  constexpr int L = kLanes<W>;
  strips<W>(
      channels,
      [&](auto count, int64_t c) {
        constexpr int N = decltype(count)::value, U = 4 / N;  // U rows at once keep four chains busy
        Vec<W> s[U][N] = {}, q[U][N] = {};
        const auto add = [&](int u, int64_t r) {
          for (int k = 0; k < N; ++k) {
            Vec<W> d, e;
            values(r, c + k * L, d, e);
            s[u][k] += d;
            q[u][k] += d * e;
          }
        };
        int64_t r = 0;
        for (; r + U <= rows; r += U)
          for (int u = 0; u < U; ++u) add(u, r + u);
        for (; r < rows; ++r) add(0, r);
        for (int k = 0; k < N; ++k) {
          for (int u = 1; u < U; ++u) {
            s[0][k] += s[u][k];
            q[0][k] += q[u][k];
          }
          store(first + c + k * L, load(first + c + k * L) + s[0][k]);
          store(second + c + k * L, load(second + c + k * L) + q[0][k]);
        }
      },
      [&](int64_t c) {
        W s = 0, q = 0;
        for (int64_t r = 0; r < rows; ++r) {
          W d, e;
          scalars(r, c, d, e);
          s += d;
          q += d * e;
        }
        first[c] += s;
        second[c] += q;
      });
}

// Rows that are gone through together: their `bytes` should stay in the first-level cache over all strips.
template <class T>
int64_t block_rows(int64_t channels, int64_t bytes, int64_t least) {
  const int64_t fit = bytes / (static_cast<int64_t>(sizeof(T)) * channels);
  return fit < least ? least : fit;
}

// One pass over memory. Differences are taken from the mean of the rows before the block, which is close
// enough to the block's own for the sum of squares to lose nothing; the first block is read once more for
// a first mean.
template <class T>
void channel_stats(const void* x_, int64_t rows, int64_t channels, void* mean_, void* m2_) {
  using W = Wide<T>;
  const T* x = static_cast<const T*>(x_);
  W *mean = static_cast<W*>(mean_), *m2 = static_cast<W*>(m2_);
  for (int64_t c = 0; c < channels; ++c) mean[c] = m2[c] = 0;
  const int64_t step = block_rows<T>(channels, 16384, 16);
  constexpr int kPiece = 64;  // channels whose sums are kept on the stack between sums and update
  const int64_t first = rows < step ? rows : step;
  for (int64_t c0 = 0; c0 < channels; c0 += kPiece) {
    const int64_t piece = channels - c0 < kPiece ? channels - c0 : kPiece;
    W s[kPiece] = {}, q[kPiece] = {};
    two_sums<W>(
        first, piece, s, q,
        [&](int64_t r, int64_t c, Vec<W>& d, Vec<W>& e) {
          d = vload(x + r * channels + c0 + c);
          e = Vec<W>{};
        },
        [&](int64_t r, int64_t c, W& d, W& e) {
          d = get(x + r * channels + c0 + c);
          e = 0;
        });
    for (int64_t c = 0; c < piece; ++c) mean[c0 + c] = s[c] / static_cast<W>(first);
  }
  for (int64_t r0 = 0; r0 < rows; r0 += step) {
    const int64_t n = rows - r0 < step ? rows - r0 : step;
    // With n more rows at distance d = sum / n from the mean of the r0 before:
    // mean += d n / (r0 + n) and m2 += squares - n d^2 + d^2 n r0 / (r0 + n).
    const W share = static_cast<W>(n) / static_cast<W>(r0 + n), per_row = 1 / static_cast<W>(n);
    for (int64_t c0 = 0; c0 < channels; c0 += kPiece) {
      const int64_t piece = channels - c0 < kPiece ? channels - c0 : kPiece;
      W s[kPiece] = {}, q[kPiece] = {};
      const T* block = x + r0 * channels + c0;
      two_sums<W>(
          n, piece, s, q,
          [&](int64_t r, int64_t c, Vec<W>& d, Vec<W>& e) {
            d = vload(block + r * channels + c) - load(mean + c0 + c);
            e = d;
          },
          [&](int64_t r, int64_t c, W& d, W& e) {
            d = get(block + r * channels + c) - mean[c0 + c];
            e = d;
          });
      for (int64_t c = 0; c < piece; ++c) {
        const W d = s[c] * per_row;
        m2[c0 + c] += q[c] - s[c] * d * share;
        mean[c0 + c] += d * share;
      }
    }
  }
}

template <class T>
void merge_stats(const void* pairs, int64_t parts, int64_t rows, int64_t last_rows, int64_t channels, void* mean_,
                 void* m2_) {
  using W = Wide<T>;
  const W* in = static_cast<const W*>(pairs);
  W *mean = static_cast<W*>(mean_), *m2 = static_cast<W*>(m2_);
  for (int64_t c = 0; c < channels; ++c) {
    mean[c] = in[c];
    m2[c] = in[channels + c];
  }
  for (int64_t p = 1; p < parts; ++p) {
    const W* other = in + p * 2 * channels;
    const W before = static_cast<W>(p * rows), n = static_cast<W>(p + 1 < parts ? rows : last_rows);
    const W share = n / (before + n);
    for (int64_t c = 0; c < channels; ++c) {
      const W d = other[c] - mean[c];
      mean[c] += d * share;
      m2[c] += other[channels + c] + d * d * before * share;
    }
  }
}

// body(first row, count) over the rows: four at once where what belongs to the channels would not stay in the
// first-level cache from row to row, else one, as a single stream runs faster from memory; one, too, of what is stored
// past the caches: with rows a page apart each half line is written by itself, at a third of the speed or less.
template <class Body>
void few_rows(int64_t rows, int64_t channels, bool far, const Body& body) {
  constexpr int64_t kManyChannels = 768;
  int64_t r = 0;
  if (channels >= kManyChannels && !far)
    for (; r + 4 <= rows; r += 4) body(r, Count<4>{});
  for (; r < rows; ++r) body(r, Count<1>{});
}

template <class T>
void channel_apply(const void* x_, int64_t rows, int64_t channels, const void* mean_, const void* scale_,
                   const void* shift_, const void* residual_, Clip clip, void* y_, bool far) {
  using W = Wide<T>;
  constexpr int L = kLanes<W>;
  const W *mean = static_cast<const W*>(mean_), *scale = static_cast<const W*>(scale_);
  const W* shift = static_cast<const W*>(shift_);
  // One form for all: without a clip the bounds are infinite. In this order NaN passes through both.
  const W inf = static_cast<W>(__builtin_inf());
  const W low = clip == Clip::None ? -inf : W(0), high = clip == Clip::Relu6 ? W(6) : inf;
  const Vec<W> least = splat(low), most = splat(high);
  with_stream<T>(far, static_cast<const T*>(y_), channels, [&](auto stream) {
    few_rows(rows, channels, stream.kFar, [&](int64_t r, auto count) {
      const T* x = static_cast<const T*>(x_) + r * channels;
      const T* residual = residual_ ? static_cast<const T*>(residual_) + r * channels : nullptr;
      T* y = static_cast<T*>(y_) + r * channels;
      int64_t c = 0;
      for (; c + L <= channels; c += L) {
        const Vec<W> m = load(mean + c), a = load(scale + c), b = load(shift + c);
        for (int u = 0; u < count.value; ++u) {
          const int64_t at = u * channels + c;
          Vec<W> z = (stream.load(x + at) - m) * a + b;
          if (residual) z += stream.load(residual + at);
          stream.store(y + at, vmin(most, vmax(least, z)));
        }
      }
      for (; c < channels; ++c)
        for (int u = 0; u < count.value; ++u) {
          const int64_t at = u * channels + c;
          W z = (get(x + at) - mean[c]) * scale[c] + shift[c];
          if (residual) z += get(residual + at);
          put(y + at, z < low ? low : z > high ? high : z);
        }
    });
  });
}

// Results that are strictly inside (0, 6) once rounded to T lie between these: half of the least subnormal number and
// the middle between 6 and what comes before it round away, to even.
template <class T>
constexpr Wide<T> kAboveZero = 0;
template <>
constexpr float kAboveZero<BFloat> = 0x1p-134f;
template <>
constexpr float kAboveZero<Half> = 0x1p-25f;
template <class T>
constexpr Wide<T> kBelowSix = 6;
template <>
constexpr float kBelowSix<BFloat> = 6 - 0x1p-6f;
template <>
constexpr float kBelowSix<Half> = 6 - 0x1p-9f;

// What is left of ct, at a distance of e from the mean of channel c (of vectors or one channel).
template <class T, Clip clip>
struct Passed {
  using W = Wide<T>;
  const W *scale, *shift;

  // For vectors in two steps, of which the first is the same for all rows.
  struct At {
    Vec<W> scale, shift;
  };
  At at(int64_t c) const {
    At a{};
    if constexpr (clip != Clip::None) {
      a.scale = load(scale + c);
      a.shift = load(shift + c);
    }
    return a;
  }
  static Vec<W> pass(const At& a, Vec<W> ct, Vec<W> e) {
    if constexpr (clip == Clip::None) return ct;
    const Vec<W> z = e * a.scale + a.shift;
    const Vec<W> above = z > kAboveZero<T> ? ct : Vec<W>{};
    if constexpr (clip == Clip::Relu)
      return above;
    else
      return z < kBelowSix<T> ? above : Vec<W>{};
  }
  W operator()(W ct, W e, int64_t c) const {
    if constexpr (clip == Clip::None) return ct;
    const W z = e * scale[c] + shift[c];
    return z > kAboveZero<T> && (clip == Clip::Relu || z < kBelowSix<T>) ? ct : W(0);
  }
};
template <class T, class Body>
void with_passed(const Passing& passing, const Body& body) {
  using W = Wide<T>;
  const W *scale = static_cast<const W*>(passing.scale), *shift = static_cast<const W*>(passing.shift);
  switch (passing.clip) {
    case Clip::None:
      return body(Passed<T, Clip::None>{scale, shift});
    case Clip::Relu:
      return body(Passed<T, Clip::Relu>{scale, shift});
    case Clip::Relu6:
      return body(Passed<T, Clip::Relu6>{scale, shift});
  }
}

template <class T>
void channel_sums(const void* ct_, const void* x_, int64_t rows, int64_t channels, const void* mean_,
                  const Passing& passing, void* sum_, void* product_) {
  using W = Wide<T>;
  const T *ct = static_cast<const T*>(ct_), *x = static_cast<const T*>(x_);
  const W* mean = static_cast<const W*>(mean_);
  W *sum = static_cast<W*>(sum_), *product = static_cast<W*>(product_);
  for (int64_t c = 0; c < channels; ++c) sum[c] = product[c] = 0;
  // There are two operands, and as a strip takes a little of each row, many rows of many channels are more streams than
  // the processor fetches ahead.
  const int64_t step = block_rows<T>(channels, 8192, 8);
  with_passed<T>(passing, [&](const auto& passed) {
    for (int64_t r0 = 0; r0 < rows; r0 += step) {
      const int64_t base = r0 * channels;
      two_sums<W>(
          rows - r0 < step ? rows - r0 : step, channels, sum, product,
          [&](int64_t r, int64_t c, Vec<W>& d, Vec<W>& e) {
            e = vload(x + base + r * channels + c) - load(mean + c);
            d = passed.pass(passed.at(c), vload(ct + base + r * channels + c), e);
          },
          [&](int64_t r, int64_t c, W& d, W& e) {
            e = get(x + base + r * channels + c) - mean[c];
            d = passed(get(ct + base + r * channels + c), e, c);
          });
    }
  });
}

template <class T>
void channel_grad(const void* ct_, const void* x_, int64_t rows, int64_t channels, const void* mean_,
                  const Passing& passing, const void* a_, const void* b_, const void* c_, void* dx_, bool far) {
  using W = Wide<T>;
  constexpr int L = kLanes<W>;
  const W *mean = static_cast<const W*>(mean_), *a = static_cast<const W*>(a_);
  const W *b = static_cast<const W*>(b_), *offset = static_cast<const W*>(c_);
  with_stream<T>(far, static_cast<const T*>(dx_), channels, [&](auto stream) {
    with_passed<T>(passing, [&](const auto& passed) {
      few_rows(rows, channels, stream.kFar, [&](int64_t r, auto count) {
        const T *ct = static_cast<const T*>(ct_) + r * channels, *x = static_cast<const T*>(x_) + r * channels;
        T* dx = static_cast<T*>(dx_) + r * channels;
        int64_t c = 0;
        for (; c + L <= channels; c += L) {
          const Vec<W> m = load(mean + c), va = load(a + c), vb = load(b + c), vc = load(offset + c);
          const auto here = passed.at(c);
          for (int u = 0; u < count.value; ++u) {
            const int64_t at = u * channels + c;
            const Vec<W> e = stream.load(x + at) - m;
            stream.store(dx + at, passed.pass(here, stream.load(ct + at), e) * va + e * vb + vc);
          }
        }
        for (; c < channels; ++c)
          for (int u = 0; u < count.value; ++u) {
            const int64_t at = u * channels + c;
            const W e = get(x + at) - mean[c];
            put(dx + at, passed(get(ct + at), e, c) * a[c] + e * b[c] + offset[c]);
          }
      });
    });
  });
}

// Neighbouring parts are added first, so the error grows with the logarithm of their number.
template <class W>
void sum_range(const W* in, int64_t parts, int64_t stride, int64_t n, W* out) {
  constexpr int kPiece = 256;
  if (parts <= 4) {
    for (int64_t i = 0; i < n; ++i) {
      W sum = in[i];
      for (int64_t p = 1; p < parts; ++p) sum += in[p * stride + i];
      out[i] = sum;
    }
    return;
  }
  for (int64_t start = 0; start < n; start += kPiece) {
    const int64_t piece = n - start < kPiece ? n - start : kPiece;
    W other[kPiece];
    sum_range(in + start, parts / 2, stride, piece, out + start);
    sum_range(in + parts / 2 * stride + start, parts - parts / 2, stride, piece, other);
    for (int64_t i = 0; i < piece; ++i) out[start + i] += other[i];
  }
}

template <class T>
void sum_parts(const void* in, int64_t parts, int64_t stride, int64_t n, void* out) {
  using W = Wide<T>;
  sum_range(static_cast<const W*>(in), parts, stride, n, static_cast<W*>(out));
}

template <class T>
void widen_all(const void* in, void* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) static_cast<Wide<T>*>(out)[i] = get(static_cast<const T*>(in) + i);
}
template <class T>
void narrow_all(const void* in, void* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) put(static_cast<T*>(out) + i, static_cast<const Wide<T>*>(in)[i]);
}

template <class T>
constexpr NormTable make() {
  return {row_forward<T>,  row_backward<T>, channel_stats<T>, merge_stats<T>, channel_apply<T>,
          channel_sums<T>, channel_grad<T>, sum_parts<T>,     widen_all<T>,   narrow_all<T>};
}

}  // namespace

extern const NormTables norm_tables;
const NormTables norm_tables = {make<Half>(), make<BFloat>(), make<float>(), make<double>()};

}  // namespace NATIVE_ISA
}  // namespace native
