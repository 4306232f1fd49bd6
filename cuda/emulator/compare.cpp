// setp, set, selp, slct.
#include <cmath>
#include <type_traits>

#include "emulator/lanes.h"
#include "emulator/number.h"

namespace native::emulator {
namespace {

enum Test { kEq, kNe, kLt, kLe, kGt, kGe, kLo, kLs, kHi, kHs, kEqu, kNeu, kLtu, kLeu, kGtu, kGeu, kIsNumber, kIsNan };

// The lanes for which the test holds. Numbers of all types compare as int64_t or double.
template <class T>
uint32_t compare(const T* a, const T* b, int test, uint32_t m) {
  auto lanes = [&](auto holds) {
    uint32_t r = 0;
    each_lane(m, [&](int l) { r |= uint32_t(holds(a[l], b[l])) << l; });
    return r;
  };
  switch (test) {
    case kEq:
      return lanes([](T x, T y) { return x == y; });
    case kNe:
      return lanes([](T x, T y) { return x < y || x > y; });
    case kLt:
    case kLo:
      return lanes([](T x, T y) { return x < y; });
    case kLe:
    case kLs:
      return lanes([](T x, T y) { return x <= y; });
    case kGt:
    case kHi:
      return lanes([](T x, T y) { return x > y; });
    case kGe:
    case kHs:
      return lanes([](T x, T y) { return x >= y; });
    // Those from here on hold for what is no number too, but kIsNumber.
    case kEqu:
      return lanes([](T x, T y) { return !(x < y || x > y); });
    case kNeu:
      return lanes([](T x, T y) { return x != y; });
    case kLtu:
      return lanes([](T x, T y) { return !(x >= y); });
    case kLeu:
      return lanes([](T x, T y) { return !(x > y); });
    case kGtu:
      return lanes([](T x, T y) { return !(x <= y); });
    case kGeu:
      return lanes([](T x, T y) { return !(x < y); });
    case kIsNumber:
      return lanes([](T x, T y) { return !std::isnan(x) && !std::isnan(y); });
    default:
      return lanes([](T x, T y) { return std::isnan(x) || std::isnan(y); });
  }
}
template <class T, class Value>
uint32_t compare_as(const uint64_t* a, const uint64_t* b, int test, uint32_t m, Value value) {
  T x[kLanes], y[kLanes];
  each_lane(m, [&](int l) { x[l] = value(a[l]), y[l] = value(b[l]); });
  return compare(x, y, test, m);
}
template <class T>
uint32_t test_integers(const uint64_t* a, const uint64_t* b, int test, uint32_t m) {
  // 64 bits without a sign keep their order when the top bit is turned.
  constexpr uint64_t kTurned = std::is_same_v<T, uint64_t> ? uint64_t{1} << 63 : 0;
  return compare_as<int64_t>(a, b, test, m, [](uint64_t v) { return int64_t(uint64_t(get<T>(v)) ^ kTurned); });
}
template <class F>
uint32_t test_floats(const uint64_t* a, const uint64_t* b, int test, uint32_t m, F value) {
  return compare_as<double>(a, b, test, m, value);
}
// i.a the test, i.b the type.
uint32_t test(const uint64_t* a, const uint64_t* b, const Instr& i, uint32_t m) {
  const bool flush = i.c & 16;
  switch (static_cast<Type>(i.b)) {
    case Type::S16:
      return test_integers<int16_t>(a, b, i.a, m);
    case Type::S32:
      return test_integers<int32_t>(a, b, i.a, m);
    case Type::S64:
      return test_integers<int64_t>(a, b, i.a, m);
    case Type::B16:
    case Type::U16:
      return test_integers<uint16_t>(a, b, i.a, m);
    case Type::B32:
    case Type::U32:
      return test_integers<uint32_t>(a, b, i.a, m);
    case Type::B64:
    case Type::U64:
      return test_integers<uint64_t>(a, b, i.a, m);
    case Type::F16:
      return test_floats(a, b, i.a, m, [](uint64_t v) { return half_value(uint16_t(v)); });
    case Type::BF16:
      return test_floats(a, b, i.a, m, [](uint64_t v) { return bfloat_value(uint16_t(v)); });
    case Type::F32:
      return test_floats(a, b, i.a, m, [flush](uint64_t v) {
        const float f = get<float>(v);
        return flush && std::fabs(f) < 0x1p-126f ? 0.0 : double(f);
      });
    default:
      return test_floats(a, b, i.a, m, [](uint64_t v) { return get<double>(v); });
  }
}

// i.c: low bits how a further predicate joins (0 none, 1 and, 2 or, 3 xor), 4: it is negated.
void setp(Warp& w, const Instr& i, uint32_t m) {
  const uint32_t holds = test(w.lane(i.s[0]), w.lane(i.s[1]), i, m);
  uint32_t p = holds, q = ~holds;
  if (i.c & 3) {
    const uint32_t other = w.predicates[i.s[2]] ^ (i.c & 4 ? kFull : 0);
    auto join = [&](uint32_t x) { return (i.c & 3) == 1 ? x & other : (i.c & 3) == 2 ? x | other : x ^ other; };
    p = join(p);
    q = join(q);
  }
  for (int n = 0; n < i.nd; ++n) {
    uint32_t& d = w.predicates[i.d[n]];
    d = (d & ~m) | ((n == 0 ? p : q) & m);
  }
}
void set(Warp& w, const Instr& i, uint32_t m) {
  const uint32_t p = test(w.lane(i.s[0]), w.lane(i.s[1]), i, m);
  uint64_t* d = w.lane(i.d[0]);
  const uint64_t yes = i.c & 8 ? put(1.0f) : 0xFFFFFFFFu;
  each_lane(m, [&](int l) { d[l] = p >> l & 1 ? yes : 0; });
}

// Halves alone or in pairs: i.width elements.
double half_of(const Instr& i, uint64_t bits, int element) {
  const auto t = static_cast<Type>(i.b);
  const auto half = uint16_t(bits >> (16 * element));
  if (t == Type::BF16 || t == Type::BF16x2) return bfloat_value(half);
  const double v = half_value(half);
  return (i.c & 16) && std::fabs(v) < 0x1p-14 ? 0.0 : v;
}
bool test_half(const Instr& i, uint64_t a, uint64_t b, int element) {
  const double x = half_of(i, a, element), y = half_of(i, b, element);
  return compare(&x, &y, i.a, 1);
}
// i.offset: what stands for true in each half.
void set_halves(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    uint64_t r = 0;
    for (int e = 0; e < i.width; ++e)
      if (test_half(i, a[l], b[l], e)) r |= uint64_t(i.offset) << (16 * e);
    d[l] = r;
  });
}
// p is of the lower half, q of the upper one.
void setp_halves(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]);
  for (int e = 0; e < i.nd; ++e) {
    uint32_t holds = 0;
    each_lane(m, [&](int l) { holds |= uint32_t(test_half(i, a[l], b[l], e)) << l; });
    uint32_t& d = w.predicates[i.d[e]];
    d = (d & ~m) | holds;
  }
}

int take_test(Decoder& d) {
  const int n = d.take_one({"eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu",
                            "gtu", "geu", "num", "nan"});
  if (n < 0) d.refuse("unknown comparison");
  return n;
}
// Bits are equal or not; unsigned integers have names of their own; only floats may be no numbers.
void check_test(Decoder& d, int test, Type t) {
  const bool is_unsigned = t == Type::U16 || t == Type::U32 || t == Type::U64;
  const bool is_float = is_floating(t) && t != Type::TF32;
  const bool is_integer = t == Type::S16 || t == Type::S32 || t == Type::S64 || is_unsigned;
  if (!is_float && !is_integer && t != Type::B16 && t != Type::B32 && t != Type::B64) d.refuse("no such type");
  const bool fits = test <= kNe ? true : test <= kGe ? is_float || is_integer : test <= kHs ? is_unsigned : is_float;
  if (!fits) d.refuse("no such comparison of this type");
}

void selp(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]);
  uint64_t* d = w.lane(i.d[0]);
  const uint32_t p = w.predicates[i.s[2]] ^ (i.a ? kFull : 0);
  each_lane(m, [&](int l) { d[l] = p >> l & 1 ? a[l] : b[l]; });
  // What is not chosen may never have been written.
  const uint32_t chosen = ((w.valid[i.s[0]] & p) | (w.valid[i.s[1]] & ~p)) & w.valid[i.s[2]];
  w.valid[i.d[0]] = (w.valid[i.d[0]] & ~m) | (chosen & m);
}
void slct(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]), *c = w.lane(i.s[2]);
  uint64_t* d = w.lane(i.d[0]);
  // i.a: by a float; i.b: a subnormal one counts as zero.
  const float least = i.b ? -0x1p-126f : 0.0f;
  auto chooses = [&](uint64_t v) {
    return i.a ? get<float>(v) >= 0 || (i.b && get<float>(v) > least) : get<int32_t>(v) >= 0;
  };
  each_lane(m, [&](int l) { d[l] = chooses(c[l]) ? a[l] : b[l]; });
}

}  // namespace

void add_compare(Opcodes& table) {
  table["setp"] = [](Decoder& d, Instr& i) {
    i.a = take_test(d);
    i.c = d.take_one({"and", "or", "xor"}) + 1;
    if (d.take("ftz")) i.c |= 16;
    const Type t = d.need_type();
    check_test(d, i.a, t);
    i.b = static_cast<int>(t);
    i.kind = is_floating(t) ? Class::Float : Class::Integer;
    d.destination(i, 0, Type::Pred);
    d.second_destination(i);
    d.sources(i, 1, 2, t);
    if (i.c & 3) {
      d.source(i, 3, Type::Pred);
      if (d.operand(3).negated) i.c |= 4;
    }
    i.run = setp;
    if (t == Type::F16x2 || t == Type::BF16x2) {
      if ((i.c & 3) || i.nd != 2) d.refuse("only p|q of a pair is known");
      i.run = setp_halves;
    }
  };
  table["set"] = [](Decoder& d, Instr& i) {
    i.a = take_test(d);
    if (d.take("ftz")) i.c |= 16;
    const Type to = d.need_type(), t = d.need_type();
    check_test(d, i.a, t);
    i.b = static_cast<int>(t);
    i.c |= to == Type::F32 ? 8 : 0;
    i.kind = Class::Integer;
    d.destination(i, 0, to);
    d.sources(i, 1, 2, t);
    const bool pair = t == Type::F16x2 || t == Type::BF16x2, half = t == Type::F16 || t == Type::BF16;
    const bool words = to == Type::U32 || to == Type::S32;
    i.width = pair ? 2 : 1;
    i.offset = to == Type::F16 || to == Type::F16x2 ? 0x3C00 : to == Type::BF16 || to == Type::BF16x2 ? 0x3F80 : 0xFFFF;
    if (pair ? words || to == t : half && (to == t || to == Type::U16 || to == Type::S16))
      i.run = set_halves;
    else
      i.run = !pair && (words || to == Type::F32) ? set : nullptr;
  };
  table["selp"] = [](Decoder& d, Instr& i) {
    const Type t = d.need_type();
    if (bits_of(t) < 16 || bits_of(t) > 64) d.refuse("no such type");
    d.destination(i, 0, t);
    d.sources(i, 1, 2, t);
    d.source(i, 3, Type::Pred);
    i.a = d.operand(3).negated;
    i.keeps_validity = true;
    i.run = selp;
  };
  table["slct"] = [](Decoder& d, Instr& i) {
    i.b = d.take("ftz");
    const Type t = d.need_type(), by = d.need_type();
    if (bits_of(t) < 16 || bits_of(t) > 64) d.refuse("no such type");
    i.a = by == Type::F32;
    d.destination(i, 0, t);
    d.sources(i, 1, 2, t);
    d.source(i, 3, by);
    i.run = i.a || by == Type::S32 ? slct : nullptr;
  };
}

}  // namespace native::emulator
