// float32 and float64 arithmetic. The approximate functions give the correctly rounded result: hardware
// differs within the errors that the manual states.
#include <cmath>
#include <limits>

#include "emulator/lanes.h"
#include "emulator/number.h"

namespace native::emulator {

void build_half(Decoder& d, Instr& i, Type t);

namespace {

struct Add {
  template <class T>
  static T run(T a, T b) {
    return a + b;
  }
};
struct Sub {
  template <class T>
  static T run(T a, T b) {
    return a - b;
  }
};
struct Mul {
  template <class T>
  static T run(T a, T b) {
    return a * b;
  }
};
struct Div {
  template <class T>
  static T run(T a, T b) {
    return a / b;
  }
};
struct Fma {
  template <class T>
  static T run(T a, T b, T c) {
    return std::fma(a, b, c);
  }
};
struct Min {
  template <class T>
  static T run(T a, T b) {
    return smaller(a, b, false);
  }
};
struct Max {
  template <class T>
  static T run(T a, T b) {
    return larger(a, b, false);
  }
};
struct MinNan {
  template <class T>
  static T run(T a, T b) {
    return smaller(a, b, true);
  }
};
struct MaxNan {
  template <class T>
  static T run(T a, T b) {
    return larger(a, b, true);
  }
};
struct Abs {
  template <class T>
  static T run(T a) {
    return std::fabs(a);
  }
};
struct Neg {
  template <class T>
  static T run(T a) {
    return -a;
  }
};
struct Sqrt {
  template <class T>
  static T run(T a) {
    return std::sqrt(a);
  }
};
struct Rcp {
  template <class T>
  static T run(T a) {
    return T(1) / a;
  }
};
struct Rsqrt {
  template <class T>
  static T run(T a) {
    return T(1.0 / std::sqrt(double(a)));
  }
};
struct Sin {
  template <class T>
  static T run(T a) {
    return T(std::sin(double(a)));
  }
};
struct Cos {
  template <class T>
  static T run(T a) {
    return T(std::cos(double(a)));
  }
};
struct Lg2 {
  template <class T>
  static T run(T a) {
    return T(std::log2(double(a)));
  }
};
struct Ex2 {
  template <class T>
  static T run(T a) {
    return T(std::exp2(double(a)));
  }
};
struct Tanh {
  template <class T>
  static T run(T a) {
    return T(std::tanh(double(a)));
  }
};
struct CopySign {
  template <class T>
  static T run(T a, T b) {
    return std::copysign(b, a);
  }
};  // the sign of a

// Subnormal operands become zero, and results that are before they are rounded to the spacing of subnormals (an H100
// makes zero of what would round up to the least normal number); results are clamped to [0, 1], NaN to 0.
template <class T>
T flush(T v) {
  return std::fabs(v) < std::numeric_limits<T>::min() ? std::copysign(T(0), v) : v;
}
template <class T>
T saturate(T v) {
  return v > T(0) ? (v < T(1) ? v : T(1)) : T(0);
}

template <class T, class Op, int N, bool Special>
void arithmetic(Warp& w, const Instr& i, uint32_t m) {
  RoundingMode mode(i.rounding);
  const uint64_t* a = w.lane(i.s[0]);
  const uint64_t* b = N > 1 ? w.lane(i.s[1]) : a;
  const uint64_t* c = N > 2 ? w.lane(i.s[2]) : a;
  uint64_t* d = w.lane(i.d[0]);
  auto in = [&](uint64_t bits) {
    const T v = get<T>(bits);
    return Special && i.a ? flush(v) : v;
  };
  auto result = [&]<class U>(U, int l) {
    if constexpr (N == 1) return Op::run(U(in(a[l])));
    if constexpr (N == 2) return Op::run(U(in(a[l])), U(in(b[l])));
    if constexpr (N == 3) return Op::run(U(in(a[l])), U(in(b[l])), U(in(c[l])));
  };
  each_lane(m, [&](int l) {
    T r = result(T(), l);
    if constexpr (Special) {
      if (i.a && std::fabs(result(double(), l)) < std::numeric_limits<T>::min()) r = std::copysign(T(0), r);
      if (i.b) r = saturate(r);
    }
    if (std::isnan(r)) r = canonical_nan<T>();
    d[l] = put<T>(r);
  });
}

template <class Op, int N>
Handler pick(Type t, bool special) {
  if (t == Type::F32) return special ? arithmetic<float, Op, N, true> : arithmetic<float, Op, N, false>;
  if (t == Type::F64) return special ? arithmetic<double, Op, N, true> : arithmetic<double, Op, N, false>;
  return nullptr;
}

// abs, neg and copysign act on the sign bit alone, of a NaN too.
template <class T>
struct SignBit {
  static constexpr uint64_t value = uint64_t{1} << (8 * sizeof(T) - 1);
};
template <class T>
void abs_bits(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) { d[l] = a[l] & ~SignBit<T>::value; });
}
template <class T>
void neg_bits(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) { d[l] = a[l] ^ SignBit<T>::value; });
}
template <class T>
void copysign_bits(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) { d[l] = (b[l] & ~SignBit<T>::value) | (a[l] & SignBit<T>::value); });
}

Handler find(const std::string& name, Type t, bool special, bool nan) {
  const bool f = t == Type::F32;
  if (name == "add") return pick<Add, 2>(t, special);
  if (name == "sub") return pick<Sub, 2>(t, special);
  if (name == "mul") return pick<Mul, 2>(t, special);
  if (name == "div") return pick<Div, 2>(t, special);
  if (name == "fma" || name == "mad") return pick<Fma, 3>(t, special);
  if (name == "min") return nan ? pick<MinNan, 2>(t, special) : pick<Min, 2>(t, special);
  if (name == "max") return nan ? pick<MaxNan, 2>(t, special) : pick<Max, 2>(t, special);
  if (name == "abs") return special ? pick<Abs, 1>(t, true) : f ? abs_bits<float> : abs_bits<double>;
  if (name == "neg") return special ? pick<Neg, 1>(t, true) : f ? neg_bits<float> : neg_bits<double>;
  if (name == "copysign") return f ? copysign_bits<float> : copysign_bits<double>;
  if (name == "sqrt") return pick<Sqrt, 1>(t, special);
  if (name == "rcp") return pick<Rcp, 1>(t, special);
  if (name == "rsqrt") return pick<Rsqrt, 1>(t, special);
  if (name == "sin") return pick<Sin, 1>(t, special);
  if (name == "cos") return pick<Cos, 1>(t, special);
  if (name == "lg2") return pick<Lg2, 1>(t, special);
  if (name == "ex2") return pick<Ex2, 1>(t, special);
  if (name == "tanh") return pick<Tanh, 1>(t, special);
  return nullptr;
}

void testp(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  uint32_t r = 0;
  each_lane(m, [&](int l) {
    const double v = i.b ? get<double>(a[l]) : get<float>(a[l]);
    const double least = i.b ? std::numeric_limits<double>::min() : std::numeric_limits<float>::min();
    bool yes = false;
    switch (i.a) {
      case 0:
        yes = std::isfinite(v);
        break;
      case 1:
        yes = std::isinf(v);
        break;
      case 2:
        yes = !std::isnan(v);
        break;
      case 3:
        yes = std::isnan(v);
        break;
      case 4:
        yes = v == 0 || (std::isfinite(v) && std::fabs(v) >= least);  // zeros are normal here, says the manual
        break;
      case 5:
        yes = v != 0 && std::fabs(v) < least;
        break;
    }
    r |= uint32_t(yes) << l;
  });
  uint32_t& d = w.predicates[i.d[0]];
  d = (d & ~m) | r;
}

}  // namespace

void build_floating(Decoder& d, Instr& i, Type) {
  for (const std::string& m : d.text().modifiers) {
    const Type t = type_from(m);
    if (t == Type::F16 || t == Type::F16x2 || t == Type::BF16 || t == Type::BF16x2) return build_half(d, i, t);
  }
  i.rounding = static_cast<uint8_t>(d.take_rounding());
  i.a = d.take("ftz");
  i.b = d.take("sat");
  const bool nan = d.take("NaN");
  d.take("approx");
  d.take("full");
  const Type t = d.need_type();
  const std::string& name = d.text().name;
  const bool two = name == "add" || name == "sub" || name == "mul" || name == "div" || name == "min" || name == "max" ||
                   name == "copysign";
  i.kind = Class::Float;
  d.destination(i, 0, t);
  d.sources(i, 1, name == "fma" || name == "mad" ? 3 : two ? 2 : 1, t);
  i.run = find(name, t, i.a || i.b, nan);
}

void add_floating(Opcodes& table) {
  for (const char* name : {"fma", "sqrt", "rcp", "rsqrt", "sin", "cos", "lg2", "ex2", "tanh", "copysign"})
    table[name] = [](Decoder& d, Instr& i) { build_floating(d, i, Type::None); };
  table["testp"] = [](Decoder& d, Instr& i) {
    i.a = d.take_one({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
    const Type t = d.need_type();
    i.b = t == Type::F64;
    i.kind = Class::Float;
    d.destination(i, 0, Type::Pred);
    d.source(i, 1, t);
    i.run = i.a >= 0 && (i.b || t == Type::F32) ? testp : nullptr;
  };
}

}  // namespace native::emulator
