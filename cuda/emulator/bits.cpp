// Bits: logic, shifts, fields, counts, permutations. Predicates take part in the logic.
#include "emulator/lanes.h"

namespace native::emulator {
namespace {

struct And {
  template <class T>
  static T run(T a, T b) {
    return a & b;
  }
};
struct Or {
  template <class T>
  static T run(T a, T b) {
    return a | b;
  }
};
struct Xor {
  template <class T>
  static T run(T a, T b) {
    return a ^ b;
  }
};
struct Not {
  template <class T>
  static T run(T a) {
    return T(~a);
  }
};
struct Cnot {
  template <class T>
  static T run(T a) {
    return a == 0;
  }
};
// Counts above the width are clamped.
struct ShiftLeft {
  template <class T>
  static T run(T a, uint32_t n) {
    return n >= 8 * sizeof(T) ? T(0) : T(a << n);
  }
};
struct ShiftRight {
  template <class T>
  static T run(T a, uint32_t n) {
    constexpr uint32_t kBits = 8 * sizeof(T);
    return n >= kBits ? T(a >> (kBits - 1) >> (T(-1) < T(0) ? 0 : 1)) : T(a >> n);
  }
};
struct Popc {
  template <class T>
  static uint32_t run(T a) {
    return std::popcount(a);
  }
};
struct Clz {
  template <class T>
  static uint32_t run(T a) {
    return std::countl_zero(a);
  }
};
struct Brev {
  template <class T>
  static T run(T a) {
    T r = 0;
    for (unsigned k = 0; k < 8 * sizeof(T); ++k) r |= T((a >> k) & 1) << (8 * sizeof(T) - 1 - k);
    return r;
  }
};
// Position of the highest bit that differs from the sign; all ones if there is none.
template <class T>
uint32_t find_bit(T a, bool is_signed) {
  using U = std::make_unsigned_t<T>;
  U bits = is_signed && a < 0 ? U(~a) : U(a);
  return bits == 0 ? 0xFFFFFFFFu : 8 * sizeof(T) - 1 - std::countl_zero(bits);
}

template <class T, class Op>
void shift(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) { d[l] = put<T>(Op::run(get<T>(a[l]), uint32_t(b[l]))); });
}

template <class Op>
void predicate_logic(Warp& w, const Instr& i, uint32_t m) {
  uint32_t& d = w.predicates[i.d[0]];
  // i.a, i.b: which operands are negated.
  const uint32_t a = w.predicates[i.s[0]] ^ (i.a ? kFull : 0), b = w.predicates[i.s[1]] ^ (i.b ? kFull : 0);
  d = (d & ~m) | (Op::run(a, b) & m);
}
void predicate_not(Warp& w, const Instr& i, uint32_t m) {
  uint32_t& d = w.predicates[i.d[0]];
  d = (d & ~m) | (~(w.predicates[i.s[0]] ^ (i.a ? kFull : 0)) & m);
}

template <class Op>
void logic(Decoder& d, Instr& i) {
  const Type t = d.need_type();
  i.kind = Class::Integer;
  if (t != Type::Pred && t != Type::B16 && t != Type::B32 && t != Type::B64) d.refuse("no such type");
  d.destination(i, 0, t);
  d.sources(i, 1, 2, t);
  if (t == Type::Pred) {
    i.a = d.operand(1).negated;
    i.b = d.operand(2).negated;
    i.run = predicate_logic<Op>;
  } else {
    i.run = binary<uint64_t, uint64_t, Op>;
  }
}

// Of an operand of 32 or 64 bits, whose result has 32, or as many.
template <class Op, bool Narrow>
void of_words(Decoder& d, Instr& i) {
  const Type t = d.need_type();
  i.kind = Class::Integer;
  d.destination(i, 0, Narrow ? Type::B32 : t);
  d.source(i, 1, t);
  using R64 = std::conditional_t<Narrow, uint32_t, uint64_t>;
  i.run = t == Type::B64 ? unary<R64, uint64_t, Op> : t == Type::B32 ? unary<uint32_t, uint32_t, Op> : nullptr;
}

template <class T>
void bfe(Warp& w, const Instr& i, uint32_t m) {
  constexpr int kBits = 8 * sizeof(T);
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]), *c = w.lane(i.s[2]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    const T value = get<T>(a[l]);
    const int from = int(b[l] & 0xFF), length = int(c[l] & 0xFF);
    const bool is_signed = T(-1) < T(0);
    const int top = std::min(from + length - 1, kBits - 1);
    const bool fill = is_signed && length > 0 && (uint64_t(value) >> top & 1);
    uint64_t r = 0;
    for (int k = 0; k < kBits; ++k) {
      const bool bit = k < length && from + k < kBits ? (uint64_t(value) >> (from + k) & 1) : fill;
      r |= uint64_t(bit) << k;
    }
    d[l] = put<T>(T(r));
  });
}
template <class T>
void bfi(Warp& w, const Instr& i, uint32_t m) {
  constexpr int kBits = 8 * sizeof(T);
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]), *c = w.lane(i.s[2]), *e = w.lane(i.s[3]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    const int from = int(c[l] & 0xFF), length = int(e[l] & 0xFF);
    T r = get<T>(b[l]);
    for (int k = 0; k < length && from + k < kBits; ++k) {
      const T bit = T(1) << (from + k);
      r = (get<T>(a[l]) >> k & 1) ? T(r | bit) : T(r & ~bit);
    }
    d[l] = put<T>(r);
  });
}
template <class T>
void bfind(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    uint32_t r = find_bit(get<T>(a[l]), T(-1) < T(0));
    if (i.a && r != 0xFFFFFFFFu) r = 8 * sizeof(T) - 1 - r;  // .shiftamt
    d[l] = r;
  });
}

void prmt(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]), *c = w.lane(i.s[2]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    const uint64_t bytes = (b[l] << 32) | uint32_t(a[l]);
    uint32_t r = 0;
    for (int k = 0; k < 4; ++k) {
      const int pick = int(c[l] >> (4 * k) & 0xF);
      uint8_t byte = uint8_t(bytes >> (8 * (pick & 7)));
      if (pick & 8) byte = byte & 0x80 ? 0xFF : 0;  // the sign of the byte
      r |= uint32_t(byte) << (8 * k);
    }
    d[l] = r;
  });
}
void lop3(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]), *c = w.lane(i.s[2]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    uint32_t r = 0;
    for (int k = 0; k < 8; ++k)
      if (i.a >> k & 1)
        r |= uint32_t(k & 4 ? a[l] : ~a[l]) & uint32_t(k & 2 ? b[l] : ~b[l]) & uint32_t(k & 1 ? c[l] : ~c[l]);
    d[l] = r;
  });
}
// The funnel: i.a right, i.b wrap instead of clamp.
void shf(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]), *c = w.lane(i.s[2]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    const uint32_t n = i.b ? uint32_t(c[l]) & 31 : std::min<uint32_t>(uint32_t(c[l]), 32);
    const uint64_t both = (b[l] << 32) | uint32_t(a[l]);
    d[l] = uint32_t(i.a ? (both >> n) : ((n == 32 ? both << 31 << 1 : both << n) >> 32));
  });
}

void three_words(Decoder& d, Instr& i) {
  if (d.need_type() != Type::B32) d.refuse("no such type");
  d.destination(i, 0, Type::B32);
  d.sources(i, 1, 3, Type::B32);
}

}  // namespace

void add_bits(Opcodes& table) {
  table["and"] = logic<And>;
  table["or"] = logic<Or>;
  table["xor"] = logic<Xor>;
  table["not"] = [](Decoder& d, Instr& i) {
    const Type t = d.need_type();
    i.kind = Class::Integer;
    d.destination(i, 0, t);
    d.source(i, 1, t);
    i.a = d.operand(1).negated;
    i.run = t == Type::Pred  ? predicate_not
            : t == Type::B64 ? unary<uint64_t, uint64_t, Not>
            : t == Type::B32 ? unary<uint32_t, uint32_t, Not>
            : t == Type::B16 ? unary<uint16_t, uint16_t, Not>
                             : nullptr;
  };
  table["cnot"] = [](Decoder& d, Instr& i) {
    const Type t = d.need_type();
    i.kind = Class::Integer;
    d.destination(i, 0, t);
    d.source(i, 1, t);
    i.run = t == Type::B16 || t == Type::B32 || t == Type::B64 ? unary<uint64_t, uint64_t, Cnot> : nullptr;
  };
  table["shl"] = [](Decoder& d, Instr& i) {
    const Type t = d.need_type();
    i.kind = Class::Integer;
    d.destination(i, 0, t);
    d.source(i, 1, t);
    d.source(i, 2, Type::B32);
    i.run = t == Type::B64   ? shift<uint64_t, ShiftLeft>
            : t == Type::B32 ? shift<uint32_t, ShiftLeft>
            : t == Type::B16 ? shift<uint16_t, ShiftLeft>
                             : nullptr;
  };
  table["shr"] = [](Decoder& d, Instr& i) {
    const Type t = d.need_type();
    i.kind = Class::Integer;
    d.destination(i, 0, t);
    d.source(i, 1, t);
    d.source(i, 2, Type::B32);
    switch (t) {
      case Type::S64:
        i.run = shift<int64_t, ShiftRight>;
        break;
      case Type::S32:
        i.run = shift<int32_t, ShiftRight>;
        break;
      case Type::S16:
        i.run = shift<int16_t, ShiftRight>;
        break;
      case Type::U64:
      case Type::B64:
        i.run = shift<uint64_t, ShiftRight>;
        break;
      case Type::U32:
      case Type::B32:
        i.run = shift<uint32_t, ShiftRight>;
        break;
      case Type::U16:
      case Type::B16:
        i.run = shift<uint16_t, ShiftRight>;
        break;
      default:
        break;
    }
  };
  table["popc"] = of_words<Popc, true>;
  table["clz"] = of_words<Clz, true>;
  table["brev"] = of_words<Brev, false>;
  table["bfind"] = [](Decoder& d, Instr& i) {
    i.a = d.take("shiftamt");
    const Type t = d.need_type();
    i.kind = Class::Integer;
    d.destination(i, 0, Type::B32);
    d.source(i, 1, t);
    i.run = t == Type::S64   ? bfind<int64_t>
            : t == Type::U64 ? bfind<uint64_t>
            : t == Type::S32 ? bfind<int32_t>
            : t == Type::U32 ? bfind<uint32_t>
                             : nullptr;
  };
  table["bfe"] = [](Decoder& d, Instr& i) {
    const Type t = d.need_type();
    i.kind = Class::Integer;
    d.destination(i, 0, t);
    d.source(i, 1, t);
    d.sources(i, 2, 2, Type::B32);
    i.run = t == Type::S64   ? bfe<int64_t>
            : t == Type::U64 ? bfe<uint64_t>
            : t == Type::S32 ? bfe<int32_t>
            : t == Type::U32 ? bfe<uint32_t>
                             : nullptr;
  };
  table["bfi"] = [](Decoder& d, Instr& i) {
    const Type t = d.need_type();
    i.kind = Class::Integer;
    d.destination(i, 0, t);
    d.sources(i, 1, 2, t);
    d.sources(i, 3, 2, Type::B32);
    i.run = t == Type::B64 ? bfi<uint64_t> : t == Type::B32 ? bfi<uint32_t> : nullptr;
  };
  table["prmt"] = [](Decoder& d, Instr& i) {
    i.kind = Class::Integer;
    three_words(d, i);
    i.run = prmt;
  };
  table["lop3"] = [](Decoder& d, Instr& i) {
    i.kind = Class::Integer;
    three_words(d, i);
    i.a = static_cast<int>(d.immediate(4));
    i.run = lop3;
  };
  table["shf"] = [](Decoder& d, Instr& i) {
    i.a = d.take_one({"l", "r"});
    i.b = d.take_one({"clamp", "wrap"});
    if (i.a < 0 || i.b < 0) d.refuse("direction or mode is missing");
    i.kind = Class::Integer;
    three_words(d, i);
    i.run = shf;
  };
}

}  // namespace native::emulator
