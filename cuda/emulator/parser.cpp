#include <algorithm>
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
  return digit < type.size() ? std::stoi(std::string(type.substr(digit))) : 0;
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
  explicit Parser(std::string_view text) : tokens_(tokenise(text)) {}

  Module module() {
    Module m;
    while (peek().kind != Kind::End) top_level(m);
    return m;
  }

 private:
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& next() { return tokens_[std::min(at_++, tokens_.size() - 1)]; }
  bool is(std::string_view text) const { return peek().text == text && peek().kind != Kind::End; }
  bool accept(std::string_view text) { return is(text) ? (++at_, true) : false; }
  void expect(std::string_view text) {
    if (!accept(text)) fail("expected '" + std::string(text) + "', found '" + std::string(peek().text) + "'");
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw PtxError("PTX line " + std::to_string(peek().line) + ": " + what);
  }
  uint64_t number() {
    const bool negative = accept("-");
    if (peek().kind != Kind::Number) fail("expected a number, found '" + std::string(peek().text) + "'");
    const uint64_t value = number_bits(next());
    return negative ? ~value + 1 : value;
  }
  std::string word() {
    if (peek().kind != Kind::Word) fail("expected a name, found '" + std::string(peek().text) + "'");
    return std::string(next().text);
  }
  // Blocks that say nothing to the emulator: debug sections.
  void skip_block() {
    while (!is("{") && peek().kind != Kind::End) ++at_;
    for (int depth = 0; peek().kind != Kind::End;) {
      if (is("{")) ++depth;
      if (is("}") && --depth == 0) break;
      ++at_;
    }
    ++at_;
  }
  void skip_statement() {
    while (!is(";") && peek().kind != Kind::End) ++at_;
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
      const std::string text(next().text);
      const size_t dot = text.find('.');
      m.version = std::stoi(text) * 10 + (dot == std::string::npos ? 0 : std::stoi(text.substr(dot + 1)));
    } else if (accept(".target")) {
      m.target = word();
      while (accept(",")) word();
    } else if (accept(".address_size")) {
      if (number() != 64) fail("only .address_size 64 is known");
    } else if (accept(".file")) {
      const int index = static_cast<int>(number());
      std::string_view name = next().text;
      m.files[index] = std::string(name.substr(1, name.size() - 2));
      if (accept(",")) number(), expect(","), number();
    } else if (accept(".section")) {
      skip_block();
    } else if (accept(".entry")) {
      m.functions.push_back(function());
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
        v.align = number();
      else if (part == ".v2" || part == ".v4")
        lanes = part == ".v2" ? 2 : 4;
      else if (part == ".ptr" || part == ".attribute")
        fail("unknown attribute '" + part + "' of a variable");
      else
        element = bits_of(part) / 8;
    }
    if (element == 0) fail("variable without a type");
    v.name = word();
    size_t count = lanes;
    bool open = false;
    while (accept("[")) {
      if (accept("]")) {
        open = true;
        continue;
      }
      count *= number();
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
      value = number();
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
        f.params.push_back(std::move(p));
        accept(",");
      }
    }
    while (!is("{")) {
      const std::string directive = word();
      if (directive == ".maxntid" || directive == ".reqntid") {
        f.max_threads = static_cast<int>(number());
        while (accept(",")) f.max_threads *= static_cast<int>(number());
      } else if (directive == ".minnctapersm" || directive == ".maxnreg" || directive == ".maxnctapersm") {
        number();
      } else if (directive == ".pragma") {
        skip_statement();
      } else {
        fail("unknown directive '" + directive + "' of a kernel");
      }
    }
    f_ = &f;
    names_.clear();
    loc_ = {};
    body();
    return f;
  }

  // A scope in braces: inline assembly declares registers whose names hide outer ones.
  void body() {
    expect("{");
    names_.emplace_back();
    while (!accept("}")) {
      if (is("{"))
        body();
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
      f_->variables.push_back(variable(false));
      return;
    }
    if (peek().kind == Kind::Word && peek(1).text == ":") return label();
    instruction();
  }

  void registers() {
    std::string type = word();
    if (type == ".v2" || type == ".v4") fail("vector registers are not known");
    const int bits = bits_of(type);
    do {
      const std::string name = word();
      if (accept("<")) {
        const int count = static_cast<int>(number());
        expect(">");
        for (int i = 0; i < count; ++i) declare(name + std::to_string(i), bits);
      } else {
        declare(name, bits);
      }
    } while (accept(","));
    expect(";");
  }
  void declare(const std::string& name, int bits) {
    names_.back()[name] = static_cast<int>(f_->registers.size());
    f_->registers.push_back({name, bits});
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
      auto& targets = f_->branch_targets[name];
      do targets.push_back(word());
      while (accept(","));
      expect(";");
      return;
    }
    f_->labels[name] = static_cast<int>(f_->code.size());
  }

  void instruction() {
    Instruction i = loc_;
    i.text_line = peek().line;
    if (accept("@")) {
      i.guard_negated = accept("!");
      const std::string name = word();
      i.guard = find_register(name);
      if (i.guard < 0) fail("unknown predicate '" + name + "'");
    }
    std::vector<std::string> parts = split(word());
    i.name = parts.front();
    i.modifiers.assign(parts.begin() + 1, parts.end());
    while (!is(";")) {
      i.operands.push_back(operand());
      if (!accept(",")) break;
    }
    expect(";");
    f_->code.push_back(std::move(i));
  }

  Operand operand() {
    Operand o;
    if (accept("{")) {
      o.kind = Operand::Kind::Vector;
      while (!accept("}")) {
        o.items.push_back(operand());
        accept(",");
      }
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
      o.kind = Operand::Kind::Immediate;
      o.value = number();
      return o;
    }
    const std::string name = word();
    if (name == "_") {
      o.kind = Operand::Kind::Sink;
      return o;
    }
    o.index = find_register(name);
    o.kind = o.index >= 0 ? Operand::Kind::Register : Operand::Kind::Symbol;
    o.text = name;
    if (accept("|")) o.second.push_back(operand());
    if (o.kind == Operand::Kind::Symbol && accept("+")) o.value = number();
    return o;
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
    }
    expect("]");
    return o;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  Function* f_ = nullptr;
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

}  // namespace ptx
}  // namespace native::emulator
