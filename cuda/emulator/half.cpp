// float16 and bfloat16 arithmetic, alone and in pairs. Every result is rounded once: operations are done
// in double, where sums and products of these formats are exact or rounded to odd.
#include <cmath>

#include "emulator/lanes.h"
#include "emulator/number.h"

namespace native::emulator {
namespace {

struct Half {
  static double value(uint16_t b) { return half_value(b); }
  static uint16_t bits(double v) { return to_half(v); }
  static constexpr double kLeast = 0x1p-14;
};
struct Bfloat {
  static double value(uint16_t b) { return bfloat_value(b); }
  static uint16_t bits(double v) { return to_bfloat(v); }
  static constexpr double kLeast = 0x1p-126;
};

enum HalfOp {
  kHalfAdd,
  kHalfSub,
  kHalfMul,
  kHalfFma,
  kHalfMin,
  kHalfMax,
  kHalfMinNan,
  kHalfMaxNan,
  kHalfEx2,
  kHalfTanh
};

double apply(int op, double a, double b, double c) {
  switch (op) {
    case kHalfAdd:
      return fused_to_odd(a, 1, b);
    case kHalfSub:
      return fused_to_odd(a, 1, -b);
    case kHalfMul:
      return a * b;
    case kHalfFma:
      return fused_to_odd(a, b, c);
    case kHalfMin:
      return smaller(a, b, false);
    case kHalfMax:
      return larger(a, b, false);
    case kHalfMinNan:
      return smaller(a, b, true);
    case kHalfMaxNan:
      return larger(a, b, true);
    case kHalfEx2:
      return std::exp2(a);
    default:
      return std::tanh(a);
  }
}

// i.a the operation, i.b elements in a register, i.c: 1 flush, 2 saturate, 4 relu.
template <class F>
void arithmetic(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* s[3];
  for (int n = 0; n < 3; ++n) s[n] = w.lane(i.s[std::min<int>(n, i.ns - 1)]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    uint64_t r = 0;
    for (int e = 0; e < i.b; ++e) {
      double v[3];
      for (int n = 0; n < 3; ++n) {
        v[n] = F::value(uint16_t(s[n][l] >> (16 * e)));
        if ((i.c & 1) && std::fabs(v[n]) < F::kLeast) v[n] = std::copysign(0.0, v[n]);
      }
      double x = apply(i.a, v[0], v[1], v[2]);
      if (i.c & 2) x = x > 0 ? std::min(x, 1.0) : 0.0;
      if ((i.c & 4) && !(x > 0) && !std::isnan(x)) x = 0.0;
      uint16_t bits = F::bits(x);
      if ((i.c & 1) && std::fabs(x) < F::kLeast) bits &= 0x8000;  // before rounding, as hardware does
      r |= uint64_t(bits) << (16 * e);
    }
    d[l] = r;
  });
}

// abs and neg: sign bits only, of a NaN too.
template <class F>
void sign_bits(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    uint64_t r = 0;
    for (int e = 0; e < i.b; ++e) {
      uint16_t bits = uint16_t(a[l] >> (16 * e));
      if ((i.c & 1) && std::fabs(F::value(bits)) < F::kLeast) bits &= 0x8000;
      r |= uint64_t(uint16_t(i.a ? bits ^ 0x8000 : bits & 0x7FFF)) << (16 * e);
    }
    d[l] = r;
  });
}

}  // namespace

void build_half(Decoder& d, Instr& i, Type t) {
  const std::string& name = d.text().name;
  d.take("rn");
  d.take("approx");
  const bool nan = d.take("NaN");
  i.c = (d.take("ftz") ? 1 : 0) | (d.take("sat") ? 2 : 0) | (d.take("relu") ? 4 : 0);
  if (d.need_type() != t) d.refuse("mixed types");
  i.kind = Class::Float;
  d.destination(i, 0, t);
  d.sources(i, 1, name == "fma" ? 3 : name == "abs" || name == "neg" || name == "ex2" || name == "tanh" ? 1 : 2, t);
  i.b = t == Type::F16x2 || t == Type::BF16x2 ? 2 : 1;
  if (name == "abs" || name == "neg") {
    i.a = name == "neg";
    i.run = t == Type::F16 || t == Type::F16x2 ? sign_bits<Half> : sign_bits<Bfloat>;
    return;
  }
  constexpr std::pair<const char*, int> kOps[] = {{"add", kHalfAdd}, {"sub", kHalfSub},  {"mul", kHalfMul},
                                                  {"fma", kHalfFma}, {"min", kHalfMin},  {"max", kHalfMax},
                                                  {"ex2", kHalfEx2}, {"tanh", kHalfTanh}};
  for (const auto& [text, op] : kOps)
    if (name == text) {
      i.a = nan ? op + 2 : op;
      i.run = t == Type::F16 || t == Type::F16x2 ? arithmetic<Half> : arithmetic<Bfloat>;
    }
}

}  // namespace native::emulator
