// atom and red.
#include <algorithm>
#include <cmath>

#include "emulator/lanes.h"
#include "emulator/number.h"

namespace native::emulator {

void take_memory_modifiers(Decoder& d, Instr& i);

namespace {

enum Op { kAdd, kMin, kMax, kAnd, kOr, kXor, kExch, kCas, kInc, kDec };

template <class T>
T combine(int op, T old, T b, T c) {
  switch (op) {
    case kAdd:
      return T(uint64_t(old) + uint64_t(b));  // wraps
    case kMin:
      return std::min(old, b);
    case kMax:
      return std::max(old, b);
    case kExch:
      return b;
    case kCas:
      return old == b ? c : old;
    case kInc:
      return old >= b ? T(0) : T(old + 1);
    case kDec:
      return old == 0 || old > b ? b : T(old - 1);
    default:
      break;
  }
  return old;
}
template <class T>
uint64_t by_type(int op, uint64_t old, uint64_t b, uint64_t c) {
  return put<T>(combine<T>(op, get<T>(old), get<T>(b), get<T>(c)));
}
uint64_t add_halves(uint64_t old, uint64_t b, int elements, bool brain) {
  uint64_t r = 0;
  for (int e = 0; e < elements; ++e) {
    const auto x = uint16_t(old >> (16 * e)), y = uint16_t(b >> (16 * e));
    r |= uint64_t(brain ? to_bfloat(fused_to_odd(bfloat_value(x), 1, bfloat_value(y)))
                        : to_half(fused_to_odd(half_value(x), 1, half_value(y))))
         << (16 * e);
  }
  return r;
}

// In global memory subnormal float32 numbers are zeros, in shared memory they are not.
float add_floats(float old, float b, bool flushes) {
  auto flush = [flushes](float v) { return flushes && std::fabs(v) < 0x1p-126f ? std::copysign(0.0f, v) : v; };
  const float sum = flush(flush(old) + flush(b));
  return std::isnan(sum) ? canonical_nan<float>() : sum;
}

uint64_t apply(int op, Type t, uint64_t old, uint64_t b, uint64_t c, bool global) {
  if (op == kAnd) return old & b;
  if (op == kOr) return old | b;
  if (op == kXor) return old ^ b;
  switch (t) {
    case Type::S32:
      return by_type<int32_t>(op, old, b, c);
    case Type::S64:
      return by_type<int64_t>(op, old, b, c);
    case Type::U64:
    case Type::B64:
      return by_type<uint64_t>(op, old, b, c);
    case Type::F32:
      return put(add_floats(get<float>(old), get<float>(b), global));
    case Type::F64:
      return put(get<double>(old) + get<double>(b));
    case Type::F16:
      return add_halves(old, b, 1, false);
    case Type::F16x2:
      return add_halves(old, b, 2, false);
    case Type::BF16:
      return add_halves(old, b, 1, true);
    case Type::BF16x2:
      return add_halves(old, b, 2, true);
    case Type::B16:
      return by_type<uint16_t>(op, old, b, c);
    default:
      return by_type<uint32_t>(op, old, b, c);
  }
}

// i.b the operation, i.c the type; lanes one after the other.
void atomic(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* base = w.lane(i.s[0]);
  const uint64_t* b = w.lane(i.s[1]);
  const uint64_t* c = i.ns > 2 ? w.lane(i.s[2]) : b;
  uint32_t valid = m;
  each_lane(m, [&](int l) {
    const uint64_t address = base[l] + static_cast<uint64_t>(i.offset);
    const Bytes bytes = touch(w, i.space, l, address, i.width, Use::Write, true);
    for (int k = 0; k < i.width; ++k)
      if (!bytes.written[k]) valid &= ~(1u << l);
    if (!(valid >> l & 1))
      w.report(Fault::Uninitialised, l, address, "an atomic operation on memory that nothing was written to");
    uint64_t old = 0;
    std::memcpy(&old, bytes.data, i.width);
    const uint64_t fresh = apply(i.b, static_cast<Type>(i.c), old, b[l], c[l], bytes.space == ptx::Space::Global);
    std::memcpy(bytes.data, &fresh, i.width);
    if (i.nd) w.lane(i.d[0])[l] = old;
  });
  if (i.nd) w.valid[i.d[0]] |= m;
}

// Which operation exists for which type.
bool has(int op, Type t) {
  constexpr Type kIntegers[] = {Type::U32, Type::S32, Type::U64, Type::S64}, kBits[] = {Type::B32, Type::B64};
  auto among = [t](const auto& list) { return std::find(std::begin(list), std::end(list), t) != std::end(list); };
  switch (op) {
    case kAdd:
      return (is_floating(t) && t != Type::TF32) || (among(kIntegers) && t != Type::S64);
    case kMin:
    case kMax:
      return among(kIntegers);
    case kInc:
    case kDec:
      return t == Type::U32;
    case kCas:
      return among(kBits) || t == Type::B16;
    default:
      return among(kBits);
  }
}

void build(Decoder& d, Instr& i) {
  const bool returns = d.text().name == "atom";
  take_memory_modifiers(d, i);
  d.take("acq_rel");
  d.take("noftz");
  i.b = d.take_one({"add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"});
  if (i.b < 0) d.refuse("unknown operation");
  const Type t = d.need_type();
  if (!has(i.b, t)) d.refuse("no such operation on this type");
  if (i.space != ptx::Space::Generic && i.space != ptx::Space::Global && i.space != ptx::Space::Shared)
    d.refuse("atomic operations are on global or shared memory");
  i.c = static_cast<int>(t);
  i.width = static_cast<uint8_t>(bits_of(t) / 8);
  size_t n = 0;
  if (returns) d.destination(i, n++, t);
  d.address(i, n++);
  d.sources(i, n, i.b == kCas ? 2 : 1, t);
  i.kind = Class::Atomic;
  i.strict = i.ns;
  i.keeps_validity = true;
  i.run = atomic;
}

}  // namespace

void add_atomic(Opcodes& table) { table["atom"] = table["red"] = build; }

}  // namespace native::emulator
