// Conversions between dtypes and register classes, loads, stores and the gathering of broadcast operands.
#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "kernels/elementwise/loops.simd.h"
#include "kernels/elementwise/tables.h"

namespace native {
namespace NATIVE_ISA {
namespace {

uint32_t bits_of(float x) { return __builtin_bit_cast(uint32_t, x); }
float float_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }

// float16 and bfloat16 in integer arithmetic that vectorises on any instruction set.
struct FromF16 {
  static float apply(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, magnitude = h & 0x7fffu;
    const float denormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 5.9604644775390625e-8f;
    const uint32_t normal = (magnitude << 13) + (112u << 23);
    const uint32_t special = (magnitude << 13) | 0x7f800000u;
    const uint32_t bits = magnitude < 0x400 ? bits_of(denormal) : magnitude < 0x7c00 ? normal : special;
    return float_of(bits | sign);
  }
};
struct ToF16 {
  static uint16_t apply(float x) {
    const uint32_t bits = bits_of(x), magnitude = bits & 0x7fffffffu;
    // Rounds half to even; a carry runs into the exponent, and at the top gives infinity.
    const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1) - (112u << 23)) >> 13;
    const uint32_t denormal = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
    uint32_t h = magnitude < 0x38800000u ? denormal : normal;
    h = magnitude >= 0x47800000u ? 0x7c00u : h;
    h = magnitude > 0x7f800000u ? 0x7e00u | ((magnitude >> 13) & 0x3ffu) : h;
    return static_cast<uint16_t>(h | ((bits >> 16) & 0x8000u));
  }
};
struct FromBF16 {
  static float apply(uint16_t h) { return float_of(static_cast<uint32_t>(h) << 16); }
};
struct ToBF16 {
  static uint16_t apply(float x) {
    const uint32_t bits = bits_of(x);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
    return static_cast<uint16_t>(x != x ? (bits >> 16) | 0x40u : rounded);
  }
};
struct RoundF16 {
  static float apply(float x) { return FromF16::apply(ToF16::apply(x)); }
};
struct RoundBF16 {
  static float apply(float x) { return FromBF16::apply(ToBF16::apply(x)); }
};

#if defined(__F16C__)
void load_f16(void* out, const void* a, const void*, const void*, int n, const double*) {
  for (int i = 0; i < n; i += 8)
    _mm256_storeu_ps(
        static_cast<float*>(out) + i,
        _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(static_cast<const uint16_t*>(a) + i))));
}
void store_f16(void* out, const void* a, const void*, const void*, int n, const double*) {
  for (int i = 0; i < n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(static_cast<uint16_t*>(out) + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(static_cast<const float*>(a) + i), _MM_FROUND_TO_NEAREST_INT));
}
void round_f16(void* out, const void* a, const void*, const void*, int n, const double*) {
  for (int i = 0; i < n; i += 8)
    _mm256_storeu_ps(
        static_cast<float*>(out) + i,
        _mm256_cvtph_ps(_mm256_cvtps_ph(_mm256_loadu_ps(static_cast<const float*>(a) + i), _MM_FROUND_TO_NEAREST_INT)));
}
#else
constexpr TileOp load_f16 = map1<float, uint16_t, FromF16>;
constexpr TileOp store_f16 = map1<uint16_t, float, ToF16>;
constexpr TileOp round_f16 = map1<float, float, RoundF16>;
#endif

// A conversion of values, as C has it. Floats out of an integer's range give what the hardware gives.
struct Convert {
  template <class T>
  static T apply(T a) {
    return a;
  }
};
template <class Through>
struct ConvertThrough {
  template <class T>
  static Through apply(T a) {
    return static_cast<Through>(a);
  }
};
struct ToBool {
  template <class T>
  static int32_t apply(T a) {
    return a != 0;
  }
};
// To float32, inexact results with the last bit set: a second rounding to less precision is then right.
struct ToOdd {
  static float apply(double a) {
    const float nearest = static_cast<float>(a);
    const uint32_t bits = bits_of(nearest);
    const double back = nearest;
    const bool inexact = back != a && a == a && !(bits & 1) && (bits & 0x7f800000u) != 0x7f800000u;
    // Towards a: the magnitude falls if it was rounded up.
    const bool rounded_up = (back < 0 ? -back : back) > (a < 0 ? -a : a);
    return float_of(inexact ? (rounded_up ? bits - 1 : bits + 1) : bits);
  }
};
template <class Narrow>
struct Wrap {
  static int32_t apply(int32_t a) { return static_cast<Narrow>(a); }
};

// Bytes are 0 or 1 in memory and in registers.
constexpr TileOp load_bool = map1<int32_t, uint8_t, Convert>;
constexpr TileOp store_bool = map1<uint8_t, int32_t, Convert>;

template <class T>
void gather(void* out, const void* in, const Walk* walk, int64_t start, int n) {
  T* y = static_cast<T*>(out);
  const T* x = static_cast<const T*>(in);
  const int last = walk->dims - 1;
  const int64_t length = walk->size[last];
  int64_t index[kMaxDims], rest = start, offset = 0;
  for (int d = last; d >= 0; --d) {
    index[d] = rest % walk->size[d];
    rest /= walk->size[d];
    offset += index[d] * walk->stride[d];
  }
  int64_t position = index[last];
  offset -= position * walk->stride[last];
  const bool spread = walk->stride[last] == 0;
  for (int done = 0; done < n;) {
    const int64_t left = length - position;
    const int run = left < n - done ? static_cast<int>(left) : n - done;
    if (spread) {
      const T value = x[offset];
      for (int i = 0; i < run; ++i) y[done + i] = value;
    } else {
      const T* from = x + offset + position;
      for (int i = 0; i < run; ++i) y[done + i] = from[i];
    }
    done += run;
    position = 0;
    // The next row; past the last one the walk begins again.
    for (int d = last - 1; d >= 0; --d) {
      offset += walk->stride[d];
      if (++index[d] < walk->size[d]) break;
      offset -= walk->stride[d] * walk->size[d];
      index[d] = 0;
    }
  }
}

struct Filler {
  ConversionTable table{};
  constexpr TileOp& at(Opcode code, Class c) { return table.ops.op[static_cast<int>(code)][static_cast<int>(c)]; }

  template <class T>
  constexpr void from(Class c) {
    at(Opcode::to_bool, c) = map1<int32_t, T, ToBool>;
    if (c != Class::F32) at(Opcode::to_f32, c) = map1<float, T, Convert>;
    if (c != Class::F64) at(Opcode::to_f64, c) = map1<double, T, Convert>;
  }
};

constexpr ConversionTable make_table() {
  Filler f;
  f.from<float>(Class::F32);
  f.from<double>(Class::F64);
  f.from<int32_t>(Class::I32);
  f.from<uint32_t>(Class::U32);
  f.from<int64_t>(Class::I64);
  f.from<uint64_t>(Class::U64);
  f.at(Opcode::to_f32_odd, Class::F64) = map1<float, double, ToOdd>;
  f.at(Opcode::to_i32, Class::F32) = map1<int32_t, float, Convert>;
  f.at(Opcode::to_i32, Class::F64) = map1<int32_t, double, Convert>;
  f.at(Opcode::to_i32, Class::I64) = map1<int32_t, int64_t, Convert>;
  f.at(Opcode::to_i32, Class::U64) = map1<int32_t, uint64_t, Convert>;
  f.at(Opcode::to_u32, Class::F32) = map1<uint32_t, float, ConvertThrough<int64_t>>;
  f.at(Opcode::to_u32, Class::F64) = map1<uint32_t, double, ConvertThrough<int64_t>>;
  f.at(Opcode::to_i64, Class::F32) = map1<int64_t, float, Convert>;
  f.at(Opcode::to_i64, Class::F64) = map1<int64_t, double, Convert>;
  f.at(Opcode::to_i64, Class::I32) = map1<int64_t, int32_t, Convert>;
  f.at(Opcode::to_i64, Class::U32) = map1<int64_t, uint32_t, Convert>;
  f.at(Opcode::to_u64, Class::F32) = map1<uint64_t, float, Convert>;
  f.at(Opcode::to_u64, Class::F64) = map1<uint64_t, double, Convert>;
  for (Class c : {Class::I32, Class::U32}) {
    f.at(Opcode::wrap_i8, c) = map1<int32_t, int32_t, Wrap<int8_t>>;
    f.at(Opcode::wrap_u8, c) = map1<int32_t, int32_t, Wrap<uint8_t>>;
    f.at(Opcode::wrap_i16, c) = map1<int32_t, int32_t, Wrap<int16_t>>;
    f.at(Opcode::wrap_u16, c) = map1<int32_t, int32_t, Wrap<uint16_t>>;
  }
  f.at(Opcode::round_f16, Class::F32) = round_f16;
  f.at(Opcode::round_bf16, Class::F32) = map1<float, float, RoundBF16>;

  // In the order of DType: bool, u8, u16, u32, u64, i8, i16, i32, i64, f16, bf16.
  f.table.load[0] = load_bool;
  f.table.load[1] = map1<int32_t, uint8_t, Convert>;
  f.table.load[2] = map1<int32_t, uint16_t, Convert>;
  f.table.load[5] = map1<int32_t, int8_t, Convert>;
  f.table.load[6] = map1<int32_t, int16_t, Convert>;
  f.table.load[9] = load_f16;
  f.table.load[10] = map1<float, uint16_t, FromBF16>;
  f.table.store[0] = store_bool;
  f.table.store[1] = map1<uint8_t, int32_t, Convert>;
  f.table.store[2] = map1<uint16_t, int32_t, Convert>;
  f.table.store[5] = map1<int8_t, int32_t, Convert>;
  f.table.store[6] = map1<int16_t, int32_t, Convert>;
  f.table.store[9] = store_f16;
  f.table.store[10] = map1<uint16_t, float, ToBF16>;

  f.table.gather[0] = gather<uint8_t>;
  f.table.gather[1] = gather<uint16_t>;
  f.table.gather[2] = gather<uint32_t>;
  f.table.gather[3] = gather<uint64_t>;
  return f.table;
}

}  // namespace

extern const ConversionTable conversions;
constexpr ConversionTable conversions = make_table();

}  // namespace NATIVE_ISA
}  // namespace native
