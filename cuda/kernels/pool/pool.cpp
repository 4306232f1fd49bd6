// Max and average pooling and their gradients.
#include <algorithm>

#include "kernels/pool/params.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::pooling;

// Which shapes of a problem are an array's, and its windows'.
struct Shapes {
  const Shape &array, &windows, &result;
};
Shapes shapes_of(const Problem& problem) {
  const Shape &first = problem.in[0].shape, &result = problem.out[0].shape;
  if (problem.op == "avg_pool_grad" || problem.op == "max_pool_scatter") return {result, first, result};
  if (problem.op == "max_pool_grad") return {first, problem.in[1].shape, result};
  return {first, result, result};
}

class Pooling : public Kernel {
 public:
  Pooling(const Problem& problem, const Params& params, int64_t channels)
      : p_(params),
        operands_(problem.in.size()),
        channels_(channels),
        element_(size_of(problem.out[0].dtype)),
        places_(problem.out.size() == 2),
        single_("pool/pool", problem.op + "_1"),
        packed_("pool/pool", problem.op + "_4") {}

  void run(const void* const* in, void* const* out, void* scratch) const override {
    Params p = p_;
    const void** const operands[] = {&p.a, &p.b, &p.c};
    for (size_t i = 0; i < operands_; ++i) *operands[i] = in[i];
    p.out = out[0];
    const auto aligned = [&](const void* data) { return reinterpret_cast<uintptr_t>(data) % (4 * element_) == 0; };
    p.places = places_ ? static_cast<uint8_t*>(out[1]) : nullptr;
    const bool packs =
        channels_ % 4 == 0 && aligned(p.out) && aligned(p.places) && std::all_of(in, in + operands_, aligned);
    p.channels = static_cast<int>(packs ? channels_ / 4 : channels_);
    p.packs = packs ? p.packs / 4 : p.packs;
    p.by_channels = divisor(p.channels);
    prepare(p, packs, scratch);
    launch(packs ? packed_ : single_, p);
  }

 protected:
  // What another kernel does first.
  virtual void prepare(Params&, bool, void*) const {}
  static void launch(const Function& function, const Params& p) {
    const auto blocks = static_cast<unsigned>((int64_t{p.packs} + kThreads - 1) / kThreads);
    if (blocks) function.launch({blocks}, kThreads, 0, p);
  }

 private:
  const Params p_;
  const size_t operands_;
  const int64_t channels_;
  const size_t element_;
  const bool places_;
  const Function single_, packed_;
};

// First finds where each window's maximum is, so that a pixel need not look at what else its windows hold.
class MaximumGrad : public Pooling {
 public:
  MaximumGrad(const Problem& problem, const Params& params, int64_t channels)
      : Pooling(problem, params, channels),
        windows_(problem.in[1].count()),
        find_1_("pool/pool", "max_pool_find_1"),
        find_4_("pool/pool", "max_pool_find_4") {}
  size_t scratch_bytes() const override { return sizeof(uint16_t) * static_cast<size_t>(windows_); }

 protected:
  void prepare(Params& p, bool packs, void* scratch) const override {
    p.numbers = static_cast<uint16_t*>(scratch);
    Params find = p;
    find.packs = static_cast<int>(packs ? windows_ / 4 : windows_);
    for (int d = 0; d < 3; ++d) find.by[d] = divisor(p.positions[d]);
    launch(packs ? find_4_ : find_1_, find);
  }

 private:
  const int64_t windows_;
  const Function find_1_, find_4_;
};

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const Shapes shapes = shapes_of(problem);
  const auto type = data_type(problem.out[0].dtype);
  const size_t rank = shapes.array.size() - 2;
  if (!type || rank < 1 || rank > 3 || std::max(problem.in[0].count(), problem.out[0].count()) > INT32_MAX - kThreads)
    return nullptr;
  Params p{};
  p.type = *type;
  p.packs = static_cast<int>(problem.out[0].count());
  p.count_padding = problem.attrs.integer("count_include_pad", 0) != 0;
  for (int d = 0; d < 3; ++d) {
    p.size[d] = p.positions[d] = p.window[d] = p.stride[d] = 1;
    p.by[d] = divisor(1);
  }
  for (size_t i = 0; i < rank; ++i) {
    const size_t d = 3 - rank + i;
    p.size[d] = static_cast<int>(shapes.array[1 + i]);
    p.positions[d] = static_cast<int>(shapes.windows[1 + i]);
    p.window[d] = static_cast<int>(problem.attrs.ints("window")[i]);
    p.stride[d] = static_cast<int>(problem.attrs.ints("strides")[i]);
    p.low[d] = static_cast<int>(problem.attrs.ints("padding")[2 * i]);
    p.by[d] = divisor(shapes.result[1 + i]);
  }
  const int64_t window = int64_t{p.window[0]} * p.window[1] * p.window[2];
  if ((problem.op == "max_pool_places" || problem.op == "max_pool_scatter") && window > kNoPlace) return nullptr;
  if (problem.op != "max_pool_grad") return std::make_unique<Pooling>(problem, p, shapes.array.back());
  if (window >= kNowhere || problem.in[1].count() > INT32_MAX - kThreads) return nullptr;
  return std::make_unique<MaximumGrad>(problem, p, shapes.array.back());
}

const RegisterCuda pools{{"max_pool", "max_pool_places", "max_pool_scatter", "max_pool_grad", "max_pool_select",
                          "avg_pool", "avg_pool_grad"},
                         "channels",
                         10,
                         prepare};

}  // namespace
}  // namespace native::cuda
