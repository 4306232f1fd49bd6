// Tile programs on the GPU: single elementwise operations and fused ones, from text.
#include <algorithm>
#include <bit>
#include <map>
#include <set>

#include "kernels/elementwise/compile.h"
#include "kernels/elementwise/launch.h"
#include "kernels/elementwise/lookup.h"
#include "runtime/gpu.h"

namespace native::cuda {
namespace {

using namespace cuda::elementwise;

// Elements are counted in 32 bits, with room for the last block's.
constexpr int64_t kMostElements = INT32_MAX - kElements;

class Compiler {
 public:
  Compiler(const ProgramText& text, const std::vector<Spec>& in, const std::vector<Spec>& out)
      : text_(text), in_(in), out_(out) {}

  std::unique_ptr<Kernel> compile() {
    if (out_.empty() || out_.size() != text_.outputs.size() || out_.size() > kMostOutputs || in_.size() > kMostInputs)
      return nullptr;
    for (const Spec& spec : out_)
      if (spec.shape != out_[0].shape) return nullptr;
    if (out_[0].count() > kMostElements) return nullptr;
    find_last_uses();
    if (!add_inputs() || !add_statements() || !add_outputs()) return nullptr;
    return tile_kernel(p_, static_cast<uint32_t>(out_[0].count()), registers_);
  }

 private:
  struct Value {
    DType dtype;
    uint8_t reg;
  };

  void find_last_uses() {
    for (size_t s = 0; s < text_.statements.size(); ++s)
      for (int name : text_.statements[s].sources) last_use_[name] = s;
    for (int name : text_.outputs) last_use_[name] = text_.statements.size();
  }

  // A free register, or none: then nothing is compiled.
  bool take(uint8_t* reg) {
    if (free_.empty()) {
      if (registers_ == kMostRegisters) return false;
      *reg = static_cast<uint8_t>(registers_++);
    } else {
      *reg = free_.back();
      free_.pop_back();
    }
    return true;
  }

  bool add_inputs() {
    for (size_t i = 0; i < in_.size(); ++i) {
      Input input{};
      DType dtype = in_[i].dtype;
      const auto memory = dtype == DType::I64 ? cast_input(static_cast<int>(i), &dtype) : memory_of(dtype);
      if (!memory || !plan_walk(in_[i].shape, &input) || !take(&input.reg)) return false;
      input.memory = *memory;
      values_[static_cast<int>(i)] = {dtype, input.reg};
      // What is the same for all elements is loaded once, so its register is not given away.
      if (input.dims == 0) kept_.push_back(static_cast<int>(i));
      p_.input[p_.inputs++] = input;
    }
    return true;
  }

  // int64 (labels, say) has no registers, but may be cast to what has: all its readers must be casts to one
  // class, whose dtype of 32 bits it then counts as.
  std::optional<Memory> cast_input(int name, DType* dtype) const {
    std::optional<Memory> as;
    for (const Statement& s : text_.statements) {
      if (std::find(s.sources.begin(), s.sources.end(), name) == s.sources.end()) continue;
      const auto to = class_of(s.dtype);
      if (s.op != "cast" || !to || s.dtype == DType::Bool) return {};
      const Memory wanted = to == Class::Float ? Memory::I64AsFloat : Memory::I64AsWord;
      if (as && *as != wanted) return {};
      as = wanted;
      *dtype = to == Class::Float ? DType::F32 : DType::I32;
    }
    const bool written = std::find(text_.outputs.begin(), text_.outputs.end(), name) != text_.outputs.end();
    return written ? std::nullopt : as;
  }

  // The walk over an input broadcast to the outputs; false if it has too many axes or does not fit.
  bool plan_walk(const Shape& in, Input* input) const {
    auto axes = broadcast_walk(in, out_[0].shape);
    if (!axes || axes->size() > kWalkDims) return false;
    // Of one element, one thread alone reads and writes it.
    if (out_[0].count() == 1) axes = {{1, 1}};
    if (axes->empty() || (axes->size() == 1 && axes->front().stride == 0)) return true;
    input->dims = static_cast<uint8_t>(axes->size());
    for (size_t d = 0; d < axes->size(); ++d) {
      if (d > 0) input->size[d] = divisor((*axes)[d].size);
      input->stride[d] = static_cast<uint32_t>((*axes)[d].stride);
    }
    return true;
  }

  // Constants first: they are written once, into registers that nothing else may have had.
  bool add_statements() {
    for (const Statement& s : text_.statements)
      if (!class_of(s.dtype) || (s.op == "const" && !add_constant(s))) return false;
    for (size_t s = 0; s < text_.statements.size(); ++s)
      if (text_.statements[s].op != "const" && !add_step(text_.statements[s], s)) return false;
    return true;
  }

  bool add_constant(const Statement& s) {
    if (s.immediates.size() != 1 || p_.constants == kMostConstants) return false;
    Constant& constant = p_.constant[p_.constants];
    if (!take(&constant.reg)) return false;
    const double value = s.immediates[0];
    const auto type = *class_of(s.dtype);
    constant.bits = type == Class::Float ? std::bit_cast<uint32_t>(static_cast<float>(value))
                                         : static_cast<uint32_t>(static_cast<int64_t>(value));
    values_[s.dst] = {s.dtype, constant.reg};
    kept_.push_back(s.dst);
    ++p_.constants;
    // Rounded at every tile: once would need a list of its own.
    if (auto round = rounding(s.dtype)) return add(*round, constant.reg, {constant.reg}, 0);
    return true;
  }

  bool add_step(const Statement& s, size_t at) {
    std::vector<DType> dtypes;
    std::vector<uint8_t> sources;
    for (int name : s.sources) {
      const auto found = values_.find(name);
      if (found == values_.end()) return false;
      dtypes.push_back(found->second.dtype);
      sources.push_back(found->second.reg);
    }
    if (sources.empty() || sources.size() > 3) return false;
    const double immediate = s.immediates.empty() ? 0 : s.immediates[0];
    const std::vector<Op> ops = lower(s.op, dtypes, s.dtype, immediate);
    if (ops.empty()) return false;
    // Elements do not meet: a result may take the place of an operand that is read for the last time.
    for (size_t i = 0; i < s.sources.size(); ++i) release(s.sources[i], at);
    Value value{s.dtype, 0};
    if (!take(&value.reg) || !add(ops[0], value.reg, sources, immediate)) return false;
    for (size_t i = 1; i < ops.size(); ++i)
      if (!add(ops[i], value.reg, {value.reg}, 0)) return false;
    values_[s.dst] = value;
    if (!last_use_.count(s.dst)) free_.push_back(value.reg);
    return true;
  }

  void release(int name, size_t at) {
    if (last_use_[name] != at || std::find(kept_.begin(), kept_.end(), name) != kept_.end()) return;
    const uint8_t reg = values_[name].reg;
    if (std::find(free_.begin(), free_.end(), reg) == free_.end()) free_.push_back(reg);
  }

  bool add(Op op, uint8_t dst, const std::vector<uint8_t>& sources, double immediate) {
    if (p_.steps == kMostSteps) return false;
    const uint8_t a = sources[0];
    p_.step[p_.steps++] = {op,
                           dst,
                           a,
                           sources.size() > 1 ? sources[1] : a,
                           sources.size() > 2 ? sources[2] : a,
                           std::bit_cast<uint32_t>(static_cast<float>(immediate))};
    return true;
  }

  bool add_outputs() {
    for (size_t i = 0; i < out_.size(); ++i) {
      const auto found = values_.find(text_.outputs[i]);
      if (found == values_.end() || found->second.dtype != out_[i].dtype) return false;
      p_.output[p_.outputs++] = {*memory_of(out_[i].dtype), found->second.reg};
    }
    return true;
  }

  const ProgramText& text_;
  const std::vector<Spec>& in_;
  const std::vector<Spec>& out_;
  Program p_{};
  int registers_ = 0;
  std::map<int, Value> values_;     // by the text's number
  std::map<int, size_t> last_use_;  // likewise: a statement, or past the last one for outputs
  std::vector<int> kept_;           // numbers whose registers keep their values
  std::vector<uint8_t> free_;
};

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const std::string text = tile_program(problem);
  if (text.empty()) return nullptr;
  return compile_tiles(parse_program(text), problem.in, problem.out);
}

const struct Registration {
  Registration() {
    std::set<std::string> names{"cast", "fused_elementwise"};  // some are of both classes
#define X(name, ...) names.insert(#name);
    NATIVE_CUDA_FLOAT_OPS(X)
    NATIVE_CUDA_FLOAT_TESTS(X)
    NATIVE_CUDA_INTEGER_OPS(X)
    NATIVE_CUDA_SIGNED_OPS(X)
#undef X
    for (const std::string& name : names) RegisterCuda{name.c_str(), "tile", 10, prepare};
  }
} registration;

}  // namespace

std::unique_ptr<Kernel> compile_tiles(const ProgramText& text, const std::vector<Spec>& in,
                                      const std::vector<Spec>& out) {
  return Compiler(text, in, out).compile();
}

}  // namespace native::cuda
