// PTX in tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace native::emulator::ptx {

struct Token {
  enum class Kind { Word, Number, String, Punctuation, End } kind = Kind::End;
  std::string_view text;
  int line = 0;
};

// Words are identifiers, directives and opcodes with all their dots ("ld.global.f32", ".reg", "%tid.x").
std::vector<Token> tokenise(std::string_view text);
// Integer or 0f/0d floating literal as bits.
uint64_t number_bits(const Token& token);

}  // namespace native::emulator::ptx
