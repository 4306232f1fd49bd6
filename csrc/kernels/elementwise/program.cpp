#include "kernels/elementwise/program.h"

#include <algorithm>
#include <optional>

#include "core/errors.h"
#include "kernels/elementwise/lower.h"
#include "kernels/elementwise/tables.h"
#include "kernels/elementwise/tile_program.h"
#include "runtime/cpu.h"

namespace native {
namespace {

using namespace tiles;

// A repeated operand up to this long is converted and laid out once a task.
constexpr int64_t kLongestPeriod = 4096;
constexpr int kMostRegisters = 1024;
// Work of an element up to which results go past the caches. Stores of a whole tile wait for the memory, which more
// arithmetic would hide: exp at 7 gains nothing, tanh at 13 loses 15%.
constexpr int64_t kMostWorkPastCaches = 6;

// The walk over an input of shape `in` broadcast to `out`; nothing if it does not broadcast or has too many axes.
std::optional<Walk> plan_walk(const Shape& in, const Shape& out) {
  auto axes = broadcast_walk(in, out);
  if (!axes || axes->size() > kMaxDims) return {};
  if (axes->empty()) axes->push_back({1, 0});
  Walk walk{};
  walk.dims = static_cast<int>(axes->size());
  for (size_t i = 0; i < axes->size(); ++i) {
    walk.size[i] = (*axes)[i].size;
    walk.stride[i] = (*axes)[i].stride;
  }
  return walk;
}

Access access_of(const Walk& walk) {
  const int last = walk.dims - 1;
  if (walk.dims == 1) return walk.stride[last] == 0 ? Access::Splat : Access::Direct;
  if (walk.dims == 2 && walk.stride[0] == 0 && walk.stride[1] == 1 && walk.size[1] <= kLongestPeriod)
    return Access::Periodic;
  return Access::Walked;
}

bool has_rows(const Walk& walk) { return walk.dims > 1 && walk.stride[walk.dims - 1] == 0; }

// Builds a TileProgram: registers first (inputs, then one for every statement), then the order of its steps, then
// blocks of memory for registers, reused when a value's last reader has run.
class Compiler {
 public:
  // gradient: the operand that is made tile by tile; -1: none.
  Compiler(const ProgramText& text, const std::vector<Spec>& in, const std::vector<Spec>& out, int64_t gradient)
      : text_(text), in_(in), out_(out), gradient_(gradient), kernel_(std::make_unique<TileProgram>()) {}

  std::unique_ptr<TileProgram> compile() {
    if (out_.empty() || out_.size() != text_.outputs.size()) return nullptr;
    for (const Spec& spec : out_)
      if (spec.shape != out_[0].shape) return nullptr;
    choose_tile();
    if (!add_inputs() || !add_statements() || !add_outputs()) return nullptr;
    order();
    allocate();
    finish();
    return std::move(kernel_);
  }

 private:
  struct Register {
    DType dtype;
    Class type;
    int last_use = -1;  // access
    bool temporary = false;
    bool leaves = false;   // read after the program
    bool repeats = false;  // one value throughout a tile
    bool held = false;     // but another one in the next tile
  };
  // What a step or a link does to tiles, in the order in which they do it to any one element.
  struct Use {
    int written = -1;
    int read[3] = {-1, -1, -1};
  };

  bool add_register(int name, DType dtype) {
    Register r{dtype, Class::F32};
    if (!class_of(dtype, &r.type) || regs_.size() >= kMostRegisters || name > 1 << 20) return false;
    if (names_.size() <= static_cast<size_t>(name)) names_.resize(name + 1, -1);
    names_[name] = static_cast<int>(regs_.size());
    regs_.push_back(r);
    return true;
  }
  int find(int name) const {
    const int found = static_cast<size_t>(name) < names_.size() ? names_[name] : -1;
    if (found < 0)
      throw ShapeError("fused_elementwise: register r" + std::to_string(name) + " is read before it is set");
    return found;
  }
  size_t new_block(size_t elements, size_t bytes) {
    const size_t at = kernel_->block_bytes;
    kernel_->block_bytes += (elements * bytes + 63) / 64 * 64;
    return at;
  }

  // Tiles that end where rows do, if an operand has one element a row: it is one value for a tile then.
  void choose_tile() {
    int64_t row = 0;
    for (const Spec& spec : in_) {
      const auto walk = plan_walk(spec.shape, out_[0].shape);
      if (!walk || !has_rows(*walk)) continue;
      const int64_t length = walk->size[walk->dims - 1];
      row = row == 0 ? length : std::min(row, length);
    }
    for (int64_t tile = kTile; row > 0 && tile >= kTile / 2; tile -= kChainUnit)
      if (row % tile == 0) {
        kernel_->tile = tile;
        return;
      }
  }

  bool add_inputs() {
    for (size_t i = 0; i < in_.size(); ++i) {
      const auto walk = plan_walk(in_[i].shape, out_[0].shape);
      if (!walk || !add_register(static_cast<int>(i), in_[i].dtype)) return false;
      Input input{};
      input.walk = *walk;
      input.access = access_of(*walk);
      if (has_rows(*walk) && walk->size[walk->dims - 1] % kernel_->tile == 0) input.access = Access::Held;
      if (static_cast<int64_t>(i) == gradient_) input.access = Access::Gradient;
      regs_.back().held = input.access == Access::Held;
      regs_.back().repeats = input.access == Access::Splat || regs_.back().held;
      input.bytes = size_of(in_[i].dtype);
      input.reg_bytes = element_bytes(regs_.back().type);
      input.load = conversions().load[static_cast<int>(in_[i].dtype)];
      input.raw = new_block(kTile, input.bytes);
      const size_t length = input.access == Access::Periodic ? walk->size[1] + 2 * kTile : kTile;
      if (input.load || input.access == Access::Periodic || input.access == Access::Splat)
        input.value = new_block(length, input.reg_bytes);
      kernel_->inputs.push_back(input);
      work_ += 1;
    }
    return true;
  }

  bool add_statements() {
    for (const Statement& s : text_.statements) {
      std::vector<int> sources;
      std::vector<DType> dtypes;
      for (int name : s.sources) {
        sources.push_back(find(name));
        dtypes.push_back(regs_[sources.back()].dtype);
      }
      if (!add_register(s.dst, s.dtype)) return false;
      const int dst = static_cast<int>(regs_.size()) - 1;
      if (s.op == "const") {
        if (s.immediates.size() != 1 || !sources.empty()) return false;
        kernel_->constants.push_back({dst, new_block(kTile, element_bytes(regs_[dst].type)), regs_[dst].type,
                                      s.immediates[0], rounding(s.dtype).op, kTile});
        regs_[dst].repeats = true;
        continue;
      }
      const OpInfo* info = find_elementwise(s.op);
      if (!info || info->operands != static_cast<int>(sources.size())) return false;
      const double immediate = s.immediates.empty() ? 0 : s.immediates[0];
      regs_[dst].temporary = true;
      bool first = true;
      const auto lowered = lower(*info, dtypes, s.dtype, immediate);
      for (const LoweredOp& op : lowered) {
        TileStep step{op.op, op.code, op.operands, 1, dst, dst, dst, dst, {immediate, 0}};
        if (first) {
          step.operands = info->operands;
          step.a = sources[0];
          step.b = sources.size() > 1 ? sources[1] : sources[0];
          step.c = sources.size() > 2 ? sources[2] : sources[0];
        }
        first = false;
        steps_.push_back(step);
      }
      if (lowered.empty()) return false;
      work_ += info->cost;
    }
    return true;
  }

  bool add_outputs() {
    for (size_t i = 0; i < out_.size(); ++i) {
      const int r = find(text_.outputs[i]);
      if (regs_[r].dtype != out_[i].dtype) return false;
      const TileOp store = conversions().store[static_cast<int>(out_[i].dtype)];
      const bool direct = !store && regs_[r].temporary;
      regs_[r].leaves = true;
      // Only one output can have it written in place; it needs no block then.
      if (direct) regs_[r].temporary = false;
      kernel_->outputs.push_back({r, size_of(out_[i].dtype), store, direct, new_block(kTile, 8), false});
      work_ += 1;
    }
    return true;
  }

  void order() {
    std::vector<bool> leaves, repeats, held;
    for (const Register& r : regs_) {
      leaves.push_back(r.leaves);
      repeats.push_back(r.repeats);
      held.push_back(r.held);
    }
    // A few elements are not worth padding to what a chain takes at once.
    kernel_->stages = schedule(steps_, {leaves, repeats, held}, out_[0].count() >= kChainUnit);
    const auto spread = [&](int r) {
      const bool whole =
          leaves[r] || std::any_of(kernel_->stages.begin(), kernel_->stages.end(),
                                   [&](const TileStage& s) { return s.links.empty() && s.step.reads(r); });
      return whole ? kTile : kChainUnit;
    };
    for (size_t i = 0; i < in_.size(); ++i) kernel_->inputs[i].spread = spread(static_cast<int>(i));
    for (Constant& c : kernel_->constants) c.spread = spread(c.reg);
    for (const TileStage& stage : kernel_->stages) {
      if (!stage.links.empty()) kernel_->unit = kChainUnit;
      if (stage.links.empty()) uses_.push_back({stage.step.dst, {stage.step.a, stage.step.b, stage.step.c}});
      for (const Link& link : stage.links)
        uses_.push_back(link.kind == LinkKind::Store ? Use{link.a} : Use{-1, {link.a, link.b, -1}});
    }
    for (size_t i = 0; i < uses_.size(); ++i)
      for (int r : uses_[i].read)
        if (r >= 0) regs_[r].last_use = static_cast<int>(i);
    for (Register& r : regs_)
      if (r.leaves) r.last_use = static_cast<int>(uses_.size());
  }

  void allocate() {
    std::vector<int> owner;  // of each block, the register in it
    std::vector<size_t> at;
    std::vector<int> block_of(regs_.size(), -1);
    bool wide = false;
    for (const Register& r : regs_) wide |= element_bytes(r.type) == 8;
    for (size_t i = 0; i < uses_.size(); ++i) {
      const int written = uses_[i].written;
      if (written < 0 || !regs_[written].temporary || block_of[written] >= 0) continue;
      const Register& dst = regs_[written];
      size_t b = 0;
      for (; b < owner.size(); ++b) {
        const Register& holder = regs_[owner[b]];
        const int now = static_cast<int>(i);
        // An operand read for the last time may be overwritten by a result of equal element size.
        if (holder.last_use < now || (holder.last_use == now && element_bytes(holder.type) == element_bytes(dst.type)))
          break;
      }
      if (b == owner.size()) {
        owner.push_back(written);
        at.push_back(new_block(kTile, wide ? 8 : 4));
      }
      owner[b] = written;
      block_of[written] = static_cast<int>(b);
      kernel_->temporaries.emplace_back(written, at[b]);
    }
  }

  void finish() {
    kernel_->registers = static_cast<int>(regs_.size());
    kernel_->total = out_[0].count();
    kernel_->work = work_;
    for (size_t o = 0; o < out_.size(); ++o)
      kernel_->outputs[o].far = work_ <= kMostWorkPastCaches && is_far(kernel_->total * kernel_->outputs[o].bytes);
    const int64_t task = std::clamp(kernel_->total * work_ / kFewTasks, kSmallTaskWork, kTaskWork);
    kernel_->chunk = std::max<int64_t>(1, task / (work_ * kernel_->tile)) * kernel_->tile;
    kernel_->seamless = seamless();
    for (size_t o = 0; o < out_.size(); ++o)
      for (size_t i = 0; i < in_.size(); ++i)
        if (done_before_written(i, kernel_->outputs[o])) kernel_->overwrites.emplace_back(o, i);
  }

  // Whether all that is read and written lies in memory as it is, or is one value of which a chain reads the beginning.
  // More than one stage would take tiles from a farther cache.
  bool seamless() const {
    const auto in_place = [](const Input& input) {
      return input.access == Access::Splat ? input.spread == kChainUnit
                                           : input.access == Access::Direct && input.load == nullptr;
    };
    const std::vector<Input>& inputs = kernel_->inputs;
    const std::vector<Constant>& constants = kernel_->constants;
    const std::vector<Output>& outputs = kernel_->outputs;
    return kernel_->stages.size() == 1 && kernel_->temporaries.empty() &&
           std::all_of(inputs.begin(), inputs.end(), in_place) &&
           std::all_of(constants.begin(), constants.end(), [](const Constant& c) { return c.spread == kChainUnit; }) &&
           std::all_of(outputs.begin(), outputs.end(), [](const Output& output) { return output.direct; });
  }

  // Whether nothing of a tile of the input is read once that of the output is written.
  bool done_before_written(size_t input, const Output& output) const {
    if (kernel_->inputs[input].bytes != output.bytes || static_cast<int64_t>(input) == gradient_) return false;
    if (kernel_->total == 1) return true;  // read before anything else is done
    if (kernel_->inputs[input].access != Access::Direct) return false;
    int written = 0;
    const int end = static_cast<int>(uses_.size());  // when what is not written in place is
    while (output.direct && written < end && uses_[written].written != output.reg) ++written;
    return regs_[input].last_use <= (output.direct ? written : end - 1);
  }

  const ProgramText& text_;
  const std::vector<Spec>& in_;
  const std::vector<Spec>& out_;
  const int64_t gradient_;
  std::unique_ptr<TileProgram> kernel_;
  std::vector<Register> regs_;
  std::vector<int> names_;
  std::vector<TileStep> steps_;
  std::vector<Use> uses_;
  int64_t work_ = 0;
};

std::unique_ptr<Kernel> prepare_single(const Problem& problem) {
  if (!elementwise_op_supported(problem)) return nullptr;
  return compile_program(parse_program(program_of(problem)), problem.in, problem.out);
}

std::unique_ptr<Kernel> prepare_fused(const Problem& problem) {
  return compile_program(parse_program(problem.attrs.text("program")), problem.in, problem.out);
}

// The operand `gradient` stands for gather_grad of it by the indices, which come last.
std::unique_ptr<Kernel> prepare_update(const Problem& problem) {
  const auto which = static_cast<size_t>(problem.attrs.integer("gradient"));
  std::vector<Spec> in(problem.in.begin(), problem.in.end() - 1);
  const Spec updates = in[which], &indices = problem.in.back();
  in[which].shape = problem.out[0].shape;
  const AxisView axis(in[which].shape, 0);
  const RowsView view({axis.size, axis.inner}, {indices.count(), 1});
  const auto join = scatter_table().join[static_cast<int>(ReduceOp::Sum)][static_cast<int>(updates.dtype)];
  if (!SortedRows::takes(view) || updates.dtype > DType::F64 || !join) return nullptr;
  auto kernel =
      Compiler(parse_program(problem.attrs.text("program")), in, problem.out, problem.attrs.integer("gradient"))
          .compile();
  if (kernel) kernel->gradient = RowGradient({view, indices.dtype}, join);
  return kernel;
}

const struct Registration {
  Registration() {
#define X(name, ...) Register{#name, "tile", 10, prepare_single};
    NATIVE_ELEMENTWISE_OPS(X)
#undef X
    Register{"fused_elementwise", "tile", 10, prepare_fused};
    Register{"fused_gather_grad", "tile", 10, prepare_update};
  }
} registration;

}  // namespace

std::unique_ptr<Kernel> compile_program(const ProgramText& program, const std::vector<Spec>& in,
                                        const std::vector<Spec>& out) {
  return Compiler(program, in, out, -1).compile();
}

}  // namespace native
