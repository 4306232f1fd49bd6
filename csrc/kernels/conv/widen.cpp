// Convolution and pooling of float16 and bfloat16: operands are widened, the float32 kernel runs, and its
// result is rounded once. Both conversions are the `cast` primitive's kernels.
#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/grid.h"
#include "runtime/registry.h"

namespace native::conv {
namespace {

Spec widened(const Spec& spec) { return {DType::F32, spec.shape}; }

std::unique_ptr<Kernel> cast(const Spec& from, const Spec& to) {
  Problem problem{"cast", {from}, {to}, {}};
  problem.attrs.set("dtype", std::string(name_of(to.dtype)));
  return native::prepare(problem);
}

class Widen final : public Kernel {
 public:
  struct Operand {
    std::unique_ptr<Kernel> cast;
    size_t bytes;
  };

  Widen(std::unique_ptr<Kernel> inner, std::vector<Operand> inputs, Operand result)
      : inner_(std::move(inner)), inputs_(std::move(inputs)), result_(std::move(result)) {}

  size_t scratch_bytes() const override {
    size_t bytes = whole_lines(inner_->scratch_bytes()) + result_.bytes + cast_bytes();
    for (const Operand& input : inputs_) bytes += input.bytes;
    return bytes;
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    char* memory = static_cast<char*>(scratch);
    auto take = [&memory](size_t bytes) {
      return static_cast<void*>(std::exchange(memory, memory + whole_lines(bytes)));
    };
    void* inner_scratch = take(inner_->scratch_bytes());
    void* cast_scratch = take(cast_bytes());
    void* result = take(result_.bytes);
    const void* wide[kMostInputs];
    for (size_t i = 0; i < inputs_.size(); ++i) {
      void* to = take(inputs_[i].bytes);
      inputs_[i].cast->run(in + i, &to, cast_scratch);
      wide[i] = to;
    }
    inner_->run(wide, &result, inner_scratch);
    const void* narrow = result;
    result_.cast->run(&narrow, out, cast_scratch);
  }

  static constexpr size_t kMostInputs = 4;

 private:
  size_t cast_bytes() const {
    size_t most = result_.cast->scratch_bytes();
    for (const Operand& input : inputs_) most = std::max(most, input.cast->scratch_bytes());
    return whole_lines(most);
  }

  std::unique_ptr<Kernel> inner_;
  std::vector<Operand> inputs_;
  Operand result_;
};

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const DType narrow = problem.out[0].dtype;
  if (narrow != DType::F16 && narrow != DType::BF16) return nullptr;
  if (problem.in.size() > Widen::kMostInputs || problem.out.size() != 1) return nullptr;
  Problem wide{problem.op, {}, {widened(problem.out[0])}, problem.attrs};
  std::vector<Widen::Operand> inputs;
  for (const Spec& spec : problem.in) {
    if (spec.dtype != narrow) return nullptr;
    wide.in.push_back(widened(spec));
    inputs.push_back({cast(spec, wide.in.back()), whole_lines(wide.in.back().bytes())});
    if (!inputs.back().cast) return nullptr;
  }
  Widen::Operand result{cast(wide.out[0], problem.out[0]), whole_lines(wide.out[0].bytes())};
  auto inner = native::prepare(wide);
  if (!result.cast || !inner) return nullptr;
  return std::make_unique<Widen>(std::move(inner), std::move(inputs), std::move(result));
}

const Register entry{{"conv", "conv_bias_act", "conv_input_grad", "conv_weight_grad", "max_pool", "max_pool_grad",
                      "max_pool_select", "avg_pool", "avg_pool_grad"},
                     "widen",
                     0,
                     prepare,
                     "float16 and bfloat16, by the kernels of float32"};

}  // namespace
}  // namespace native::conv
