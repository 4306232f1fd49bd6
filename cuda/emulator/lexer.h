// PTX in tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "emulator/ptx.h"

namespace native::emulator::ptx {

struct Token {
  enum class Kind { Word, Number, String, Punctuation, End } kind = Kind::End;
  std::string_view text;
  int line = 0;
};

// Words are identifiers, directives and opcodes with all their dots ("ld.global.f32", ".reg", "%tid.x").
std::vector<Token> tokenise(std::string_view text);
// Integer or floating literal as bits: of a float where it is written 0f, else of a double.
struct Number {
  uint64_t bits = 0;
  Operand::Literal literal = Operand::Literal::Integer;
};
Number number(const Token& token);

}  // namespace native::emulator::ptx
