// PTX in tokens.
#pragma once

#include <string_view>

#include "emulator/ptx.h"

namespace native::emulator::ptx {

struct Token {
  enum class Kind { Word, Number, String, Punctuation, End } kind = Kind::End;
  std::string_view text;
  int line = 0;
};

// Words are identifiers, directives and opcodes with all their dots ("ld.global.f32", ".reg", "%tid.x").
class Lexer {
 public:
  Lexer(std::string_view text, int first_line) : text_(text), line_(first_line) {}
  Token next();  // End again and again behind the last
  // From an opening brace that it gave to the one that closes that, and goes on behind it; empty if there is none.
  std::string_view block(const Token& open);

 private:
  void pass_space();
  void pass(size_t end);

  std::string_view text_;
  size_t at_ = 0;
  int line_;
};
// Integer or floating literal as bits: of a float where it is written 0f, else of a double.
struct Number {
  uint64_t bits = 0;
  Operand::Literal literal = Operand::Literal::Integer;
};
Number number(const Token& token);

}  // namespace native::emulator::ptx
