#include "emulator/lexer.h"

#include <algorithm>
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

// Behind what is closed by `mark`, looked for from `at`.
size_t end_of(std::string_view text, std::string_view mark, size_t at) {
  const size_t found = text.find(mark, at);
  return found == std::string_view::npos ? text.size() : found + mark.size();
}
// Behind the comment or the string that begins here; `at` where there is none.
size_t end_of_comment(std::string_view text, size_t at) {
  if (text.substr(at, 2) == "//") return std::min(text.find('\n', at), text.size());
  return text.substr(at, 2) == "/*" ? end_of(text, "*/", at + 2) : at;
}
size_t end_of_string(std::string_view text, size_t at) {
  return at < text.size() && text[at] == '"' ? end_of(text, "\"", at + 1) : at;
}

}  // namespace

void Lexer::pass(size_t end) {
  line_ += static_cast<int>(std::count(text_.begin() + at_, text_.begin() + end, '\n'));
  at_ = end;
}

void Lexer::pass_space() {
  while (at_ < text_.size()) {
    const bool space = std::isspace(static_cast<unsigned char>(text_[at_])) || text_[at_] == '\0';
    const size_t end = space ? at_ + 1 : end_of_comment(text_, at_);
    if (end == at_) return;
    pass(end);
  }
}

Token Lexer::next() {
  pass_space();
  if (at_ == text_.size()) return {Token::Kind::End, text_.substr(at_), line_};
  auto token = [&](Token::Kind kind, size_t end) {
    const Token t{kind, text_.substr(at_, end - at_), line_};
    pass(end);
    return t;
  };
  const char c = text_[at_];
  if (c == '"') return token(Token::Kind::String, end_of_string(text_, at_));
  // Inline assembly may leave no space: .reg.b32
  if (text_.substr(at_, 5) == ".reg.") return token(Token::Kind::Word, at_ + 4);
  if (starts_word(c) || (c == '.' && at_ + 1 < text_.size() && starts_word(text_[at_ + 1])))
    return token(Token::Kind::Word, end_of_word(text_, at_));
  if (std::isdigit(static_cast<unsigned char>(c))) {
    size_t end = at_;
    while (end < text_.size() && in_word(text_[end])) ++end;
    return token(Token::Kind::Number, end);
  }
  return token(Token::Kind::Punctuation, at_ + 1);
}

std::string_view Lexer::block(const Token& open) {
  const size_t begin = open.text.data() - text_.data();
  int depth = 0;
  for (size_t at = begin; at < text_.size();) {
    const char c = text_[at];
    if (c == '{') ++depth;
    if (c == '}' && --depth == 0) {
      at_ = begin, line_ = open.line;
      pass(at + 1);
      return text_.substr(begin, at + 1 - begin);
    }
    const size_t behind = c == '/' ? end_of_comment(text_, at) : c == '"' ? end_of_string(text_, at) : at;
    at = std::max(behind, at + 1);
  }
  return {};
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
