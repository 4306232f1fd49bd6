// The links of chains. Each is compiled to its loads and arithmetic on kKept vectors and one jump to the next link:
// the vectors are arguments, which the calling convention passes in registers.
#include "kernels/elementwise/chains.h"

#include "kernels/elementwise/arithmetic.simd.h"
#include "simd/element.h"

namespace native {
namespace NATIVE_ISA {
namespace {

using V = vf32;  // whatever the class, of 4 bytes: bits
constexpr int kKept = 4;
constexpr int kAtOnce = kKept * kLanes<float>;
static_assert(kChainUnit % kAtOnce == 0 || kVecBytes > 64);

// `at`: bytes from the beginning of the tiles.
#define NATIVE_LINK V v0, V v1, V v2, V v3, const Link *link, char *const *reg, int64_t at
using Work = void (*)(NATIVE_LINK);

[[gnu::always_inline]] inline void go_on(NATIVE_LINK) {
  reinterpret_cast<Work>(link[1].work)(v0, v1, v2, v3, link + 1, reg, at);
}

struct Operand {
  const float* p;
  V operator[](int i) const { return native::load(p + i * kLanes<float>); }
};
[[gnu::always_inline]] inline Operand operand(char* const* reg, int r, int64_t at) {
  return {reinterpret_cast<const float*>(reg[r] + at)};
}

template <class T, class Op>
struct Unary {
  static V apply(V x, V, V, float) { return (V)Op::apply((Vec<T>)x); }
};
template <class T, class Op>
struct Binary {
  static V apply(V x, V y, V, float) { return (V)Op::apply((Vec<T>)x, (Vec<T>)y); }
};
template <class T, class Op>
struct Ternary {
  static V apply(V x, V y, V z, float) { return (V)Op::apply((Vec<T>)x, (Vec<T>)y, (Vec<T>)z); }
};
template <class Op>
struct Immediate {
  static V apply(V x, V, V, float s) { return Op::apply(x, splat(s)); }
};
struct Select {
  static V apply(V condition, V x, V y, float) { return (vi32)condition != 0 ? x : y; }
};
struct ToFloat {
  static V apply(V x, V, V, float) { return __builtin_convertvector((vi32)x, vf32); }
};

// Half to even; what has no fraction stays.
struct RoundToWhole {
  static V apply(V x, V, V, float) {
    const vu32 sign = (vu32)x & 0x80000000u;
    const V magnitude = (V)((vu32)x & 0x7fffffffu), whole = (magnitude + 0x1p23f) - 0x1p23f;
    return (V)((vu32)(magnitude < 0x1p23f ? whole : magnitude) | sign);
  }
};
struct ToInteger {
  static V apply(V x, V, V, float) { return (V) __builtin_convertvector(x, vi32); }
};
template <int bits, bool is_signed>
struct Wrap {
  static V apply(V x, V, V, float) {
    const vu32 high = (vu32)x << (32 - bits);
    return is_signed ? (V)((vi32)high >> (32 - bits)) : (V)(high >> (32 - bits));
  }
};
struct RoundToBFloat {
  static V apply(V x, V, V, float) { return widen(narrow(x, BFloat{}), BFloat{}); }
};

template <class Op, int operands, int kept>
[[gnu::flatten]] void operation(NATIVE_LINK) {
  const float s = link->immediate;
  if constexpr (operands == 1) {
    go_on(Op::apply(v0, v0, v0, s), Op::apply(v1, v1, v1, s), Op::apply(v2, v2, v2, s), Op::apply(v3, v3, v3, s), link,
          reg, at);
    return;
  }
  const Operand a = operand(reg, link->a, at & link->mask_a);
  const Operand b = operands == 3 ? operand(reg, link->b, at & link->mask_b) : a;
  const auto one = [&](V v, int i) __attribute__((always_inline)) {
    if constexpr (kept == 0)
      return Op::apply(v, a[i], b[i], s);
    else if constexpr (kept == 1)
      return Op::apply(a[i], v, b[i], s);
    else
      return Op::apply(a[i], b[i], v, s);
  };
  go_on(one(v0, 0), one(v1, 1), one(v2, 2), one(v3, 3), link, reg, at);
}

void load(V, V, V, V, const Link* link, char* const* reg, int64_t at) {
  const Operand a = operand(reg, link->a, at & link->mask_a);
  go_on(a[0], a[1], a[2], a[3], link, reg, at);
}
void store(NATIVE_LINK) {
  auto* out = reinterpret_cast<float*>(reg[link->a] + at);
  native::store(out, v0);
  native::store(out + kLanes<float>, v1);
  native::store(out + 2 * kLanes<float>, v2);
  native::store(out + 3 * kLanes<float>, v3);
  go_on(v0, v1, v2, v3, link, reg, at);
}
void end(V, V, V, V, const Link*, char* const*, int64_t) {}

// By operation and which operand is kept.
struct Works {
  Work floats[kOpcodeCount][3], bools[kOpcodeCount][3];
};

template <class Op, int operands>
constexpr void set(Work (&row)[3]) {
  row[0] = operation<Op, operands, 0>;
  if constexpr (operands > 1) row[1] = operation<Op, operands, 1>;
  if constexpr (operands > 2) row[2] = operation<Op, operands, 2>;
}

constexpr Works make_works() {
  Works works{};
#define ROW(table, code) works.table[static_cast<int>(Opcode::code)]
#define UNARY(code, Op) set<Unary<float, Op>, 1>(ROW(floats, code))
#define BINARY(code, Op) set<Binary<float, Op>, 2>(ROW(floats, code))
  UNARY(neg, Neg);
  UNARY(abs, Magnitude);
  UNARY(square, Square);
  UNARY(reciprocal, Reciprocal);
  UNARY(sqrt, Sqrt);
  UNARY(rsqrt, Rsqrt);
  UNARY(relu, Relu);
  UNARY(relu6, Relu6);
  UNARY(softsign, Softsign);
  UNARY(hard_sigmoid, SixthOfRelu6);
  UNARY(hard_silu, HardSilu);
  BINARY(add, Add);
  BINARY(sub, Sub);
  BINARY(mul, Mul);
  BINARY(div, Div);
  BINARY(maximum, Maximum);
  BINARY(minimum, Minimum);
  BINARY(eq, Eq);
  BINARY(ne, Ne);
  BINARY(lt, Lt);
  BINARY(le, Le);
  BINARY(gt, Gt);
  BINARY(ge, Ge);
  set<Immediate<LeakyRelu>, 1>(ROW(floats, leaky_relu));
  set<Ternary<float, Fma>, 3>(ROW(floats, fma));
  set<Ternary<float, Clip>, 3>(ROW(floats, clip));
  set<Select, 3>(ROW(floats, select));
  set<Unary<int32_t, LogicalNot>, 1>(ROW(bools, logical_not));
  set<Binary<int32_t, And>, 2>(ROW(bools, logical_and));
  set<Binary<int32_t, Or>, 2>(ROW(bools, logical_or));
  set<Binary<int32_t, Xor>, 2>(ROW(bools, logical_xor));
  set<ToFloat, 1>(ROW(bools, to_f32));
  set<RoundToBFloat, 1>(ROW(floats, round_bf16));
  set<RoundToWhole, 1>(ROW(floats, round));
  set<ToInteger, 1>(ROW(floats, to_i32));
  set<Wrap<8, true>, 1>(ROW(bools, wrap_i8));
  set<Wrap<8, false>, 1>(ROW(bools, wrap_u8));
  set<Wrap<16, true>, 1>(ROW(bools, wrap_i16));
  set<Wrap<16, false>, 1>(ROW(bools, wrap_u16));
#undef BINARY
#undef UNARY
#undef ROW
  return works;
}
constexpr Works works = make_works();

using Opaque = void (*)();

Work work_of(LinkKind kind, Opcode code, Class operands, int kept) {
  switch (kind) {
    case LinkKind::Load:
      return load;
    case LinkKind::Store:
      return store;
    case LinkKind::End:
      return end;
    default:
      if (operands != Class::F32 && operands != Class::I32) return nullptr;
      return (operands == Class::F32 ? works.floats : works.bools)[static_cast<int>(code)][kept];
  }
}
bool bind(Link* link, Opcode code, Class operands, int kept) {
  link->work = reinterpret_cast<Opaque>(work_of(link->kind, code, operands, kept));
  return link->work != nullptr;
}

// Compilers clear the upper halves of vectors before they return to code that has none, but not behind calls whose
// arguments are vectors; there the next instruction of the other kind took 60 ns (Zen 3).
inline void leave_vectors() {
#if defined(__AVX__)
  _mm256_zeroupper();
#endif
}

void run(const Link* links, char* const* reg, int n) {
  const auto first = reinterpret_cast<Work>(links[0].work);
  for (int at = 0; at < n; at += kAtOnce) first(V{}, V{}, V{}, V{}, links, reg, at * int64_t{sizeof(float)});
  leave_vectors();
}

}  // namespace

extern const ChainTable chains;
constexpr ChainTable chains = {bind, run};

}  // namespace NATIVE_ISA
}  // namespace native
