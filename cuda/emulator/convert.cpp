// cvt: between integers, between floating types, and between the two.
#include <algorithm>
#include <cmath>
#include <limits>

#include "emulator/lanes.h"
#include "emulator/number.h"

namespace native::emulator {
namespace {

struct Form {  // packed into Instr::a, b, c
  Type to, from;
  bool saturate, flush, relu, integral;  // integral: float to float, rounded to a whole number
};
Form form(const Instr& i) {
  return {static_cast<Type>(i.a), static_cast<Type>(i.b), (i.c & 1) != 0,
          (i.c & 2) != 0,         (i.c & 4) != 0,         (i.c & 8) != 0};
}

// Of the result's register.
uint64_t kept_bits(const Instr& i) { return i.bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << i.bits) - 1; }

__int128 integer_from(Type t, uint64_t bits) {
  switch (t) {
    case Type::S8:
      return int8_t(bits);
    case Type::S16:
      return int16_t(bits);
    case Type::S32:
      return int32_t(bits);
    case Type::S64:
      return int64_t(bits);
    case Type::U8:
      return uint8_t(bits);
    case Type::U16:
      return uint16_t(bits);
    case Type::U32:
      return uint32_t(bits);
    default:
      return bits;
  }
}
double float_from(Type t, uint64_t bits) {
  switch (t) {
    case Type::F16:
      return half_value(uint16_t(bits));
    case Type::BF16:
      return bfloat_value(uint16_t(bits));
    case Type::F32:
      return get<float>(bits);
    default:
      return get<double>(bits);
  }
}

uint64_t saturated(Type t, __int128 v) {
  const __int128 top = (__int128(1) << (bits_of(t) - is_signed(t))) - 1, low = is_signed(t) ? -top - 1 : 0;
  return uint64_t(v < low ? low : v > top ? top : v);
}

double to_whole(double v, uint8_t rounding) {
  switch (static_cast<Rounding>(rounding)) {
    case Rounding::Zero:
      return std::trunc(v);
    case Rounding::Down:
      return std::floor(v);
    case Rounding::Up:
      return std::ceil(v);
    default:
      return std::nearbyint(v);
  }
}

// Out of range is clamped. NaN is 0, or the top bit alone where 64 bits take part.
uint64_t float_to_integer(const Form& f, double v, uint8_t rounding) {
  const int bits = bits_of(f.to);
  if (std::isnan(v)) return f.from == Type::F64 || bits == 64 ? uint64_t{1} << (bits - 1) : 0;
  v = to_whole(v, rounding);
  const double top = std::ldexp(1.0, bits - is_signed(f.to)), low = is_signed(f.to) ? -top : 0;
  if (v >= top) return (uint64_t{1} << (bits - 1 - is_signed(f.to))) * 2 - 1;
  if (v <= low) return is_signed(f.to) ? uint64_t(0) - (uint64_t{1} << (bits - 1)) : 0;
  return v < 0 ? uint64_t(int64_t(v)) : uint64_t(v);
}

uint64_t to_float(const Form& f, double v, uint8_t rounding) {
  if (f.relu && !(v > 0) && !std::isnan(v)) v = 0;
  if (f.saturate) v = v > 0 ? std::min(v, 1.0) : 0;
  const auto r = static_cast<Rounding>(rounding);
  switch (f.to) {
    case Type::F16:
      return to_half(v, r);
    case Type::BF16:
      return to_bfloat(v, r);
    case Type::TF32:
      return to_tf32(static_cast<float>(v), r);
    case Type::F32: {
      RoundingMode mode(rounding);
      volatile double wide = v;  // the cast must happen in this rounding mode
      float narrow = static_cast<float>(wide);
      if (std::isnan(narrow)) narrow = canonical_nan<float>();
      if (f.flush && std::fabs(narrow) < std::numeric_limits<float>::min()) narrow = std::copysign(0.0f, narrow);
      return put(narrow);
    }
    default:
      return put(v);
  }
}

// 64-bit integers do not fit a double: they go to the target in one rounding.
uint64_t integer_to_float(const Form& f, __int128 v, uint8_t rounding) {
  if (f.to == Type::F32 || f.to == Type::F64) {
    if (f.saturate) v = v > 0 ? 1 : 0;
    RoundingMode mode(rounding);
    volatile int64_t s = static_cast<int64_t>(v);
    volatile uint64_t u = static_cast<uint64_t>(v);
    if (f.to == Type::F64) return put(v < 0 ? static_cast<double>(s) : static_cast<double>(u));
    return put(v < 0 ? static_cast<float>(s) : static_cast<float>(u));
  }
  // Beyond 2^53 lies beyond every half; a bfloat needs the lost bits only as one sticky bit.
  double d = static_cast<double>(v);
  const __int128 rest = v - static_cast<__int128>(d);
  if (rest != 0) {
    uint64_t bits = put(d);
    if ((rest < 0) == (d > 0)) --bits;
    d = get<double>(bits | 1);
  }
  return to_float(f, d, rounding);
}

// Between integers, without saturation: as the source's type, then as the result's.
struct Extension {
  int unused;
  bool is_signed;

  explicit Extension(Type t) : unused(64 - bits_of(t)), is_signed(emulator::is_signed(t)) {}
  uint64_t operator()(uint64_t bits) const {
    bits <<= unused;
    return is_signed ? uint64_t(int64_t(bits) >> unused) : bits >> unused;
  }
};
void resize(Warp& w, const Instr& i, uint32_t m) {
  const Extension from(static_cast<Type>(i.b)), to(static_cast<Type>(i.a));
  const uint64_t* s = w.lane(i.s[0]);
  uint64_t* d = w.lane(i.d[0]);
  const uint64_t keep = kept_bits(i);
  each_lane(m, [&](int l) { d[l] = to(from(s[l])) & keep; });
}

void cvt(Warp& w, const Instr& i, uint32_t m) {
  const Form f = form(i);
  const uint64_t* s = w.lane(i.s[0]);
  uint64_t* d = w.lane(i.d[0]);
  const uint64_t keep = kept_bits(i);
  each_lane(m, [&](int l) {
    uint64_t r;
    if (!is_floating(f.from)) {
      const __int128 v = integer_from(f.from, s[l]);
      // A result narrower than its register is extended by its own sign.
      r = is_floating(f.to) ? integer_to_float(f, v, i.rounding) : uint64_t(integer_from(f.to, saturated(f.to, v)));
    } else {
      double v = float_from(f.from, s[l]);
      if (f.flush && f.from == Type::F32 && std::fabs(v) < std::numeric_limits<float>::min()) v = std::copysign(0.0, v);
      if (!is_floating(f.to))
        r = uint64_t(integer_from(f.to, float_to_integer(f, v, i.rounding)));
      else
        r = to_float(f, f.integral ? to_whole(v, i.rounding) : v, f.integral ? 0 : i.rounding);
    }
    d[l] = r & keep;
  });
}

// cvt.rn.bf16x2.f32 d, a, b: a is the upper half.
void cvt_pair(Warp& w, const Instr& i, uint32_t m) {
  Form f = form(i);
  f.to = f.to == Type::F16x2 ? Type::F16 : Type::BF16;
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    d[l] = to_float(f, get<float>(a[l]), i.rounding) << 16 | to_float(f, get<float>(b[l]), i.rounding);
  });
}

void check_types(Decoder& d, Type to, Type from) {
  auto one_of = [](Type t, std::initializer_list<Type> list) {
    return std::find(list.begin(), list.end(), t) != list.end();
  };
  const auto integers = {Type::U8, Type::U16, Type::U32, Type::U64, Type::S8, Type::S16, Type::S32, Type::S64};
  const auto floats = {Type::F16, Type::BF16, Type::F32, Type::F64};
  const bool narrow = one_of(to, {Type::TF32, Type::F16x2, Type::BF16x2});
  const bool fits =
      narrow ? from == Type::F32
             : (one_of(to, integers) || one_of(to, floats)) && (one_of(from, integers) || one_of(from, floats));
  if (!fits) d.refuse("no such pair of types");
}

}  // namespace

// Pairs of 8-bit floats (fp8.cpp).
bool build_fp8(Decoder& d, Instr& i);

void add_convert(Opcodes& table) {
  table["cvt"] = [](Decoder& d, Instr& i) {
    if (build_fp8(d, i)) return;
    const int whole = d.take_one({"rni", "rzi", "rmi", "rpi"});
    i.rounding = static_cast<uint8_t>(whole >= 0 ? whole : static_cast<int>(d.take_rounding()));
    i.c = (d.take("sat") ? 1 : 0) | (d.take("ftz") ? 2 : 0) | (d.take("relu") ? 4 : 0);
    const Type to = d.need_type(), from = d.need_type();
    if (whole >= 0 && is_floating(to) && is_floating(from)) i.c |= 8;
    i.a = static_cast<int>(to);
    i.b = static_cast<int>(from);
    i.kind = Class::Convert;
    check_types(d, to, from);
    const bool pair = to == Type::F16x2 || to == Type::BF16x2;
    d.allow_wider();
    d.destination(i, 0, to);
    d.sources(i, 1, pair ? 2 : 1, from);
    const bool whole_numbers = !is_floating(to) && !is_floating(from);
    i.run = pair ? cvt_pair : whole_numbers && !(i.c & 1) ? resize : cvt;
  };
}

}  // namespace native::emulator
