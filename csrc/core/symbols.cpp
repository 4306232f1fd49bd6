#include "core/symbols.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>

#include "core/errors.h"
#include "core/fork_mutex.h"

namespace native::symbols {
namespace {

struct Expression {
  Op op;
  int64_t a, b;
  auto operator<=>(const Expression&) const = default;
};

constexpr int64_t kBase = std::numeric_limits<int64_t>::min();

struct Table {
  ForkMutex mutex{ForkMutex::Rank::Leaf};
  std::vector<Expression> rows;
  std::map<Expression, int64_t> codes;
};
Table& table() {
  static Table* t = new Table;
  return *t;
}

int64_t intern(const Expression& e) {
  Table& t = table();
  std::lock_guard lock(t.mutex);
  auto [at, fresh] = t.codes.try_emplace(e, kBase + static_cast<int64_t>(t.rows.size()));
  if (fresh) t.rows.push_back(e);
  return at->second;
}

Expression row(int64_t code) {
  Table& t = table();
  std::lock_guard lock(t.mutex);
  return t.rows[static_cast<size_t>(code - kBase)];
}

int64_t floor_div(int64_t a, int64_t b) {
  if (b == 0) throw ShapeError("division by a size of zero");
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)));
}

int64_t apply(Op op, int64_t a, int64_t b) {
  switch (op) {
    case Op::Add:
      return a + b;
    case Op::Sub:
      return a - b;
    case Op::Mul:
      return a * b;
    case Op::FloorDiv:
      return floor_div(a, b);
    case Op::Mod:
      return a - floor_div(a, b) * b;
    case Op::Max:
      return std::max(a, b);
    case Op::Min:
      return std::min(a, b);
    case Op::Symbol:
      break;
  }
  return a;
}

// Sums and products keep a constant on the right, so that nested constants meet and fold.
int64_t make_sum(int64_t a, int64_t b) {
  if (!is_symbolic(a)) std::swap(a, b);
  if (b == 0) return a;
  const Expression ea = row(a);
  if (!is_symbolic(b)) {
    if (ea.op == Op::Add && !is_symbolic(ea.b)) return make_sum(ea.a, ea.b + b);
  } else {
    const Expression eb = row(b);
    if (ea.op == Op::Add && !is_symbolic(ea.b)) return make_sum(make_sum(ea.a, b), ea.b);
    if (eb.op == Op::Add && !is_symbolic(eb.b)) return make_sum(make_sum(a, eb.a), eb.b);
    if (ea.op == Op::Mul && eb.op == Op::Mul && ea.a == eb.a && !is_symbolic(ea.b) && !is_symbolic(eb.b))
      return make(Op::Mul, ea.a, ea.b + eb.b);
    if (ea.op == Op::Mul && ea.a == b && !is_symbolic(ea.b)) return make(Op::Mul, b, ea.b + 1);
    if (eb.op == Op::Mul && eb.a == a && !is_symbolic(eb.b)) return make(Op::Mul, a, eb.b + 1);
    if (a == b) return make(Op::Mul, a, 2);
    if (a > b) std::swap(a, b);
  }
  return intern({Op::Add, a, b});
}

int64_t make_product(int64_t a, int64_t b) {
  if (!is_symbolic(a)) std::swap(a, b);
  if (b == 0 || b == 1) return b == 0 ? 0 : a;
  const Expression ea = row(a);
  if (!is_symbolic(b)) {
    if (ea.op == Op::Mul && !is_symbolic(ea.b)) return make_product(ea.a, ea.b * b);
    if (ea.op == Op::Add && !is_symbolic(ea.b)) return make_sum(make_product(ea.a, b), ea.b * b);
  } else {
    const Expression eb = row(b);
    if (ea.op == Op::Mul && !is_symbolic(ea.b)) return make_product(make_product(ea.a, b), ea.b);
    if (eb.op == Op::Mul && !is_symbolic(eb.b)) return make_product(make_product(a, eb.a), eb.b);
    if (a > b) std::swap(a, b);
  }
  return intern({Op::Mul, a, b});
}

int64_t make_quotient(int64_t a, int64_t b) {
  if (b == 1) return a;
  if (a == b) return 1;
  if (is_symbolic(a)) {
    const Expression ea = row(a);
    if (ea.op == Op::Mul) {
      if (ea.b == b) return ea.a;
      if (ea.a == b) return ea.b;
      if (!is_symbolic(b) && !is_symbolic(ea.b) && b > 0 && ea.b % b == 0) return make_product(ea.a, ea.b / b);
      // (x * c) / (y * c) with y * c symbolic: (B * 12) // (B * 4).
      if (is_symbolic(b)) {
        const Expression eb = row(b);
        if (eb.op == Op::Mul && eb.a == ea.a && !is_symbolic(eb.b) && !is_symbolic(ea.b) && eb.b > 0 &&
            ea.b % eb.b == 0)
          return ea.b / eb.b;
      }
    }
  }
  return intern({Op::FloorDiv, a, b});
}

int64_t make_remainder(int64_t a, int64_t b) {
  if (b == 1 || a == b) return 0;
  if (is_symbolic(a)) {
    const Expression ea = row(a);
    if (ea.op == Op::Mul && (ea.b == b || ea.a == b)) return 0;
    if (ea.op == Op::Mul && !is_symbolic(b) && !is_symbolic(ea.b) && b > 0 && ea.b % b == 0) return 0;
  }
  return intern({Op::Mod, a, b});
}

}  // namespace

int64_t symbol(int64_t index) { return intern({Op::Symbol, index, 0}); }

int64_t make(Op op, int64_t a, int64_t b) {
  if (!is_symbolic(a) && !is_symbolic(b)) return apply(op, a, b);
  switch (op) {
    case Op::Add:
      return make_sum(a, b);
    case Op::Sub:
      return a == b ? 0 : make_sum(a, make(Op::Mul, b, -1));
    case Op::Mul:
      return make_product(a, b);
    case Op::FloorDiv:
      return make_quotient(a, b);
    case Op::Mod:
      return make_remainder(a, b);
    case Op::Max:
    case Op::Min:
      if (a == b) return a;
      return intern({op, std::min(a, b), std::max(a, b)});
    case Op::Symbol:
      break;
  }
  throw ShapeError("not an operation on sizes");
}

int64_t evaluate(int64_t dim, const std::vector<int64_t>& values) {
  if (!is_symbolic(dim)) return dim;
  const Expression e = row(dim);
  if (e.op == Op::Symbol) return values.at(static_cast<size_t>(e.a));
  return apply(e.op, evaluate(e.a, values), evaluate(e.b, values));
}

std::string to_string(int64_t dim) {
  if (!is_symbolic(dim)) return std::to_string(dim);
  const Expression e = row(dim);
  if (e.op == Op::Symbol) return "s" + std::to_string(e.a);
  static constexpr const char* names[] = {"", " + ", " - ", " * ", " // ", " % ", " max ", " min "};
  return "(" + to_string(e.a) + names[static_cast<int>(e.op)] + to_string(e.b) + ")";
}

Shape evaluate(const Shape& dims, const std::vector<int64_t>& values) {
  Shape result = dims;
  for (int64_t& d : result)
    if (is_symbolic(d)) d = evaluate(d, values);
  return result;
}

bool is_symbolic(const Shape& dims) {
  return std::any_of(dims.begin(), dims.end(), [](int64_t d) { return is_symbolic(d); });
}

bool is_symbolic(const Attrs& attrs) {
  for (const auto& [name, attr] : attrs.items()) {
    if (auto* i = std::get_if<int64_t>(&attr); i && is_symbolic(*i)) return true;
    if (auto* v = std::get_if<Ints>(&attr); v && is_symbolic(*v)) return true;
  }
  return false;
}

Attrs evaluate(const Attrs& attrs, const std::vector<int64_t>& values) {
  Attrs result = attrs;
  for (auto& [name, attr] : result.items()) {
    if (auto* i = std::get_if<int64_t>(&attr); i && is_symbolic(*i)) *i = evaluate(*i, values);
    if (auto* v = std::get_if<Ints>(&attr)) *v = evaluate(*v, values);
  }
  return result;
}

}  // namespace native::symbols
