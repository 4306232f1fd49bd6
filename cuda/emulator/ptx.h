// A PTX module as text becomes this: names resolved within functions, nothing executed or checked yet. What stands in
// a kernel's braces stays text until somebody asks for it: modules have many kernels, and a process runs few.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace native::emulator {

// Text that is no PTX, or PTX that the emulator does not know: the message names it and its line.
struct PtxError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

namespace ptx {

enum class Space : uint8_t { Generic, Global, Shared, Local, Const, Param };

struct Variable {
  std::string name;
  Space space = Space::Global;
  size_t size = 0, align = 1;
  bool external = false;                                  // size given at launch
  std::vector<uint8_t> initial;                           // may be shorter than size: the rest is zero
  std::vector<std::pair<size_t, std::string>> addresses;  // offsets at which an address is stored
};

struct Register {
  std::string name;
  int bits = 0;  // 1 for predicates
};

struct Operand {
  enum class Kind : uint8_t {
    None,
    Register,   // index
    Immediate,  // value
    Symbol,     // text: a variable, a label, a special register
    Address,    // [base + value]; base is a register (index >= 0), a symbol (text) or nothing; items: coordinates
    Vector,     // {items}
    Sink,       // _
  };
  // How a number is spelled: 1 or 0x1, 0f3F800000, 0d3FF0000000000000 or 1.0.
  enum class Literal : uint8_t { Integer, Single, Double };
  Kind kind = Kind::None;
  Literal literal = Literal::Integer;
  int index = -1;
  bool negated = false;  // !%p
  uint64_t value = 0;
  std::string text;
  std::vector<Operand> items;
  std::vector<Operand> second;  // the q of p|q
};

struct Instruction {
  std::string name;                    // "ld"
  std::vector<std::string> modifiers;  // "global", "f32"
  std::vector<Operand> operands;
  int guard = -1;
  bool guard_negated = false;
  int file = 0, line = 0;                // of the source, 0 if unknown
  int caller_file = 0, caller_line = 0;  // where it was inlined
  int text_line = 0;                     // in the PTX

  std::string opcode() const;  // "ld.global.f32"
};

struct Body {
  std::vector<Register> registers;
  std::vector<Variable> variables;  // shared and local ones declared inside
  std::vector<Instruction> code;
  std::map<std::string, int> labels;  // index into code
  std::map<std::string, std::vector<std::string>> branch_targets;
};

struct Function {
  std::string name;
  std::vector<Variable> params;  // `initial` empty; offsets in param_offset
  std::vector<size_t> param_offset;
  size_t param_bytes = 0;
  int max_threads = 0, max_registers = 0;  // of a block, of a thread; 0 if it says nothing
  std::string text;                        // of the body, with its braces
  int text_line = 0;
  Body body;  // empty as yet
};

struct Module {
  std::string target;
  int version = 0;  // 90 for 9.0
  std::map<int, std::string> files;
  std::vector<Variable> variables;
  std::vector<Function> functions;
};

Module parse(std::string_view text);
Body parse_body(const Function& function);

}  // namespace ptx
}  // namespace native::emulator
