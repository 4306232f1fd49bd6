#include "emulator/lexer.h"

#include <bit>
#include <cctype>
#include <charconv>
#include <cstdint>

#include "emulator/ptx.h"

namespace native::emulator::ptx {
namespace {

bool starts_word(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%'; }
bool in_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '.'; }

size_t end_of_word(std::string_view text, size_t at) {
  ++at;
  // "::" belongs to modifiers such as L2::128B and shared::cta.
  while (at < text.size()) {
    if (in_word(text[at]))
      ++at;
    else if (text.substr(at, 2) == "::" && at + 2 < text.size() && in_word(text[at + 2]))
      at += 2;
    else
      break;
  }
  return at;
}

}  // namespace

std::vector<Token> tokenise(std::string_view text) {
  std::vector<Token> tokens;
  int line = 1;
  size_t at = 0;
  auto add = [&](Token::Kind kind, size_t end) {
    tokens.push_back({kind, text.substr(at, end - at), line});
    at = end;
  };
  while (at < text.size()) {
    const char c = text[at];
    const bool last = at + 1 >= text.size();
    if (c == '\n') {
      ++line, ++at;
    } else if (std::isspace(static_cast<unsigned char>(c)) || c == '\0') {
      ++at;
    } else if (c == '/' && !last && text[at + 1] == '/') {
      while (at < text.size() && text[at] != '\n') ++at;
    } else if (c == '/' && !last && text[at + 1] == '*') {
      const size_t end = text.find("*/", at + 2);
      for (; at < text.size() && at < end; ++at) line += text[at] == '\n';
      at = end == std::string_view::npos ? text.size() : end + 2;
    } else if (c == '"') {
      const size_t end = text.find('"', at + 1);
      add(Token::Kind::String, end == std::string_view::npos ? text.size() : end + 1);
    } else if (starts_word(c) || (c == '.' && !last && starts_word(text[at + 1]))) {
      // Inline assembly may leave no space: .reg.b32
      add(Token::Kind::Word, text.substr(at, 5) == ".reg." ? at + 4 : end_of_word(text, at));
    } else if (std::isdigit(static_cast<unsigned char>(c))) {
      size_t end = at;
      while (end < text.size() && in_word(text[end])) ++end;
      add(Token::Kind::Number, end);
    } else {
      add(Token::Kind::Punctuation, at + 1);
    }
  }
  tokens.push_back({Token::Kind::End, "", line});
  return tokens;
}

Number number(const Token& token) {
  using Literal = Operand::Literal;
  auto bad = [&]() -> PtxError {
    return PtxError("PTX line " + std::to_string(token.line) + ": bad number '" + std::string(token.text) + "'");
  };
  // True if all of the text is a number.
  auto read = [](std::string_view text, auto& value, auto how) {
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value, how);
    return result.ec == std::errc{} && result.ptr == text.data() + text.size();
  };
  std::string_view digits = token.text;
  Number n;
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0' && std::isalpha(static_cast<unsigned char>(digits[1]))) {
    const int mark = std::tolower(static_cast<unsigned char>(digits[1]));
    base = mark == 'b' ? 2 : 16;
    n.literal = mark == 'f' ? Literal::Single : mark == 'd' ? Literal::Double : Literal::Integer;
    if (mark != 'b' && mark != 'x' && n.literal == Literal::Integer) throw bad();
    digits.remove_prefix(2);
    if (n.literal != Literal::Integer && digits.size() != (mark == 'f' ? 8 : 16)) throw bad();
  } else if (digits.find_first_of(".eE") != std::string_view::npos) {
    double value = 0;
    if (!read(digits, value, std::chars_format::general)) throw bad();
    return {std::bit_cast<uint64_t>(value), Literal::Double};
  }
  if (digits.ends_with('U')) digits.remove_suffix(1);
  if (!read(digits, n.bits, base)) throw bad();
  return n;
}

}  // namespace native::emulator::ptx
