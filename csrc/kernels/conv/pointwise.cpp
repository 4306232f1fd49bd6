// Convolution by a kernel of one tap, or of windows that do not overlap (the patches of a vision transformer), without
// padding, and both its gradients, as matrix products of windows by channels. Where windows are not one after the other
// in memory they are copied together before the product, or spread behind it, among zeros where they leave gaps.
#include <algorithm>
#include <cstring>

#include "kernels/conv/geometry.h"
#include "kernels/conv/product.h"
#include "kernels/grid.h"
#include "runtime/pool.h"
#include "simd/nontemporal.h"

namespace native::conv {
namespace {

enum class Kind { Forward, InputGrad, WeightGrad };

// Operands of so many bytes come from memory: a number, as what is chosen by it changes the order of sums.
constexpr int64_t kFromMemory = 16 << 20;
// Weights that are transposed by one thread while others wait, at most.
constexpr int64_t kTurnedWeights = 1 << 18;

// Whether the gradient by the weights is computed transposed: few channels of y fill a tile badly as its columns, and
// many of x, as rows of A^T, are read from as many cache lines again for each six of them. Where A^T is copied, the
// narrower operand is the better one from memory: a block copies more of each pixel at once, and tiles the other's as
// they go (56x56x256 by 64 takes 0.81 of the time, on two threads 0.67; in cache nothing is gained). Words are packed
// first.
template <class T>
bool turns(const Geometry& g, Kind kind) {
  if constexpr (!std::is_floating_point_v<T>) {
    return false;
  } else {
    if (kind != Kind::WeightGrad || g.taps() > 1 || g.cin <= g.cout) return false;
    const int64_t bytes = g.out_pixels() * (g.cin + g.cout) * static_cast<int64_t>(sizeof(T));
    const bool copied = !gemm::kernels_of<T>().reads_columns && bytes >= kFromMemory;
    return (copied && g.cin * g.cout <= kTurnedWeights) || g.cout < 64 || (g.cin >= 512 && g.cout <= 128);
  }
}

ProductSizes sizes_of(const Geometry& g, Kind kind, bool turned) {
  const int64_t pixels = g.out_pixels(), terms = g.taps() * g.cin;
  switch (kind) {
    case Kind::Forward:
      return {pixels, g.cout, terms, false, false};
    case Kind::InputGrad:
      return {pixels, terms, g.cout, false, true};
    default:
      return turned ? ProductSizes{g.cout, terms, pixels, true, false}
                    : ProductSizes{terms, g.cout, pixels, true, false};
  }
}

template <class T>
class Pointwise final : public Kernel {
 public:
  Pointwise(const Geometry& g, Kind kind, Activation activation, size_t operands)
      : g_(g),
        kind_(kind),
        operands_(operands),
        terms_(g.taps() * g.cin),
        run_(g.kernel[2] * g.cin),
        picks_(g.taps() == 1 ? g.in != g.out : g.kernel != g.in),
        far_(kind == Kind::InputGrad && rows_past_caches(g)),
        turns_(turns<T>(g, kind)),
        product_(sizes_of(g, kind, turns_), activation) {}

  size_t scratch_bytes() const override { return picked_bytes() + turned_bytes() + product_.scratch_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const T *a = static_cast<const T*>(in[0]), *b = static_cast<const T*>(in[1]);
    T* const c = static_cast<T*>(out[0]);
    T* const picked = static_cast<T*>(scratch);
    T* const turned = reinterpret_cast<T*>(static_cast<char*>(scratch) + picked_bytes());
    void* const rest = static_cast<char*>(scratch) + picked_bytes() + turned_bytes();
    if (kind_ == Kind::InputGrad) {
      product_.run(a, b, picks_ ? picked : c, nullptr, nullptr, rest);
      if (picks_) spread(picked, c);
      return;
    }
    if (picks_) {
      gather(a, picked);
      a = picked;
    }
    if constexpr (std::is_floating_point_v<T>) {
      if (turns_) {
        product_.run(b, a, turned, nullptr, nullptr, rest);
        gemm::kernels_of<T>().transpose(turned, g_.cin, g_.cout, g_.cin, c, g_.cout);
        return;
      }
    }
    product_.run(a, b, c, operands_ > 2 ? static_cast<const T*>(in[2]) : nullptr,
                 operands_ > 3 ? static_cast<const T*>(in[3]) : nullptr, rest);
  }

 private:
  size_t picked_bytes() const {
    return picks_ ? whole_lines(static_cast<size_t>(g_.out_pixels() * terms_) * sizeof(T)) : 0;
  }

  size_t turned_bytes() const { return turns_ ? whole_lines(static_cast<size_t>(g_.cin * g_.cout) * sizeof(T)) : 0; }

  // The windows of x, of one row of y after another.
  void gather(const T* x, T* together) const {
    const int64_t step = g_.stride[2] * g_.cin;
    pool::parallel_for(g_.batch * g_.out[0] * g_.out[1], [&](int64_t row) {
      const int64_t h = row % g_.out[1], d = row / g_.out[1] % g_.out[0], n = row / g_.out[1] / g_.out[0];
      T* part = together + row * g_.out[2] * terms_;
      for (int64_t kd = 0; kd < g_.kernel[0]; ++kd)
        for (int64_t kh = 0; kh < g_.kernel[1]; ++kh, part += run_) {
          const int64_t line = (n * g_.in[0] + d * g_.stride[0] + kd) * g_.in[1] + h * g_.stride[1] + kh;
          const T* from = x + line * g_.in[2] * g_.cin;
          T* to = part;
          for (int64_t w = 0; w < g_.out[2]; ++w, from += step, to += terms_)
            std::memcpy(to, from, static_cast<size_t>(run_) * sizeof(T));
        }
    });
  }

  // Rows of x are made in a cache first.
  static bool rows_past_caches(const Geometry& g) {
    const int64_t row = g.in[2] * g.cin * static_cast<int64_t>(sizeof(T));
    return is_far(g.in_pixels() / std::max<int64_t>(1, g.in[2]) * row) && row <= cache_sizes().l2 / 2;
  }

  void spread(const T* together, T* x) const {
    const int64_t step = g_.stride[2] * g_.cin, line = g_.in[2] * g_.cin;
    pool::parallel_for(g_.batch * g_.in[0] * g_.in[1], [&](int64_t row) {
      const int64_t h = row % g_.in[1], d = row / g_.in[1] % g_.in[0], n = row / g_.in[1] / g_.in[0];
      const int64_t to_h = h / g_.stride[1], to_d = d / g_.stride[0];
      const int64_t kh = h % g_.stride[1], kd = d % g_.stride[0];
      T* const result = x + row * line;
      T* to = far_ ? static_cast<T*>(pool::thread_scratch(line * sizeof(T))) : result;
      const T* const made = to;
      const bool gaps = run_ < step || g_.out[2] * step < line;
      const bool inside = kh < g_.kernel[1] && kd < g_.kernel[0] && to_h < g_.out[1] && to_d < g_.out[0];
      if (gaps || !inside) std::fill_n(to, line, T{});
      const T* from =
          together + ((n * g_.out[0] + to_d) * g_.out[1] + to_h) * g_.out[2] * terms_ + (kd * g_.kernel[1] + kh) * run_;
      for (int64_t w = 0; w < g_.out[2] && inside; ++w, from += terms_, to += step)
        std::memcpy(to, from, static_cast<size_t>(run_) * sizeof(T));
      if (far_) copy_nontemporal(result, made, line * sizeof(T), {});
    });
  }

  const Geometry g_;
  const Kind kind_;
  const size_t operands_;
  const int64_t terms_, run_;  // elements of a window, and of a line of one
  const bool picks_;           // windows are not one after the other in x
  const bool far_;             // the gradient by x goes past the caches
  const bool turns_;           // the product is the transposed gradient by the weights
  const Product<T> product_;
};

bool fits(const Geometry& g) {
  for (int i = 0; i < 3; ++i) {
    const bool apart = g.kernel[i] == 1 || (g.kernel[i] <= g.stride[i] && g.dilation[i] == 1);
    if (!apart || g.low[i] != 0 || (g.out[i] - 1) * g.stride[i] + g.kernel[i] > g.in[i]) return false;
  }
  return g.groups == 1;
}

// Products of narrow vectors take eight steps a loop, for which the direct loop's pointers leave no registers.
bool narrow() { return !gemm::kernels_of<float>().reads_columns; }

// Where the product of windows gains more than their copy costs: the direct loop has few channels of x as its columns,
// and by the weights it packs windows one tap at a time, which 64 columns of few terms do not notice, nor few windows.
// Forward it reads lines of windows where they lie. It copies all weights, which with few pixels are most of the bytes.
// With narrow vectors patches forward take 0.77 to 1.01 of its time by the product (of three channels; others were not
// measured); by the weights it is the better one as long as its sums are in the second-level cache (2x2x96-192 0.8 of
// the product's time, 2x2x192-384 1.2).
bool windows_pay(const Geometry& g, Kind kind, int64_t element) {
  constexpr int64_t kPatch = 64;
  const bool few = 3 * g.out_pixels() <= g.cout;
  switch (kind) {
    case Kind::Forward:
      return few || (narrow() && g.taps() >= kPatch);
    case Kind::InputGrad:
      return g.cin < 16 || few;
    default:
      if (g.out_pixels() < 16) return false;
      if (narrow()) return g.taps() * g.cin * g.cout * element > cache_sizes().l2;
      return g.cout > 64 || (g.cout == 64 && g.cin >= 8);
  }
}

// Where the direct loop, which bfloat16 has not, gains more with strides than it loses. Forward it reads pixels where
// they lie but copies the weights; by the weights it packs pixels for all of few channels of y, without a copy in
// memory. With narrow vectors 28x28x512-256 by the weights takes 0.91 of its time by the product, 14x14x1024-512 0.70.
bool direct_pays(const Geometry& g, Kind kind) {
  if (kind == Kind::Forward) return g.out_pixels() > (narrow() ? 2 : 1) * g.cout;
  return kind == Kind::WeightGrad && !narrow() && g.cin >= 2 * g.cout;
}

// `best`: where no other kernel is faster, or wherever this one is able to.
template <bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || !fits(*g) || problem.in.size() > 4) return nullptr;
  const Kind kind = problem.op == "conv_input_grad"    ? Kind::InputGrad
                    : problem.op == "conv_weight_grad" ? Kind::WeightGrad
                                                       : Kind::Forward;
  const DType dtype = problem.out[0].dtype;
  for (const Spec& spec : problem.in)
    if (spec.dtype != dtype) return nullptr;
  // Patches of bfloat16 have a kernel that makes some at a time.
  const bool windows = g->taps() > 1;
  const int64_t element = static_cast<int64_t>(size_of(dtype));
  if (windows && (dtype == DType::BF16 || g->empty() || (best && !windows_pay(*g, kind, element)))) return nullptr;
  if (best && dtype != DType::BF16 && !windows && g->in != g->out && direct_pays(*g, kind)) return nullptr;
  const Activation activation = activation_of(problem);
  const size_t operands = problem.in.size();
  switch (dtype) {
    case DType::BF16:
      if (!has_word_products() || g->empty() || g->out_pixels() == 0) return nullptr;
      return std::make_unique<Pointwise<BFloat16>>(*g, kind, activation, operands);
    case DType::F32:
      return std::make_unique<Pointwise<float>>(*g, kind, activation, operands);
    case DType::F64:
      // The epilogue of products in double precision has no other activations.
      if (activation != Activation::None && activation != Activation::Relu) return nullptr;
      return std::make_unique<Pointwise<double>>(*g, kind, activation, operands);
    default:
      return nullptr;
  }
}

constexpr char kProblems[] =
    "1x1 or windows apart, no groups or padding. 1x1 with strides: forward from as many channels as pixels on, by the "
    "weights where x has fewer channels than twice those of y. Windows: forward and by the input from three times as "
    "many channels of y as windows on, by the input with less than 16 channels, by the weights from 16 windows and 65 "
    "channels of y on, or 64 from 8 of x on. Without AVX-512: 1x1 with strides forward from half as many channels on, "
    "by the weights all; windows forward also from 64 taps on, by the weights from 16 windows on where the "
    "second-level cache does not hold the weights";
const Register forward{"conv", "pointwise", 15, prepare<true>, kProblems};
const Register fused{"conv_bias_act", "pointwise", 15, prepare<true>, kProblems};
const Register input_gradient{"conv_input_grad", "pointwise", 15, prepare<true>, kProblems};
const Register weight_gradient{"conv_weight_grad", "pointwise", 15, prepare<true>, kProblems};
constexpr char kAble[] = "1x1 with any strides, or windows apart";
const Register strided[] = {
    {"conv", "pointwise", kOnlyByChoice, prepare<false>, kAble},
    {"conv_bias_act", "pointwise", kOnlyByChoice, prepare<false>, kAble},
    {"conv_input_grad", "pointwise", kOnlyByChoice, prepare<false>, kAble},
    {"conv_weight_grad", "pointwise", kOnlyByChoice, prepare<false>, kAble},
};

}  // namespace
}  // namespace native::conv
