// From PTX to programs: operands become slots, opcodes become handlers. What is not known is refused by
// name before anything runs.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "emulator/machine.h"

namespace native::emulator {

enum class Type : uint8_t {
  None,
  Pred,
  B8,
  B16,
  B32,
  B64,
  B128,
  U8,
  U16,
  U32,
  U64,
  S8,
  S16,
  S32,
  S64,
  F16,
  F16x2,
  BF16,
  BF16x2,
  TF32,
  F32,
  F64
};
Type type_from(const std::string& name);
int bits_of(Type type);
bool is_signed(Type type);
bool is_floating(Type type);

enum class Rounding : uint8_t { Nearest, Zero, Down, Up, NearestAway };

class Decoder;
using Build = void (*)(Decoder& d, Instr& i);
using Opcodes = std::unordered_map<std::string, Build>;
void add_integer(Opcodes& table);
void add_bits(Opcodes& table);
void add_floating(Opcodes& table);
void add_convert(Opcodes& table);
void add_compare(Opcodes& table);
void add_move(Opcodes& table);
void add_memory(Opcodes& table);
void add_atomic(Opcodes& table);
void add_async(Opcodes& table);
void add_control(Opcodes& table);
void add_sync(Opcodes& table);
void add_matrix(Opcodes& table);
void add_fences(Opcodes& table);
void add_barrier_objects(Opcodes& table);
void add_warpgroup(Opcodes& table);
void add_registers(Opcodes& table);
void build_bulk(Decoder& d, Instr& i);  // cp.async.bulk

// Names of a module's variables -> device addresses.
using Symbols = std::map<std::string, uint64_t>;

class Decoder {
 public:
  Decoder(const ptx::Module& module, const ptx::Function& function, const Symbols& symbols);
  std::unique_ptr<Program> program();

  // For builders, on the instruction under way. Modifiers that no builder takes are refused.
  const ptx::Instruction& text() const { return *text_; }
  size_t operands() const { return text_->operands.size(); }
  const ptx::Operand& operand(size_t n) const;
  bool take(const char* modifier);
  // Takes the first that is there and returns its number, or -1.
  int take_one(std::initializer_list<const char*> modifiers);
  Type take_type();  // the first modifier left that is a type, or None
  Type need_type();
  Rounding take_rounding(bool integer = false);
  [[noreturn]] void refuse(const std::string& why) const;
  // Refuses where the module is for older GPUs; `alone`: where it is not for that architecture by itself (sm_90a).
  void need_target(int capability, bool alone = false) const;

  // Operands that no builder asks for are refused, and registers of another size than the type's.
  void destination(Instr& i, size_t n, Type type);  // a register, or a vector of them
  void source(Instr& i, size_t n, Type type);
  void sources(Instr& i, size_t first, size_t count, Type type);
  void second_destination(Instr& i);  // the p of d|p, if it is there
  // One of several registers that hold the type together: mov {lo, hi}, value.
  void allow_parts() { parts_ = true; }
  void allow_wider() { wider_ = true; }          // as loads, stores and conversions do
  void address(Instr& i, size_t n);              // base into the next source, offset into i.offset
  void tensor(Instr& i, size_t n, size_t rank);  // [map, {coordinates}]: base and coordinates into the next sources
  void accumulators(Instr& i, size_t n, size_t count);  // a vector of so many f32 registers, into i.sums
  int slot(const ptx::Operand& o, Type type);
  int constant(uint64_t value);
  uint64_t immediate(size_t n) const;  // refuses what is no constant
  // Number of targets that a label (a place, or a .branchtargets list) has; `first` their place in the table.
  int branch_table(const std::string& label, int& first);
  int target(int n) const { return program_->branch_tables[n]; }

 private:
  void lay_out_variables(const ptx::Module& module);
  void one(const ptx::Instruction& text, Instr& i);
  int special(const std::string& name);
  void push_source(Instr& i, int slot);
  void push_base(Instr& i, const ptx::Operand& o);
  void check_register(const ptx::Operand& o, Type type, size_t parts) const;
  uint64_t literal(const ptx::Operand& o, Type type) const;
  int label(const std::string& name) const;
  void find_reconvergence();

  const ptx::Module& module_;
  const ptx::Function& function_;
  Symbols symbols_;
  std::unique_ptr<Program> program_;
  const ptx::Instruction* text_ = nullptr;
  bool parts_ = false, wider_ = false, pair_ = false;
  mutable size_t used_ = 0;        // operands asked for
  std::vector<std::string> left_;  // modifiers not taken yet, in their order
  std::map<uint64_t, int> constants_;
  std::map<std::string, int> specials_;
};

}  // namespace native::emulator
