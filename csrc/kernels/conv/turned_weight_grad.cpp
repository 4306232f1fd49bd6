// Gradient of a convolution with few output channels by its weights, of which a vector would hold few: as the gradient
// of the convolution that makes the input of the cotangents. Both sum over the same pairs of pixels, those of the one
// read as many lines further on as those of the other lie behind, so that taps come in the opposite order and each with
// its channels turned.
#include <utility>

#include "kernels/conv/geometry.h"
#include "kernels/conv/weight_grad.h"
#include "kernels/grid.h"
#include "runtime/registry.h"

namespace native::conv {
namespace {

template <class T>
class TurnedWeightGrad final : public Kernel {
 public:
  TurnedWeightGrad(std::unique_ptr<Kernel> inner, const Geometry& g)
      : inner_(std::move(inner)), taps_(g.taps()), cin_(g.cin), cout_(g.cout) {}

  size_t scratch_bytes() const override {
    return whole_lines(taps_ * cin_ * cout_ * sizeof(T)) + inner_->scratch_bytes();
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const void* const turned_in[] = {in[1], in[0]};
    void* turned = scratch;
    inner_->run(turned_in, &turned, static_cast<char*>(scratch) + whole_lines(taps_ * cin_ * cout_ * sizeof(T)));
    const T* from = static_cast<const T*>(turned);
    for (int64_t tap = taps_ - 1; tap >= 0; --tap)
      for (int64_t o = 0; o < cout_; ++o)
        for (int64_t i = 0; i < cin_; ++i) static_cast<T*>(out[0])[(tap * cin_ + i) * cout_ + o] = *from++;
  }

 private:
  const std::unique_ptr<Kernel> inner_;
  const int64_t taps_, cin_, cout_;
};

// Multiply-adds of the direct loop, whose vectors are filled up with zeros, of so many channels by so many.
int64_t padded(int64_t rows, int64_t columns) { return rows * round_up(columns, 16); }

template <bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const DType dtype = problem.out[0].dtype;
  const auto g = geometry_of(problem);
  if (!g || g->groups != 1 || g->stride != Triple{1, 1, 1} || g->empty() || g->out_pixels() == 0) return nullptr;
  if (dtype != DType::F32 && dtype != DType::F64) return nullptr;
  if (best && 5 * padded(g->cout, g->cin) > 4 * padded(g->cin, g->cout)) return nullptr;
  Problem turned{problem.op, {problem.in[1], problem.in[0]}, problem.out, problem.attrs};
  std::swap(turned.out[0].shape.end()[-1], turned.out[0].shape.end()[-2]);
  Ints padding;
  const size_t rank = problem.in[0].shape.size() - 2;
  for (size_t i = 3 - rank; i < 3; ++i) {
    const int64_t reach = (g->kernel[i] - 1) * g->dilation[i], low = reach - g->low[i];
    padding.push_back(low);
    padding.push_back(g->in[i] - g->out[i] + reach - low);
  }
  turned.attrs.set("padding", padding);
  auto inner = direct_weight_grad(turned);
  if (!inner) return nullptr;
  if (dtype == DType::F32) return std::make_unique<TurnedWeightGrad<float>>(std::move(inner), *g);
  return std::make_unique<TurnedWeightGrad<double>>(std::move(inner), *g);
}

const Register kernels[] = {
    {"conv_weight_grad", "turned", 12, prepare<true>,
     "float32 and float64 without strides, with fewer output than input channels and less than a vector of them"},
    {"conv_weight_grad", "turned", kOnlyByChoice, prepare<false>, "float32 and float64 without strides"},
};

}  // namespace
}  // namespace native::conv
