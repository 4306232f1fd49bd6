#include "kernels/elementwise/program.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/errors.h"
#include "kernels/elementwise/chains.h"
#include "kernels/elementwise/lower.h"
#include "kernels/elementwise/tables.h"
#include "runtime/pool.h"

namespace native {
namespace {

// Work of a task in units of one addition: some 15 microseconds, several times what waking a thread costs.
constexpr int64_t kTaskWork = 1 << 18;
// A repeated operand up to this long is converted and laid out once a task.
constexpr int64_t kLongestPeriod = 4096;
constexpr int kMostRegisters = 1024;

// How an input's tiles come about.
enum class Access {
  Splat,     // one element, spread once a task
  Direct,    // contiguous with the outputs
  Periodic,  // repeats along the outputs' last axes: laid out once a task, longer by a tile
  Held,      // one element for each row of which tiles are parts: spread tile by tile
  Walked,    // anything else: gathered tile by tile
};

struct Input {
  Access access;
  Walk walk;
  size_t bytes;       // of an element in memory
  size_t reg_bytes;   // of an element in a register
  TileOp load;        // nullptr where memory has the register's format
  size_t raw, value;  // blocks: elements as in memory, and as in a register
  int spread;         // of a held one, the elements of a tile that are there: chains read no more than the first
};
struct Constant {
  int reg;
  size_t block;
  Class type;
  double value;
  TileOp round;
};
struct Output {
  int reg;
  size_t bytes;
  TileOp store;  // nullptr: memory has the register's format
  bool direct;   // the instruction that makes the register writes to memory itself
  size_t raw;    // block for the last tile
};

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

int log2_of(size_t bytes) { return bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3; }
int round_up(int64_t n, int unit) { return static_cast<int>((n + unit - 1) / unit * unit); }

template <class T>
void spread(void* block, int n, T value) {
  std::fill_n(static_cast<T*>(block), n, value);
}

class TileProgram : public Kernel {
 public:
  std::vector<Input> inputs;
  std::vector<Constant> constants;
  std::vector<TileStage> stages;
  decltype(ChainTable::run) run_chain = chains().run;
  std::vector<Output> outputs;
  std::vector<std::pair<int, size_t>> temporaries;  // register and its block
  int registers = 0;
  int unit = kTileUnit;                            // what tiles are padded to
  size_t block_bytes = 0;                          // of all blocks
  int64_t total = 0, chunk = kTile, tile = kTile;  // a chunk is a number of tiles

  std::vector<std::pair<size_t, size_t>> overwrites;  // output and input, as may_overwrite() has it

  void run(const void* const* in, void* const* out, void*) const override {
    if (total == 0) return;
    pool::parallel_for((total + chunk - 1) / chunk, [&](int64_t task) {
      const int64_t begin = task * chunk, end = std::min(total, begin + chunk);
      if (own_bytes() > kOnStack) return run_range(in, out, begin, end, pool::thread_scratch(own_bytes()));
      alignas(64) char own[kOnStack];
      run_range(in, out, begin, end, own);
    });
  }

  bool may_overwrite(size_t o, size_t i) const override {
    return own_bytes() <= kOnStack &&
           std::find(overwrites.begin(), overwrites.end(), std::pair{o, i}) != overwrites.end();
  }

 private:
  // So much a task has for itself without asking for memory, which could fail.
  static constexpr size_t kOnStack = 64 << 10;
  size_t own_bytes() const { return block_bytes + sizeof(void*) * registers; }

  void run_range(const void* const* in, void* const* out, int64_t begin, int64_t end, void* own) const {
    char* blocks = static_cast<char*>(own);
    auto** reg = reinterpret_cast<char**>(blocks + block_bytes);
    prepare_task(in, blocks, reg);
    for (int64_t start = begin; start < end; start += tile) {
      const int n = static_cast<int>(std::min(tile, end - start));
      const int padded = round_up(n, unit);
      for (size_t i = 0; i < inputs.size(); ++i) read(inputs[i], in[i], blocks, &reg[i], start, n);
      for (size_t i = 0; i < outputs.size(); ++i)
        if (outputs[i].direct)
          reg[outputs[i].reg] =
              padded == n ? static_cast<char*>(out[i]) + start * outputs[i].bytes : blocks + outputs[i].raw;
      for (const TileStage& stage : stages) {
        const TileStep& s = stage.step;
        if (stage.links.empty())
          s.op(reg[s.dst], reg[s.a], reg[s.b], reg[s.c], padded, s.immediates);
        else
          run_chain(stage.links.data(), reg, padded);
      }
      for (size_t i = 0; i < outputs.size(); ++i)
        write(outputs[i], static_cast<char*>(out[i]) + start * outputs[i].bytes, blocks, reg, n);
    }
  }

  void prepare_task(const void* const* in, char* blocks, char** reg) const {
    const int tile = round_up(std::min<int64_t>(kTile, total), unit);
    for (const auto& [r, block] : temporaries) reg[r] = blocks + block;
    for (const Constant& c : constants) {
      reg[c.reg] = blocks + c.block;
      switch (c.type) {
        case Class::F32:
          spread(reg[c.reg], tile, static_cast<float>(c.value));
          break;
        case Class::F64:
          spread(reg[c.reg], tile, c.value);
          break;
        case Class::I32:
          spread(reg[c.reg], tile, static_cast<int32_t>(c.value));
          break;
        case Class::U32:
          spread(reg[c.reg], tile, static_cast<uint32_t>(c.value));
          break;
        case Class::I64:
          spread(reg[c.reg], tile, static_cast<int64_t>(c.value));
          break;
        default:
          spread(reg[c.reg], tile, static_cast<uint64_t>(c.value));
          break;
      }
      if (c.round) c.round(reg[c.reg], reg[c.reg], nullptr, nullptr, tile, nullptr);
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Input& input = inputs[i];
      if (input.access != Access::Splat && input.access != Access::Periodic) continue;
      // Both are gathers of the repeating pattern, taken in pieces of a tile.
      const int64_t length = input.access == Access::Splat ? tile : input.walk.size[1] + kTile;
      reg[i] = blocks + input.value;
      for (int64_t at = 0; at < length; at += kTile) {
        const int n = static_cast<int>(std::min<int64_t>(kTile, length - at));
        char* value = reg[i] + at * input.reg_bytes;
        char* raw = input.load ? blocks + input.raw : value;
        gather(input, raw, in[i], at, n);
        if (input.load) input.load(value, raw, nullptr, nullptr, round_up(n, unit), nullptr);
      }
    }
  }

  static void gather(const Input& input, char* raw, const void* in, int64_t start, int n) {
    conversions().gather[log2_of(input.bytes)](raw, in, &input.walk, start, n);
  }

  // Points *reg at the input's elements [start, start + n), padded to a multiple of `unit`.
  void read(const Input& input, const void* in, char* blocks, char** reg, int64_t start, int n) const {
    char* raw = blocks + input.raw;
    switch (input.access) {
      case Access::Splat:
        return;
      case Access::Periodic:
        *reg = blocks + input.value + start % input.walk.size[1] * input.reg_bytes;
        return;
      case Access::Direct: {
        // Tiles are only read where the caller asked for the elements to be written.
        char* memory = const_cast<char*>(static_cast<const char*>(in)) + start * input.bytes;
        if (n % unit == 0) {
          raw = memory;
        } else {
          std::memcpy(raw, memory, n * input.bytes);
          std::memset(raw + n * input.bytes, 0, (round_up(n, unit) - n) * input.bytes);
        }
        break;
      }
      case Access::Held:
        n = std::min(n, input.spread);
        [[fallthrough]];
      case Access::Walked:
        gather(input, raw, in, start, n);
        std::memset(raw + n * input.bytes, 0, (round_up(n, unit) - n) * input.bytes);
    }
    *reg = raw;
    if (!input.load) return;
    *reg = blocks + input.value;
    input.load(*reg, raw, nullptr, nullptr, round_up(n, unit), nullptr);
  }

  void write(const Output& output, char* out, char* blocks, char* const* reg, int n) const {
    const char* value = reg[output.reg];
    if (output.store) {
      char* raw = n % unit == 0 ? out : blocks + output.raw;
      output.store(raw, value, nullptr, nullptr, round_up(n, unit), nullptr);
      value = raw;
    }
    if (value != out) std::memcpy(out, value, n * output.bytes);
  }
};

// Builds a TileProgram: registers first (inputs, then one for every statement), then the order of its steps, then
// blocks of memory for registers, reused when a value's last reader has run.
class Compiler {
 public:
  Compiler(const ProgramText& text, const std::vector<Spec>& in, const std::vector<Spec>& out)
      : text_(text), in_(in), out_(out), kernel_(std::make_unique<TileProgram>()) {}

  std::unique_ptr<Kernel> compile() {
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
      input.spread = kChainUnit;
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
                                      s.immediates[0], rounding(s.dtype).op});
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
      kernel_->outputs.push_back({r, size_of(out_[i].dtype), store, direct, new_block(kTile, 8)});
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
    for (size_t i = 0; i < in_.size(); ++i)
      if (leaves[i] || std::any_of(kernel_->stages.begin(), kernel_->stages.end(), [&](const TileStage& s) {
            return s.links.empty() && s.step.reads(static_cast<int>(i));
          }))
        kernel_->inputs[i].spread = kTile;
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
    kernel_->chunk = std::max<int64_t>(1, kTaskWork / (work_ * kernel_->tile)) * kernel_->tile;
    for (size_t o = 0; o < out_.size(); ++o)
      for (size_t i = 0; i < in_.size(); ++i)
        if (done_before_written(i, kernel_->outputs[o])) kernel_->overwrites.emplace_back(o, i);
  }

  // Whether nothing of a tile of the input is read once that of the output is written.
  bool done_before_written(size_t input, const Output& output) const {
    if (kernel_->inputs[input].bytes != output.bytes) return false;
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

const struct Registration {
  Registration() {
#define X(name, ...) Register{#name, "tile", 10, prepare_single};
    NATIVE_ELEMENTWISE_OPS(X)
#undef X
    Register{"fused_elementwise", "tile", 10, prepare_fused};
  }
} registration;

}  // namespace

std::unique_ptr<Kernel> compile_program(const ProgramText& program, const std::vector<Spec>& in,
                                        const std::vector<Spec>& out) {
  return Compiler(program, in, out).compile();
}

}  // namespace native
