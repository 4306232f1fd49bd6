// Random numbers and dropout.
#include <algorithm>
#include <cmath>

#include "kernels/random/params.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::random;

// Kernels are named after their primitives. Operands: key (and the bounds of integers), or x and key.
class Random : public Kernel {
 public:
  Random(const Params& params, const std::string& name, bool dropout, bool bounds, int64_t group)
      : p_(params), dropout_(dropout), bounds_(bounds), group_(group), function_("random/random", name) {}

  void run(const void* const* in, void* const* out, void*) const override {
    if (p_.count == 0) return;
    Params p = p_;
    p.key = static_cast<const uint32_t*>(in[dropout_]);
    if (dropout_) p.x = in[0];
    if (bounds_) p.low = in[1], p.high = in[2];
    p.out = out[0];
    const int64_t blocks = (p.count + group_ - 1) / group_ * kBlocks;
    function_.launch({static_cast<unsigned>(std::min<int64_t>((blocks + kThreads - 1) / kThreads, 8192))}, kThreads, 0,
                     p);
  }

 private:
  const Params p_;
  const bool dropout_, bounds_;
  const int64_t group_;
  const Function function_;
};

std::unique_ptr<Kernel> prepare_bits(const Problem& problem) {
  Params p{};
  p.count = problem.out[0].count();
  return std::make_unique<Random>(p, problem.op, false, false, kWords);
}

std::unique_ptr<Kernel> prepare_floats(const Problem& problem) {
  const auto type = data_type(problem.out[0].dtype);
  if (!type) return nullptr;
  Params p{};
  p.count = problem.out[0].count();
  p.type = *type;
  return std::make_unique<Random>(p, problem.op, false, false, kWords);
}

std::unique_ptr<Kernel> prepare_randint(const Problem& problem) {
  Params p{};
  p.count = problem.out[0].count();
  const std::string name = std::string("randint_") + name_of(problem.out[0].dtype);
  return std::make_unique<Random>(p, name, false, true, kWords / 2);
}

std::unique_ptr<Kernel> prepare_dropout(const Problem& problem) {
  const auto type = data_type(problem.in[0].dtype);
  const double rate = problem.attrs.real("rate"), threshold = std::nearbyint(rate * 0x1p32);
  if (!type || threshold >= 0x1p32) return nullptr;  // all are dropped
  Params p{};
  p.count = problem.in[0].count();
  p.type = *type;
  p.threshold = static_cast<uint32_t>(threshold);
  p.scale = static_cast<float>(1 / (1 - rate));
  return std::make_unique<Random>(p, problem.op, true, false, kWords);
}

const RegisterCuda bits{"random_bits", "philox", 0, prepare_bits};
const RegisterCuda floats{{"random_uniform", "random_normal", "random_truncated_normal"}, "philox", 0, prepare_floats};
const RegisterCuda randint{"randint", "philox", 0, prepare_randint};
const RegisterCuda dropout{"random_bernoulli_scale", "philox", 0, prepare_dropout};

}  // namespace
}  // namespace native::cuda
