// Loops over lanes, and values in 64-bit slots.
#pragma once

#include <bit>
#include <cfenv>
#include <cstdint>
#include <cstring>

#include "emulator/decode.h"

namespace native::emulator {

template <class T>
T get(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
// Small values leave the rest of the slot zero.
template <class T>
uint64_t put(T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

template <class Body>
inline void each_lane(uint32_t m, Body body) {
  if (m == kFull) {
    for (int l = 0; l < kLanes; ++l) body(l);
    return;
  }
  for (; m; m &= m - 1) body(std::countr_zero(m));
}

// Arithmetic in another rounding mode while this lives.
class RoundingMode {
 public:
  explicit RoundingMode(uint8_t mode) : changed_(mode != 0) {
    constexpr int kModes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD, FE_TONEAREST};
    if (changed_) std::fesetround(kModes[mode]);
  }
  ~RoundingMode() {
    if (changed_) std::fesetround(FE_TONEAREST);
  }
  RoundingMode(const RoundingMode&) = delete;
  RoundingMode& operator=(const RoundingMode&) = delete;

 private:
  bool changed_;
};

template <class R, class T, class Op>
void unary(Warp& w, const Instr& i, uint32_t m) {
  RoundingMode mode(i.rounding);
  const uint64_t* a = w.lane(i.s[0]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) { d[l] = put<R>(Op::run(get<T>(a[l]))); });
}
template <class R, class T, class Op>
void binary(Warp& w, const Instr& i, uint32_t m) {
  RoundingMode mode(i.rounding);
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) { d[l] = put<R>(Op::run(get<T>(a[l]), get<T>(b[l]))); });
}
template <class R, class T, class Op, class C = R>
void ternary(Warp& w, const Instr& i, uint32_t m) {
  RoundingMode mode(i.rounding);
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]), *c = w.lane(i.s[2]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) { d[l] = put<R>(Op::run(get<T>(a[l]), get<T>(b[l]), get<C>(c[l]))); });
}

}  // namespace native::emulator
