// Gradients of a convolution with few output channels, of which a vector would hold few, by that from its results to
// its input: without strides both sum over the same pairs of pixels, those of the one read as many pixels further on as
// those of the other lie behind. So its taps come in the opposite order, each with its channels turned.
//
// The gradient by the input is that convolution of the cotangents, which as such copies frames of few channels
// (direct.cpp). The gradient by the weights is that by its weights, with the many channels of x in vectors; what stands
// for cotangents in the padding are zeros, which an infinity of x makes NaN.
#include <utility>

#include "kernels/conv/direct.h"
#include "kernels/conv/geometry.h"
#include "kernels/conv/weight_grad.h"
#include "kernels/grid.h"
#include "runtime/registry.h"

namespace native::conv {
namespace {

// Weights of [taps][rows][columns] as those of the other one, or back.
struct Turn {
  int64_t taps, rows, columns;

  template <class T>
  size_t bytes() const {
    return whole_lines(taps * rows * columns * sizeof(T));
  }
  template <class T>
  void run(const T* from, T* to) const {
    for (int64_t tap = taps - 1; tap >= 0; --tap)
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c) to[(tap * columns + c) * rows + r] = *from++;
  }
};

template <class T>
class TurnedWeightGrad final : public Kernel {
 public:
  TurnedWeightGrad(std::unique_ptr<Kernel> inner, const Geometry& g)
      : inner_(std::move(inner)), turn_{g.taps(), g.cout, g.cin} {}

  size_t scratch_bytes() const override { return turn_.bytes<T>() + inner_->scratch_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const void* const sides[] = {in[1], in[0]};
    inner_->run(sides, &scratch, static_cast<char*>(scratch) + turn_.bytes<T>());
    turn_.run(static_cast<const T*>(scratch), static_cast<T*>(out[0]));
  }

 private:
  const std::unique_ptr<Kernel> inner_;
  const Turn turn_;
};

template <class T>
class TurnedInputGrad final : public Kernel {
 public:
  TurnedInputGrad(std::unique_ptr<Kernel> inner, const Geometry& g)
      : inner_(std::move(inner)), turn_{g.taps(), g.cin, g.cout} {}

  size_t scratch_bytes() const override { return turn_.bytes<T>() + inner_->scratch_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    turn_.run(static_cast<const T*>(in[1]), static_cast<T*>(scratch));
    const void* const operands[] = {in[0], scratch};
    inner_->run(operands, out, static_cast<char*>(scratch) + turn_.bytes<T>());
  }

 private:
  const std::unique_ptr<Kernel> inner_;
  const Turn turn_;
};

void turn(Spec& weights) { std::swap(weights.shape.end()[-1], weights.shape.end()[-2]); }

// Of a convolution from sizes `out` to sizes `in`.
Ints turned_padding(const Geometry& g, size_t rank) {
  Ints padding;
  for (size_t i = 3 - rank; i < 3; ++i) {
    const int64_t reach = (g.kernel[i] - 1) * g.dilation[i], low = reach - g.low[i];
    padding.push_back(low);
    padding.push_back(g.in[i] - g.out[i] + reach - low);
  }
  return padding;
}

bool is_able(const Geometry& g, DType dtype) {
  return g.groups == 1 && g.stride == Triple{1, 1, 1} && !g.empty() && g.out_pixels() > 0 &&
         (dtype == DType::F32 || dtype == DType::F64);
}

// Multiply-adds of the direct loop over so many pixels, whose vectors are filled up with zeros, of so many channels by
// so many.
int64_t padded(int64_t pixels, int64_t rows, int64_t columns, DType dtype) {
  return pixels * rows * round_up(columns, 64 / static_cast<int64_t>(size_of(dtype)));
}

template <bool best>
std::unique_ptr<Kernel> prepare_weight_grad(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || !is_able(*g, problem.out[0].dtype)) return nullptr;
  const DType dtype = problem.out[0].dtype;
  const int64_t here = padded(g->out_pixels(), g->cin, g->cout, dtype);
  if (best && 5 * padded(g->in_pixels(), g->cout, g->cin, dtype) > 4 * here) return nullptr;
  Problem turned{problem.op, {problem.in[1], problem.in[0]}, problem.out, problem.attrs};
  turn(turned.out[0]);
  turned.attrs.set("padding", turned_padding(*g, problem.in[0].shape.size() - 2));
  auto inner = direct_weight_grad(turned);
  if (dtype == DType::F32) return std::make_unique<TurnedWeightGrad<float>>(std::move(inner), *g);
  return std::make_unique<TurnedWeightGrad<double>>(std::move(inner), *g);
}

template <bool best>
std::unique_ptr<Kernel> prepare_input_grad(const Problem& problem) {
  constexpr int64_t kFewChannels = 16;
  const auto g = geometry_of(problem);
  if (!g || !is_able(*g, problem.out[0].dtype)) return nullptr;
  if (best && (g->cout >= kFewChannels || g->dilation[2] > 1)) return nullptr;
  Problem turned{"conv", problem.in, problem.out, problem.attrs};
  turn(turned.in[1]);
  turned.attrs.set("padding", turned_padding(*g, problem.in[0].shape.size() - 2));
  auto inner = direct_conv(turned);
  if (problem.out[0].dtype == DType::F32) return std::make_unique<TurnedInputGrad<float>>(std::move(inner), *g);
  return std::make_unique<TurnedInputGrad<double>>(std::move(inner), *g);
}

constexpr char kAble[] = "float32 and float64 without strides";
const Register kernels[] = {
    {"conv_weight_grad", "turned", 12, prepare_weight_grad<true>,
     "float32 and float64 without strides, where output channels leave more of vectors empty than input channels do"},
    {"conv_weight_grad", "turned", kOnlyByChoice, prepare_weight_grad<false>, kAble},
    {"conv_input_grad", "turned", 11, prepare_input_grad<true>,
     "float32 and float64 without strides, with less than a vector of output channels"},
    {"conv_input_grad", "turned", kOnlyByChoice, prepare_input_grad<false>, kAble},
};

}  // namespace
}  // namespace native::conv
