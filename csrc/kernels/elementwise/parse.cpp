#include <cctype>
#include <charconv>
#include <cstdlib>

#include "core/errors.h"
#include "kernels/elementwise/program.h"

namespace native {
namespace {

class Parser {
 public:
  explicit Parser(const std::string& text) : text_(text), at_(text.c_str()) {}

  ProgramText program() {
    ProgramText result;
    while (skip_space(), *at_ == 'r') {
      result.statements.push_back(statement());
      skip_space();
      expect(';');
    }
    for (char c : {'o', 'u', 't'}) expect(c);
    result.outputs = registers();
    skip_space();
    if (*at_ || result.outputs.empty()) fail();
    return result;
  }

 private:
  [[noreturn]] void fail() const {
    throw ShapeError("fused_elementwise: malformed program at character " + std::to_string(at_ - text_.c_str()) +
                     " of '" + text_ + "'");
  }
  void skip_space() {
    while (*at_ == ' ') ++at_;
  }
  void expect(char c) {
    if (*at_ != c) fail();
    ++at_;
  }
  std::string word() {
    const char* begin = at_;
    while (std::isalnum(static_cast<unsigned char>(*at_)) || *at_ == '_') ++at_;
    if (at_ == begin) fail();
    return std::string(begin, at_);
  }
  int reg() {
    expect('r');
    if (!std::isdigit(static_cast<unsigned char>(*at_))) fail();
    char* end;
    const long number = std::strtol(at_, &end, 10);
    if (number > 1 << 20) fail();
    at_ = end;
    return static_cast<int>(number);
  }
  std::vector<int> registers() {
    std::vector<int> result;
    while (skip_space(), *at_ == 'r') result.push_back(reg());
    return result;
  }
  Statement statement() {
    Statement s;
    s.dst = reg();
    expect(':');
    s.dtype = dtype_from_name(word());
    expect('=');
    s.op = word();
    if (*at_ == '[') {
      do {
        ++at_;
        const auto [end, error] = std::from_chars(at_, text_.data() + text_.size(), s.immediates.emplace_back());
        if (error != std::errc()) fail();
        at_ = end;
      } while (*at_ == ',');
      expect(']');
    }
    s.sources = registers();
    return s;
  }

  const std::string& text_;
  const char* at_;
};

}  // namespace

ProgramText parse_program(const std::string& text) { return Parser(text).program(); }

}  // namespace native
