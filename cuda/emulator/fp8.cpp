// cvt from and to pairs of 8-bit floats.
#include <algorithm>
#include <cmath>

#include "emulator/lanes.h"
#include "emulator/number.h"

namespace native::emulator {
namespace {

struct Format {
  int fraction, least;  // bits, exponent of the smallest normal number
  double most;
  int infinity;  // exponent bits all ones and no fraction; -1 if there is none
};
constexpr Format kE4M3{3, -6, 448, -1}, kE5M2{2, -14, 57344, 0x7C};
constexpr uint8_t kNan = 0x7F;

const Format& format(const Instr& i) { return i.a ? kE5M2 : kE4M3; }

double value_of(uint8_t bits, const Format& f) {
  const int magnitude = bits & 0x7F, exponent = magnitude >> f.fraction, fraction = magnitude & ((1 << f.fraction) - 1);
  double v;
  if (magnitude == f.infinity)
    v = std::numeric_limits<double>::infinity();
  else if (magnitude > (f.infinity < 0 ? kNan - 1 : f.infinity))
    return std::numeric_limits<double>::quiet_NaN();
  else if (exponent == 0)
    v = std::ldexp(fraction, f.least - f.fraction);
  else
    v = std::ldexp(fraction + (1 << f.fraction), f.least - f.fraction + exponent - 1);
  return bits & 0x80 ? -v : v;
}

// To nearest even; what is larger than the largest becomes that.
uint8_t bits_of_value(double v, const Format& f, bool relu) {
  if (std::isnan(v)) return kNan;
  if (relu && !(v > 0)) return 0;
  const uint8_t sign = std::signbit(v) ? 0x80 : 0;
  const double a = std::min(std::fabs(v), f.most);
  if (a == 0) return sign;
  const int exponent = std::max(std::ilogb(a), f.least);
  // In units of the last place: the exponent's field is one more for each doubling.
  const int scaled = static_cast<int>(std::nearbyint(std::ldexp(a, f.fraction - exponent)));
  return sign | static_cast<uint8_t>(scaled + ((exponent - f.least) << f.fraction));
}

void from_singles(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    d[l] = uint64_t{bits_of_value(get<float>(a[l]), format(i), i.c)} << 8 |
           bits_of_value(get<float>(b[l]), format(i), i.c);
  });
}
void from_halves(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) {
    d[l] = uint64_t{bits_of_value(half_value(uint16_t(a[l] >> 16)), format(i), i.c)} << 8 |
           bits_of_value(half_value(uint16_t(a[l])), format(i), i.c);
  });
}
void to_halves(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  uint64_t* d = w.lane(i.d[0]);
  auto half = [&](uint8_t bits) {
    const double v = value_of(bits, format(i));
    return uint64_t{to_half(i.c && !(v > 0) && !std::isnan(v) ? 0.0 : v)};
  };
  each_lane(m, [&](int l) { d[l] = half(uint8_t(a[l] >> 8)) << 16 | half(uint8_t(a[l])); });
}

}  // namespace

// False if it is no such conversion.
bool build_fp8(Decoder& d, Instr& i) {
  const auto& modifiers = d.text().modifiers;
  const auto at = [&](const char* name) { return std::find(modifiers.begin(), modifiers.end(), name); };
  const auto place = std::min(at("e4m3x2"), at("e5m2x2"));
  if (place == modifiers.end()) return false;
  const bool narrows = std::any_of(place, modifiers.end(), [](const auto& m) { return type_from(m) != Type::None; });
  i.a = d.take_one({"e4m3x2", "e5m2x2"});
  const Type other = d.need_type();
  if (d.take_rounding() != Rounding::Nearest || (narrows && !d.take("satfinite"))) d.refuse("needs .rn and .satfinite");
  if (other != Type::F16x2 && !(narrows && other == Type::F32)) d.refuse("no such pair of types");
  i.c = d.take("relu");
  i.kind = Class::Convert;
  d.destination(i, 0, narrows ? Type::B16 : Type::F16x2);
  d.sources(i, 1, narrows && other == Type::F32 ? 2 : 1, narrows ? other : Type::B16);
  i.run = !narrows ? to_halves : other == Type::F32 ? from_singles : from_halves;
  return true;
}

}  // namespace native::emulator
