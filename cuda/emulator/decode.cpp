#include "emulator/decode.h"

#include <algorithm>
#include <bit>

namespace native::emulator {
namespace {

using Kind = ptx::Operand::Kind;

struct TypeRow {
  const char* name;
  Type type;
  int bits;
};
constexpr TypeRow kTypes[] = {
    {"pred", Type::Pred, 1},  {"b8", Type::B8, 8},          {"b16", Type::B16, 16},   {"b32", Type::B32, 32},
    {"b64", Type::B64, 64},   {"b128", Type::B128, 128},    {"u8", Type::U8, 8},      {"u16", Type::U16, 16},
    {"u32", Type::U32, 32},   {"u64", Type::U64, 64},       {"s8", Type::S8, 8},      {"s16", Type::S16, 16},
    {"s32", Type::S32, 32},   {"s64", Type::S64, 64},       {"f16", Type::F16, 16},   {"f16x2", Type::F16x2, 32},
    {"bf16", Type::BF16, 16}, {"bf16x2", Type::BF16x2, 32}, {"tf32", Type::TF32, 32}, {"f32", Type::F32, 32},
    {"f64", Type::F64, 64},
};

const Opcodes& opcodes() {
  static const Opcodes* table = [] {
    auto* t = new Opcodes;
    for (auto add :
         {add_integer, add_bits, add_floating, add_convert, add_compare, add_move, add_memory, add_atomic, add_async,
          add_control, add_sync, add_matrix, add_fences, add_barrier_objects, add_warpgroup, add_registers})
      add(*t);
    return t;
  }();
  return *table;
}

}  // namespace

Type type_from(const std::string& name) {
  for (const TypeRow& row : kTypes)
    if (name == row.name) return row.type;
  return Type::None;
}
int bits_of(Type type) {
  for (const TypeRow& row : kTypes)
    if (type == row.type) return row.bits;
  return 0;
}
bool is_signed(Type t) { return t == Type::S8 || t == Type::S16 || t == Type::S32 || t == Type::S64; }
bool is_floating(Type t) { return t >= Type::F16; }

const char* name_of(Class c) {
  constexpr const char* kNames[kClasses] = {"integer", "float", "convert", "move",   "control", "global", "shared",
                                            "local",   "param", "sync",    "atomic", "tensor",  "special"};
  return kNames[static_cast<int>(c)];
}

std::string Program::source(int pc) const {
  const ptx::Instruction& t = *code[pc].text;
  auto place = [&](int file, int line) {
    auto found = module->files.find(file);
    std::string name = found == module->files.end() ? "" : found->second;
    if (const size_t slash = name.rfind('/'); slash != std::string::npos) name.erase(0, slash + 1);
    return name + ":" + std::to_string(line);
  };
  if (t.line == 0) return "PTX line " + std::to_string(t.text_line);
  std::string text = place(t.file, t.line);
  if (t.caller_line) text += " from " + place(t.caller_file, t.caller_line);
  return text;
}

Decoder::Decoder(const ptx::Module& module, const ptx::Function& function, const Symbols& symbols)
    : module_(module), function_(function), symbols_(symbols), program_(std::make_unique<Program>()) {
  program_->function = &function;
  program_->module = &module;
  program_->slots = static_cast<int>(function.body.registers.size());
  for (const ptx::Register& r : function.body.registers) program_->slot_names.push_back(r.name);
  lay_out_variables(module);
}

void Decoder::lay_out_variables(const ptx::Module& module) {
  auto place = [](size_t& end, const ptx::Variable& v) {
    end = (end + v.align - 1) / v.align * v.align;
    const size_t at = end;
    end += v.size;
    return at;
  };
  auto shared = [&](const ptx::Variable& v) {
    if (!v.external) symbols_[v.name] = place(program_->static_shared, v);
  };
  for (const ptx::Variable& v : module.variables)
    if (v.space == ptx::Space::Shared) shared(v);
  for (const ptx::Variable& v : function_.body.variables) {
    if (v.space == ptx::Space::Shared)
      shared(v);
    else
      symbols_[v.name] = place(program_->local_bytes, v);
  }
  constexpr size_t kMostShared = 48 << 10, kMostLocal = 512 << 10;
  if (program_->static_shared > kMostShared)
    throw PtxError(function_.name + ": " + std::to_string(program_->static_shared) + " bytes of static shared memory");
  if (program_->local_bytes > kMostLocal)
    throw PtxError(function_.name + ": " + std::to_string(program_->local_bytes) + " bytes of local memory a thread");
  // Dynamic shared memory begins behind the static one, at the alignment that its declaration asks for.
  program_->dynamic_offset = program_->static_shared;
  for (const ptx::Variable& v : module.variables)
    if (v.space == ptx::Space::Shared && v.external) {
      program_->dynamic_offset = (program_->static_shared + v.align - 1) / v.align * v.align;
      symbols_[v.name] = program_->dynamic_offset;
    }
  for (size_t k = 0; k < function_.params.size(); ++k) symbols_[function_.params[k].name] = function_.param_offset[k];
}

std::unique_ptr<Program> Decoder::program() {
  program_->code.resize(function_.body.code.size());
  int narrowest = 4;
  for (size_t k = 0; k < function_.body.code.size(); ++k) {
    Instr& i = program_->code[k];
    one(function_.body.code[k], i);
    const bool memory = i.kind == Class::Global || i.kind == Class::Shared || i.kind == Class::Atomic;
    if (memory && i.width) narrowest = std::min<int>(narrowest, i.width);
  }
  program_->granule = narrowest;
  program_->counts.resize(program_->code.size());
  find_reconvergence();
  return std::move(program_);
}

void Decoder::one(const ptx::Instruction& text, Instr& i) {
  text_ = &text;
  parts_ = wider_ = pair_ = false;
  used_ = 0;
  i.text = &text;
  left_ = text.modifiers;
  auto found = opcodes().find(text.name);
  if (found == opcodes().end()) refuse("unknown instruction");
  i.guard = text.guard;
  i.guard_negated = text.guard_negated;
  found->second(*this, i);
  if (!left_.empty()) refuse("unknown modifier '." + left_.front() + "'");
  if (!i.run) refuse("no such form");
  if (used_ < operands()) refuse("too many operands");
  for (size_t n = 0; n < operands(); ++n)
    if (!operand(n).second.empty() && (n > 0 || !pair_)) refuse("two results where there is one");
}

void Decoder::refuse(const std::string& why) const {
  throw PtxError("emulator: " + function_.name + ", PTX line " + std::to_string(text_->text_line) + ": " +
                 text_->opcode() + ": " + why);
}

void Decoder::need_target(int capability, bool alone) const {
  const std::string& target = module_.target;
  const std::string needed = "sm_" + std::to_string(capability) + (alone ? "a" : "");
  const bool fits =
      alone ? target == needed : std::atoi(target.c_str() + std::min<size_t>(3, target.size())) >= capability;
  if (!fits) refuse("needs .target " + needed + ", and the module has " + target);
}

const ptx::Operand& Decoder::operand(size_t n) const {
  if (n >= text_->operands.size()) refuse("too few operands");
  used_ = std::max(used_, n + 1);
  return text_->operands[n];
}
bool Decoder::take(const char* modifier) {
  auto found = std::find(left_.begin(), left_.end(), modifier);
  if (found == left_.end()) return false;
  left_.erase(found);
  return true;
}
int Decoder::take_one(std::initializer_list<const char*> modifiers) {
  int n = 0;
  for (const char* m : modifiers) {
    if (take(m)) return n;
    ++n;
  }
  return -1;
}
Type Decoder::take_type() {
  for (auto at = left_.begin(); at != left_.end(); ++at) {
    const Type type = type_from(*at);
    if (type == Type::None) continue;
    left_.erase(at);
    return type;
  }
  return Type::None;
}
Type Decoder::need_type() {
  const Type type = take_type();
  if (type == Type::None) refuse("no type");
  return type;
}
Rounding Decoder::take_rounding(bool integer) {
  const int n = integer ? take_one({"rni", "rzi", "rmi", "rpi"}) : take_one({"rn", "rz", "rm", "rp", "rna"});
  return n < 0 ? Rounding::Nearest : static_cast<Rounding>(n);
}

void Decoder::push_source(Instr& i, int slot) {
  if (i.ns >= 16) refuse("too many operands");
  i.s[i.ns++] = slot;
}
void Decoder::check_register(const ptx::Operand& o, Type type, size_t parts) const {
  const int bits = function_.body.registers[o.index].bits;
  const int needed = parts_ ? bits_of(type) / static_cast<int>(parts) : bits_of(type);
  const bool fits = wider_ && type != Type::Pred ? bits >= needed && bits > 1 : bits == needed;
  if (o.negated && type != Type::Pred) refuse("'!' before what is no predicate");
  if (!fits)
    refuse("register '" + o.text + "' has " + std::to_string(bits) + " bits, " + std::to_string(needed) +
           " are needed");
}
void Decoder::destination(Instr& i, size_t n, Type type) {
  const ptx::Operand& o = operand(n);
  const size_t parts = std::max<size_t>(o.items.size(), 1);
  auto push = [&](const ptx::Operand& r) {
    if (i.nd >= 8) refuse("too many results");
    if (r.negated) refuse("'!' before a result");
    if (r.kind == Kind::Sink) {
      i.d[i.nd++] = program_->slots++;
      program_->slot_names.emplace_back("_");
    } else if (r.kind == Kind::Register) {
      check_register(r, type, parts);
      i.d[i.nd++] = r.index;
      i.bits = static_cast<uint8_t>(function_.body.registers[r.index].bits);
    } else {
      refuse("a result must be a register");
    }
  };
  if (o.kind == Kind::Vector)
    for (const ptx::Operand& item : o.items) push(item);
  else
    push(o);
}
void Decoder::second_destination(Instr& i) {
  const ptx::Operand& o = operand(0);
  pair_ = true;
  if (!o.second.empty()) i.d[i.nd++] = slot(o.second[0], Type::Pred);
}
void Decoder::source(Instr& i, size_t n, Type type) {
  const ptx::Operand& o = operand(n);
  if (o.kind != Kind::Vector) return push_source(i, slot(o, type));
  for (const ptx::Operand& item : o.items) {
    if (item.kind == Kind::Register) check_register(item, type, o.items.size());
    push_source(i, item.kind == Kind::Register ? item.index : slot(item, type));
  }
}
void Decoder::sources(Instr& i, size_t first, size_t count, Type type) {
  for (size_t n = first; n < first + count; ++n) source(i, n, type);
}
void Decoder::address(Instr& i, size_t n) {
  const ptx::Operand& o = operand(n);
  if (!o.items.empty()) refuse("coordinates where there is no tensor");
  push_base(i, o);
}
void Decoder::tensor(Instr& i, size_t n, size_t rank) {
  const ptx::Operand& o = operand(n);
  if (o.items.size() != rank) refuse("the number of coordinates does not fit");
  push_base(i, o);
  for (const ptx::Operand& item : o.items) push_source(i, slot(item, Type::S32));
}
void Decoder::push_base(Instr& i, const ptx::Operand& o) {
  if (o.kind != Kind::Address) refuse("operand must be an address");
  i.offset = static_cast<int64_t>(o.value);
  if (o.index >= 0) {
    if (const int bits = function_.body.registers[o.index].bits; bits != 32 && bits != 64)
      refuse("register '" + o.text + "' of " + std::to_string(bits) + " bits cannot hold an address");
    push_source(i, o.index);
  } else if (o.text.empty()) {
    push_source(i, constant(0));
  } else {
    ptx::Operand symbol;
    symbol.kind = Kind::Symbol;
    symbol.text = o.text;
    push_source(i, slot(symbol, Type::U64));
  }
}
void Decoder::accumulators(Instr& i, size_t n, size_t count) {
  const ptx::Operand& o = operand(n);
  if (o.kind != Kind::Vector || o.items.size() != count) refuse("the number of accumulators does not fit");
  for (const ptx::Operand& item : o.items) {
    if (item.kind != Kind::Register) refuse("an accumulator must be a register");
    check_register(item, Type::F32, 1);
    i.sums.push_back(item.index);
  }
  program_->products = true;
}
int Decoder::slot(const ptx::Operand& o, Type type) {
  switch (o.kind) {
    case Kind::Register:
      check_register(o, type, 1);
      return o.index;
    case Kind::Immediate:
      return constant(literal(o, type));
    case Kind::Symbol:
      if (type == Type::Pred) refuse("'" + o.text + "' is no predicate");
      if (o.text[0] == '%') return special(o.text);
      if (o.text == "WARP_SZ") return constant(kLanes);
      if (auto found = symbols_.find(o.text); found != symbols_.end()) return constant(found->second + o.value);
      refuse("unknown name '" + o.text + "'");
    default:
      refuse("operand of a kind that does not belong here");
  }
}
int Decoder::constant(uint64_t value) {
  auto [at, fresh] = constants_.emplace(value, program_->slots);
  if (fresh) {
    ++program_->slots;
    program_->slot_names.emplace_back("constant");
    program_->constants.push_back({at->second, value});
  }
  return at->second;
}
uint64_t Decoder::literal(const ptx::Operand& o, Type type) const {
  using Literal = ptx::Operand::Literal;
  const int bits = bits_of(type);
  if (type == Type::F32 && o.literal == Literal::Double)
    return std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(o.value)));
  const bool fits = o.literal == Literal::Integer  ? bits >= 8 && !is_floating(type)
                    : o.literal == Literal::Single ? type == Type::F32 || type == Type::B32
                                                   : type == Type::F64 || type == Type::B64;
  if (!fits) refuse("a constant of another type");
  return bits < 64 ? o.value & ((uint64_t{1} << bits) - 1) : o.value;
}
uint64_t Decoder::immediate(size_t n) const {
  const ptx::Operand& o = operand(n);
  if (o.kind != Kind::Immediate) refuse("operand " + std::to_string(n) + " must be a constant");
  return o.value;
}

int Decoder::special(const std::string& name) {
  auto [at, fresh] = specials_.emplace(name, program_->slots);
  if (!fresh) return at->second;
  const std::string base = name.substr(0, name.find('.'));
  const int axis = name.size() > 2 && name[name.size() - 2] == '.' ? name.back() - 'x' : 0;
  struct Row {
    const char* name;
    Special what;
    int index;
  };
  constexpr Row kRows[] = {{"%laneid", Special::Laneid, 0},
                           {"%warpid", Special::Warpid, 0},
                           {"%nwarpid", Special::Nwarpid, 0},
                           {"%lanemask_eq", Special::LaneMask, 0},
                           {"%lanemask_lt", Special::LaneMask, 1},
                           {"%lanemask_le", Special::LaneMask, 2},
                           {"%lanemask_gt", Special::LaneMask, 3},
                           {"%lanemask_ge", Special::LaneMask, 4},
                           {"%clock", Special::Clock, 0},
                           {"%clock64", Special::Clock, 0},
                           {"%dynamic_smem_size", Special::DynamicShared, 0},
                           {"%total_smem_size", Special::TotalShared, 0}};
  SpecialPreset preset{at->second, Special::Tid, axis};
  if (base == "%tid")
    preset.what = Special::Tid;
  else if (base == "%ntid")
    preset.what = Special::Ntid;
  else if (base == "%ctaid")
    preset.what = Special::Ctaid;
  else if (base == "%nctaid")
    preset.what = Special::Nctaid;
  else {
    const Row* found = std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) { return name == r.name; });
    if (found == std::end(kRows)) refuse("unknown special register '" + name + "'");
    preset.what = found->what;
    preset.index = found->index;
  }
  ++program_->slots;
  program_->slot_names.push_back(name);
  program_->specials.push_back(preset);
  return at->second;
}

int Decoder::label(const std::string& name) const {
  auto found = function_.body.labels.find(name);
  if (found == function_.body.labels.end()) refuse("unknown label '" + name + "'");
  return found->second;
}
int Decoder::branch_table(const std::string& name, int& first) {
  first = static_cast<int>(program_->branch_tables.size());
  auto found = function_.body.branch_targets.find(name);
  if (found == function_.body.branch_targets.end()) {
    program_->branch_tables.push_back(label(name));
    return 1;
  }
  for (const std::string& target : found->second) program_->branch_tables.push_back(label(target));
  return static_cast<int>(found->second.size());
}

// Paths that part at a branch meet again at its immediate post-dominator: the first instruction that all
// ways to the end go through. Cooper, Harvey and Kennedy's iteration on the reversed graph; `end` is a node
// behind the last instruction.
void Decoder::find_reconvergence() {
  const auto& code = program_->code;
  const int end = static_cast<int>(code.size());
  std::vector<std::vector<int>> next(end);
  for (int pc = 0; pc < end; ++pc) {
    const Instr& i = code[pc];
    const std::string& name = i.text->name;
    const bool leaves = name == "ret" || name == "exit" || name == "trap";
    if (name == "bra" || name == "brx")
      for (int k = 0; k < i.b; ++k) next[pc].push_back(program_->branch_tables[i.a + k]);
    if (leaves) next[pc].push_back(end);
    if (!(leaves || name == "bra" || name == "brx") || i.guard >= 0) next[pc].push_back(pc + 1);
  }
  // Order from the end backwards.
  std::vector<std::vector<int>> previous(end + 1);
  for (int pc = 0; pc < end; ++pc)
    for (int n : next[pc]) previous[std::min(n, end)].push_back(pc);
  std::vector<int> order, number(end + 1, -1);
  std::vector<std::pair<int, size_t>> stack{{end, 0}};
  std::vector<char> seen(end + 1);
  seen[end] = 1;
  while (!stack.empty()) {
    auto& [node, k] = stack.back();
    if (k < previous[node].size()) {
      const int p = previous[node][k++];
      if (!seen[p]) seen[p] = 1, stack.emplace_back(p, 0);
    } else {
      number[node] = static_cast<int>(order.size());
      order.push_back(node);
      stack.pop_back();
    }
  }
  std::vector<int> dominator(end + 1, -1);
  dominator[end] = end;
  for (bool changed = true; changed;) {
    changed = false;
    for (auto at = order.rbegin(); at != order.rend(); ++at) {
      if (*at == end) continue;
      int best = -1;
      for (int n : next[*at]) {
        int other = std::min(n, end);
        if (dominator[other] < 0) continue;
        if (best < 0) {
          best = other;
          continue;
        }
        while (best != other) {
          while (number[best] < number[other]) best = dominator[best];
          while (number[other] < number[best]) other = dominator[other];
        }
      }
      if (best != dominator[*at]) dominator[*at] = best, changed = true;
    }
  }
  for (int pc = 0; pc < end; ++pc) program_->code[pc].reconverge = dominator[pc] < 0 ? end : dominator[pc];
}

}  // namespace native::emulator
