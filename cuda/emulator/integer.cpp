// Integer arithmetic.
#include <algorithm>
#include <limits>
#include <type_traits>

#include "emulator/lanes.h"

namespace native::emulator {
namespace {

template <class T>
using Unsigned = std::make_unsigned_t<T>;
template <class T>
struct WiderOf;
template <>
struct WiderOf<uint16_t> {
  using type = uint32_t;
};
template <>
struct WiderOf<int16_t> {
  using type = int32_t;
};
template <>
struct WiderOf<uint32_t> {
  using type = uint64_t;
};
template <>
struct WiderOf<int32_t> {
  using type = int64_t;
};
template <>
struct WiderOf<uint64_t> {
  using type = unsigned __int128;
};
template <>
struct WiderOf<int64_t> {
  using type = __int128;
};
template <class T>
using Wider = typename WiderOf<T>::type;

// Overflow wraps: everything goes through unsigned 64-bit arithmetic.
struct IntAdd {
  template <class T>
  static T run(T a, T b) {
    return T(uint64_t(a) + uint64_t(b));
  }
};
struct IntSub {
  template <class T>
  static T run(T a, T b) {
    return T(uint64_t(a) - uint64_t(b));
  }
};
struct MulLow {
  template <class T>
  static T run(T a, T b) {
    return T(uint64_t(a) * uint64_t(b));
  }
};
struct MulHigh {
  template <class T>
  static T run(T a, T b) {
    return T((Wider<T>(a) * Wider<T>(b)) >> (8 * sizeof(T)));
  }
};
struct MulWide {
  template <class T>
  static Wider<T> run(T a, T b) {
    return Wider<T>(a) * Wider<T>(b);
  }
};
struct MadLow {
  template <class T>
  static T run(T a, T b, T c) {
    return IntAdd::run(MulLow::run(a, b), c);
  }
};
struct MadHigh {
  template <class T>
  static T run(T a, T b, T c) {
    return IntAdd::run(MulHigh::run(a, b), c);
  }
};
struct MadWide {
  template <class T>
  static Wider<T> run(T a, T b, Wider<T> c) {
    return IntAdd::run(Wider<T>(MulWide::run(a, b)), c);
  }
};
struct AddSaturated {
  static int32_t run(int32_t a, int32_t b) {
    return int32_t(std::clamp<int64_t>(int64_t(a) + b, INT32_MIN, INT32_MAX));
  }
};
struct SubSaturated {
  static int32_t run(int32_t a, int32_t b) {
    return int32_t(std::clamp<int64_t>(int64_t(a) - b, INT32_MIN, INT32_MAX));
  }
};
// Division by zero is unspecified in PTX: all ones, as hardware gives.
struct IntDiv {
  template <class T>
  static T run(T a, T b) {
    if (b == 0) return T(-1);
    if (std::is_signed_v<T> && b == T(-1)) return T(-Unsigned<T>(a));
    return T(a / b);
  }
};
struct Rem {
  template <class T>
  static T run(T a, T b) {
    if (b == 0) return a;
    if (std::is_signed_v<T> && b == T(-1)) return 0;
    return T(a % b);
  }
};
struct IntMin {
  template <class T>
  static T run(T a, T b) {
    return std::min(a, b);
  }
};
struct IntMax {
  template <class T>
  static T run(T a, T b) {
    return std::max(a, b);
  }
};
struct IntAbs {
  template <class T>
  static T run(T a) {
    return a < 0 ? T(-Unsigned<T>(a)) : a;
  }
};
struct IntNeg {
  template <class T>
  static T run(T a) {
    return T(-Unsigned<T>(a));
  }
};
struct Sad {
  template <class T>
  static T run(T a, T b, T c) {
    return IntAdd::run(c, a < b ? IntSub::run(b, a) : IntSub::run(a, b));
  }
};

template <class Op>
Handler binary_for(Type t) {
  switch (t) {
    case Type::U16:
      return binary<uint16_t, uint16_t, Op>;
    case Type::S16:
      return binary<int16_t, int16_t, Op>;
    case Type::U32:
      return binary<uint32_t, uint32_t, Op>;
    case Type::S32:
      return binary<int32_t, int32_t, Op>;
    case Type::U64:
      return binary<uint64_t, uint64_t, Op>;
    case Type::S64:
      return binary<int64_t, int64_t, Op>;
    default:
      return nullptr;
  }
}
template <class Op>
Handler ternary_for(Type t) {
  switch (t) {
    case Type::U16:
      return ternary<uint16_t, uint16_t, Op>;
    case Type::S16:
      return ternary<int16_t, int16_t, Op>;
    case Type::U32:
      return ternary<uint32_t, uint32_t, Op>;
    case Type::S32:
      return ternary<int32_t, int32_t, Op>;
    case Type::U64:
      return ternary<uint64_t, uint64_t, Op>;
    case Type::S64:
      return ternary<int64_t, int64_t, Op>;
    default:
      return nullptr;
  }
}
template <class Op>
Handler unary_for(Type t) {
  switch (t) {
    case Type::S16:
      return unary<int16_t, int16_t, Op>;
    case Type::S32:
      return unary<int32_t, int32_t, Op>;
    case Type::S64:
      return unary<int64_t, int64_t, Op>;
    default:
      return nullptr;
  }
}
Handler wide_for(Type t) {
  switch (t) {
    case Type::U16:
      return binary<uint32_t, uint16_t, MulWide>;
    case Type::S16:
      return binary<int32_t, int16_t, MulWide>;
    case Type::U32:
      return binary<uint64_t, uint32_t, MulWide>;
    case Type::S32:
      return binary<int64_t, int32_t, MulWide>;
    default:
      return nullptr;
  }
}
Handler mad_wide_for(Type t) {
  switch (t) {
    case Type::U16:
      return ternary<uint32_t, uint16_t, MadWide>;
    case Type::S16:
      return ternary<int32_t, int16_t, MadWide>;
    case Type::U32:
      return ternary<uint64_t, uint32_t, MadWide>;
    case Type::S32:
      return ternary<int64_t, int32_t, MadWide>;
    default:
      return nullptr;
  }
}

// Four signed or unsigned bytes by four, and a sum.
template <class A, class B>
void dot_bytes(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]), *c = w.lane(i.s[2]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    uint32_t sum = uint32_t(c[l]);
    for (int k = 0; k < 32; k += 8) sum += uint32_t(int32_t(A(a[l] >> k)) * int32_t(B(b[l] >> k)));
    d[l] = sum;
  });
}

Type wider(Type t) {
  switch (t) {
    case Type::U16:
      return Type::U32;
    case Type::S16:
      return Type::S32;
    case Type::U32:
      return Type::U64;
    case Type::S32:
      return Type::S64;
    default:
      return Type::None;
  }
}

void operands(Decoder& d, Instr& i, Type t, size_t count, Type result) {
  i.kind = Class::Integer;
  d.destination(i, 0, result);
  d.sources(i, 1, count, t);
}
template <class Op>
void simple(Decoder& d, Instr& i) {
  const Type t = d.need_type();
  operands(d, i, t, 2, t);
  i.run = binary_for<Op>(t);
}
template <class Op>
void saturating(Decoder& d, Instr& i) {
  if (d.need_type() != Type::S32) d.refuse("only .s32 saturates");
  operands(d, i, Type::S32, 2, Type::S32);
  i.run = binary<int32_t, int32_t, Op>;
}

}  // namespace

// Floating forms of the same names.
void build_floating(Decoder& d, Instr& i, Type t);
bool is_floating_form(const Decoder& d) {
  for (const std::string& m : d.text().modifiers)
    if (is_floating(type_from(m))) return true;
  return false;
}

void add_integer(Opcodes& table) {
  auto either = [&table](const char* name, Build whole) { table[name] = whole; };
  either("add", [](Decoder& d, Instr& i) {
    if (is_floating_form(d)) return build_floating(d, i, Type::None);
    d.take("sat") ? saturating<AddSaturated>(d, i) : simple<IntAdd>(d, i);
  });
  either("sub", [](Decoder& d, Instr& i) {
    if (is_floating_form(d)) return build_floating(d, i, Type::None);
    d.take("sat") ? saturating<SubSaturated>(d, i) : simple<IntSub>(d, i);
  });
  either("mul", [](Decoder& d, Instr& i) {
    if (is_floating_form(d)) return build_floating(d, i, Type::None);
    const int part = d.take_one({"lo", "hi", "wide"});
    const Type t = d.need_type();
    operands(d, i, t, 2, part == 2 ? wider(t) : t);
    i.run = part == 0 ? binary_for<MulLow>(t) : part == 1 ? binary_for<MulHigh>(t) : part == 2 ? wide_for(t) : nullptr;
  });
  either("mad", [](Decoder& d, Instr& i) {
    if (is_floating_form(d)) return build_floating(d, i, Type::None);
    const int part = d.take_one({"lo", "hi", "wide"});
    const Type t = d.need_type();
    operands(d, i, t, 2, part == 2 ? wider(t) : t);
    d.source(i, 3, part == 2 ? wider(t) : t);
    i.run = part == 0   ? ternary_for<MadLow>(t)
            : part == 1 ? ternary_for<MadHigh>(t)
            : part == 2 ? mad_wide_for(t)
                        : nullptr;
  });
  either("div",
         [](Decoder& d, Instr& i) { is_floating_form(d) ? build_floating(d, i, Type::None) : simple<IntDiv>(d, i); });
  either("rem", simple<Rem>);
  either("min",
         [](Decoder& d, Instr& i) { is_floating_form(d) ? build_floating(d, i, Type::None) : simple<IntMin>(d, i); });
  either("max",
         [](Decoder& d, Instr& i) { is_floating_form(d) ? build_floating(d, i, Type::None) : simple<IntMax>(d, i); });
  either("abs", [](Decoder& d, Instr& i) {
    if (is_floating_form(d)) return build_floating(d, i, Type::None);
    const Type t = d.need_type();
    operands(d, i, t, 1, t);
    i.run = unary_for<IntAbs>(t);
  });
  either("neg", [](Decoder& d, Instr& i) {
    if (is_floating_form(d)) return build_floating(d, i, Type::None);
    const Type t = d.need_type();
    operands(d, i, t, 1, t);
    i.run = unary_for<IntNeg>(t);
  });
  either("sad", [](Decoder& d, Instr& i) {
    const Type t = d.need_type();
    operands(d, i, t, 3, t);
    i.run = ternary_for<Sad>(t);
  });
  either("dp4a", [](Decoder& d, Instr& i) {
    const Type a = d.need_type(), b = d.need_type();
    if (bits_of(a) != 32 || bits_of(b) != 32) d.refuse("no such types");
    operands(d, i, Type::B32, 3, Type::B32);
    const bool sa = is_signed(a), sb = is_signed(b);
    i.run = sa ? (sb ? dot_bytes<int8_t, int8_t> : dot_bytes<int8_t, uint8_t>)
               : (sb ? dot_bytes<uint8_t, int8_t> : dot_bytes<uint8_t, uint8_t>);
  });
}

}  // namespace native::emulator
