#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "emulator/lexer.h"
#include "emulator/ptx.h"

namespace native::emulator {
namespace ptx {
namespace {

using Kind = Token::Kind;

int bits_of(std::string_view type) {
  if (type == ".pred") return 1;
  size_t digit = 1;
  while (digit < type.size() && !std::isdigit(static_cast<unsigned char>(type[digit]))) ++digit;
  int bits = 0;
  std::from_chars(type.data() + digit, type.data() + type.size(), bits);
  return bits;
}

std::vector<std::string> split(std::string_view dotted) {
  std::vector<std::string> parts;
  size_t from = 0;
  while (from <= dotted.size()) {
    const size_t dot = std::min(dotted.find('.', from), dotted.size());
    parts.emplace_back(dotted.substr(from, dot - from));
    from = dot + 1;
  }
  return parts;
}

class Parser {
 public:
  static constexpr size_t kMostBytes = size_t{1} << 30, kMostRegisters = 1 << 20, kMostParameters = 32764;

  explicit Parser(std::string_view text, int first_line = 1)
      : lexer_(text, first_line), ahead_{lexer_.next(), lexer_.next()} {}

  Module module() {
    Module m;
    try {
      while (peek().kind != Kind::End) top_level(m);
    } catch (const PtxError&) {
      // A brace too many in a body shows behind it: what is wrong inside comes first.
      for (const Function& f : m.functions) parse_body(f);
      throw;
    }
    return m;
  }
  Body function_body() {
    scope();
    return std::move(body_);
  }

 private:
  // Braces and operands within each other, to a depth that the stack bears.
  struct Nested {
    explicit Nested(Parser& parser) : parser(parser) {
      if (++parser.depth_ > 32) parser.fail("nested too deeply");
    }
    ~Nested() { --parser.depth_; }
    Parser& parser;
  };

  const Token& peek(size_t ahead = 0) const { return ahead_[ahead]; }
  Token next() {
    const Token token = ahead_[0];
    ahead_ = {ahead_[1], lexer_.next()};
    return token;
  }
  bool is(std::string_view text) const { return peek().text == text && peek().kind != Kind::End; }
  bool accept(std::string_view text) { return is(text) ? (next(), true) : false; }
  void expect(std::string_view text) {
    if (!accept(text)) fail("expected '" + std::string(text) + "', found '" + std::string(peek().text) + "'");
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw PtxError("PTX line " + std::to_string(peek().line) + ": " + opcode_ + (opcode_.empty() ? "" : ": ") + what);
  }
  Number literal() {
    const bool negative = accept("-");
    if (peek().kind != Kind::Number) fail("expected a number, found '" + std::string(peek().text) + "'");
    Number n = ptx::number(next());
    if (negative) switch (n.literal) {
        case Operand::Literal::Integer:
          n.bits = ~n.bits + 1;
          break;
        case Operand::Literal::Single:
          n.bits ^= uint64_t{1} << 31;
          break;
        case Operand::Literal::Double:
          n.bits ^= uint64_t{1} << 63;
          break;
      }
    return n;
  }
  uint64_t number() {
    const Number n = literal();
    if (n.literal != Operand::Literal::Integer) fail("expected an integer");
    return n.bits;
  }
  // A count or size: small enough to be meant.
  size_t size(size_t most) {
    const uint64_t value = number();
    if (value > most) fail(std::to_string(value) + " is more than " + std::to_string(most));
    return value;
  }
  std::string word() {
    if (peek().kind != Kind::Word) fail("expected a name, found '" + std::string(peek().text) + "'");
    return std::string(next().text);
  }
  // What stands in the braces that are next, unread; empty where they are not closed.
  std::string_view block() {
    const std::string_view text = lexer_.block(peek());
    if (!text.empty()) ahead_ = {lexer_.next(), lexer_.next()};
    return text;
  }
  // Says nothing to the emulator.
  void skip_section() {
    while (!is("{") && peek().kind != Kind::End) next();
    if (block().empty())
      while (peek().kind != Kind::End) next();
  }
  void skip_statement() {
    while (!is(";") && peek().kind != Kind::End) next();
    accept(";");
  }

  void top_level(Module& m) {
    bool external = false;
    for (;;) {
      if (accept(".visible") || accept(".weak") || accept(".common")) continue;
      if (!accept(".extern")) break;
      external = true;
    }
    if (accept(".version")) {
      // "9.0" is one token.
      if (peek().kind != Kind::Number) fail("expected a version, found '" + std::string(peek().text) + "'");
      m.version = static_cast<int>(std::lround(std::stod(std::string(next().text)) * 10));
    } else if (accept(".target")) {
      m.target = word();
      while (accept(",")) word();
    } else if (accept(".address_size")) {
      if (number() != 64) fail("only .address_size 64 is known");
    } else if (accept(".file")) {
      const int index = static_cast<int>(number());
      if (peek().kind != Kind::String || peek().text.size() < 2) fail("expected a file's name in quotes");
      const std::string_view name = next().text;
      m.files[index] = std::string(name.substr(1, name.size() - 2));
      if (accept(",")) number(), expect(","), number();
    } else if (accept(".section")) {
      skip_section();
    } else if (accept(".entry")) {
      m.functions.push_back(function());
      for (size_t k = 0; k + 1 < m.functions.size(); ++k)
        if (m.functions[k].name == m.functions.back().name)
          fail("two kernels are named '" + m.functions.back().name + "'");
    } else if (accept(".func")) {
      fail("functions that are called (.func) are not known: inline them");
    } else if (is(".global") || is(".const") || is(".shared")) {
      m.variables.push_back(variable(external));
    } else if (accept(".pragma")) {
      skip_statement();
    } else {
      fail("unknown directive '" + std::string(peek().text) + "'");
    }
  }

  size_t alignment() {
    const size_t value = size(1 << 20);
    if (!std::has_single_bit(value)) fail("an alignment must be a power of two");
    return value;
  }

  // .ptr .global .align 16: promises about what a parameter points to, which nothing here relies on.
  void pointee() {
    for (const char* space : {".const", ".global", ".local", ".shared"})
      if (accept(space)) break;
    if (accept(".align")) alignment();
  }

  // .shared .align 4 .b8 name[128] = {...};
  Variable variable(bool external) {
    Variable v;
    const std::string space = word();
    v.space = space == ".shared"  ? Space::Shared
              : space == ".local" ? Space::Local
              : space == ".const" ? Space::Const
              : space == ".param" ? Space::Param
                                  : Space::Global;
    v.external = external;
    size_t element = 0, lanes = 1;
    while (peek().text.starts_with(".")) {
      const std::string part = word();
      if (part == ".align")
        v.align = alignment();
      else if (part == ".v2" || part == ".v4")
        lanes = part == ".v2" ? 2 : 4;
      else if (part == ".ptr" && v.space == Space::Param)
        pointee();
      else if (part == ".ptr" || part == ".attribute")
        fail("unknown attribute '" + part + "' of a variable");
      else
        element = bits_of(part) / 8;
    }
    if (element == 0 || element > 16) fail("variable without a type that is known");
    v.name = word();
    size_t count = lanes;
    bool open = false;
    while (accept("[")) {
      if (accept("]")) {
        open = true;
        continue;
      }
      count *= size(kMostBytes);
      if (count > kMostBytes) fail("'" + v.name + "' is too large");
      expect("]");
    }
    v.size = open && external ? 0 : count * element;
    v.align = std::max(v.align, element);
    if (accept("=")) initialiser(v, element);
    if (v.size == 0 && !external) v.size = v.initial.size();
    if (v.space != Space::Param) expect(";");
    return v;
  }

  void initialiser(Variable& v, size_t element) {
    const Nested nested(*this);
    if (accept("{")) {
      while (!accept("}")) {
        if (is("{")) {
          initialiser(v, element);
        } else {
          initial_value(v, element);
        }
        accept(",");
      }
    } else {
      initial_value(v, element);
    }
  }
  void initial_value(Variable& v, size_t element) {
    uint64_t value = 0;
    if (peek().kind == Kind::Word) {
      const std::string name = word();
      if (name == "generic") {
        expect("(");
        v.addresses.emplace_back(v.initial.size(), word());
        expect(")");
      } else {
        v.addresses.emplace_back(v.initial.size(), name);
      }
    } else {
      const Number n = literal();
      value = n.bits;
      if (n.literal == Operand::Literal::Double && element == 4)
        value = std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(n.bits)));
    }
    for (size_t i = 0; i < element; ++i) v.initial.push_back(i < 8 ? static_cast<uint8_t>(value >> (8 * i)) : 0);
  }

  Function function() {
    Function f;
    f.name = word();
    if (accept("(")) {
      while (!accept(")")) {
        Variable p = variable(false);
        f.param_bytes = (f.param_bytes + p.align - 1) / p.align * p.align;
        f.param_offset.push_back(f.param_bytes);
        f.param_bytes += p.size;
        if (f.param_bytes > kMostParameters) fail("the parameters are too large");
        f.params.push_back(std::move(p));
        accept(",");
      }
    }
    while (!is("{")) {
      const std::string directive = word();
      if (directive == ".maxntid" || directive == ".reqntid") {
        f.max_threads = static_cast<int>(size(1024));
        while (accept(",")) f.max_threads *= static_cast<int>(size(1024));
      } else if (directive == ".maxnreg") {
        f.max_registers = static_cast<int>(size(256));
      } else if (directive == ".minnctapersm" || directive == ".maxnctapersm") {
        number();
      } else if (directive == ".pragma") {
        skip_statement();
      } else {
        fail("unknown directive '" + directive + "' of a kernel");
      }
    }
    f.text_line = peek().line;
    f.text = block();
    if (f.text.empty()) scope();  // says what is wrong with it
    return f;
  }

  // A scope in braces: inline assembly declares registers whose names hide outer ones.
  void scope() {
    const Nested nested(*this);
    expect("{");
    names_.emplace_back();
    while (!accept("}")) {
      if (is("{"))
        scope();
      else
        statement();
    }
    names_.pop_back();
  }

  void statement() {
    if (peek().kind == Kind::End) fail("the kernel is not closed");
    if (accept(";")) return;
    if (accept(".reg")) return registers();
    if (accept(".loc")) return location();
    if (accept(".pragma")) return skip_statement();
    if (is(".shared") || is(".local")) {
      body_.variables.push_back(variable(false));
      return;
    }
    if (peek().kind == Kind::Word && peek(1).text == ":") return label();
    instruction();
  }

  void registers() {
    std::string type = word();
    if (type == ".v2" || type == ".v4") fail("vector registers are not known");
    const int bits = bits_of(type);
    if (bits != 1 && bits != 8 && bits != 16 && bits != 32 && bits != 64)
      fail("registers of type '" + type + "' are not known");
    do {
      const std::string name = word();
      if (accept("<")) {
        const int count = static_cast<int>(size(kMostRegisters));
        expect(">");
        for (int i = 0; i < count; ++i) declare(name + std::to_string(i), bits);
      } else {
        declare(name, bits);
      }
    } while (accept(","));
    expect(";");
  }
  void declare(const std::string& name, int bits) {
    if (body_.registers.size() >= kMostRegisters) fail("too many registers");
    if (!names_.back().emplace(name, static_cast<int>(body_.registers.size())).second)
      fail("'" + name + "' is declared twice");
    body_.registers.push_back({name, bits});
  }
  int find_register(const std::string& name) const {
    for (auto scope = names_.rbegin(); scope != names_.rend(); ++scope)
      if (auto found = scope->find(name); found != scope->end()) return found->second;
    return -1;
  }

  void location() {
    loc_.file = static_cast<int>(number());
    loc_.line = static_cast<int>(number());
    number();
    loc_.caller_file = loc_.caller_line = 0;
    while (accept(",")) {
      const std::string key = word();
      if (key == "function_name") {
        word();
        if (accept("+")) number();
      } else if (key == "inlined_at") {
        loc_.caller_file = static_cast<int>(number());
        loc_.caller_line = static_cast<int>(number());
        number();
      }
    }
  }

  void label() {
    const std::string name = word();
    expect(":");
    if (accept(".branchtargets")) {
      auto& targets = body_.branch_targets[name];
      do targets.push_back(word());
      while (accept(","));
      expect(";");
      return;
    }
    if (!body_.labels.emplace(name, static_cast<int>(body_.code.size())).second)
      fail("two labels are named '" + name + "'");
  }

  void instruction() {
    Instruction i = loc_;
    i.text_line = peek().line;
    if (accept("@")) {
      i.guard_negated = accept("!");
      const std::string name = word();
      i.guard = find_register(name);
      if (i.guard < 0 || body_.registers[i.guard].bits != 1) fail("'" + name + "' is no predicate");
    }
    opcode_ = word();
    std::vector<std::string> parts = split(opcode_);
    i.name = parts.front();
    i.modifiers.assign(parts.begin() + 1, parts.end());
    while (!is(";")) {
      i.operands.push_back(operand());
      if (!accept(",")) break;
    }
    expect(";");
    opcode_.clear();
    body_.code.push_back(std::move(i));
  }

  Operand operand() {
    const Nested nested(*this);
    Operand o;
    if (accept("{")) {
      o.kind = Operand::Kind::Vector;
      do o.items.push_back(operand());
      while (accept(","));
      expect("}");
      return o;
    }
    if (accept("[")) {
      o = address();
      return o;
    }
    if (accept("!")) {
      o = operand();
      o.negated = true;
      return o;
    }
    if (peek().kind == Kind::Number || is("-")) {
      const Number n = literal();
      o.kind = Operand::Kind::Immediate;
      o.value = n.bits;
      o.literal = n.literal;
      return o;
    }
    const std::string name = word();
    if (name == "_") {
      o.kind = Operand::Kind::Sink;
      if (accept("|")) o.second.push_back(operand());
      return o;
    }
    o.index = find_register(name);
    o.kind = o.index >= 0 ? Operand::Kind::Register : Operand::Kind::Symbol;
    o.text = name;
    if (accept("|")) o.second.push_back(operand());
    if (o.kind == Operand::Kind::Symbol && accept("+")) o.value = number();
    return o;
  }

  // Of a tensor: [map, {x, y}].
  std::vector<Operand> coordinates() {
    Operand at = operand();
    if (at.kind != Operand::Kind::Vector) fail("expected coordinates in braces");
    return std::move(at.items);
  }

  Operand address() {
    Operand o;
    o.kind = Operand::Kind::Address;
    if (peek().kind == Kind::Number) {
      o.value = number();
    } else {
      o.text = word();
      o.index = find_register(o.text);
      if (accept("+"))
        o.value = number();
      else if (is("-"))
        o.value = number();
      else if (accept(","))
        o.items = coordinates();
    }
    expect("]");
    return o;
  }

  Lexer lexer_;
  std::array<Token, 2> ahead_;
  int depth_ = 0;
  std::string opcode_;  // of the instruction that is being read
  Body body_;
  std::vector<std::unordered_map<std::string, int>> names_;
  Instruction loc_;
};

}  // namespace

std::string Instruction::opcode() const {
  std::string text = name;
  for (const std::string& m : modifiers) text += "." + m;
  return text;
}

Module parse(std::string_view text) { return Parser(text).module(); }
Body parse_body(const Function& function) { return Parser(function.text, function.text_line).function_body(); }

}  // namespace ptx
}  // namespace native::emulator
