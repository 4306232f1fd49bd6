// The interpreter of tile programs: each thread has its own elements of every register, in shared memory, so
// that no instruction waits for another thread, and a result may be where an operand that lies like it was.
#pragma once

#include "kernels/activation.cuh"
#include "kernels/device.cuh"
#include "kernels/elementwise/params.h"

namespace native::cuda::elementwise {
namespace {

__device__ inline float clip(float x, float low, float high) {
  const float raised = x > low || x != x ? x : low;
  return raised < high || raised != raised ? raised : high;
}
// By zero gives zero, and the one overflow wraps around.
__device__ inline uint32_t floor_divide(int32_t a, int32_t b) {
  if (b == 0) return 0;
  if (b == -1) return 0u - static_cast<uint32_t>(a);
  return static_cast<uint32_t>(a / b - (a % b != 0 && (a < 0) != (b < 0)));
}
__device__ inline uint32_t remainder(int32_t a, int32_t b) {
  return b == 0 || b == -1 ? 0 : static_cast<uint32_t>(a % b);
}
__device__ inline uint32_t modulo(int32_t a, int32_t b) {
  if (b == 0 || b == -1) return 0;
  const int32_t r = a % b;
  return static_cast<uint32_t>(r != 0 && (r < 0) != (b < 0) ? r + b : r);
}

// With the divisor's sign, as Python has it.
__device__ inline float modulo(float x, float y) {
  const float r = fmodf(x, y);
  return r != 0 && (r < 0) != (y < 0) ? r + y : r == 0 ? copysignf(0, y) : r;
}
__device__ inline float floor_divide(float x, float y) {
  if (y == 0) return x / y;
  const float r = fmodf(x, y);
  const float q = (x - r) / y - (r != 0 && (r < 0) != (y < 0) ? 1.0f : 0.0f);
  // Rounded: the quotient of what is left may be a little beside the whole number that it is.
  return q == 0 ? copysignf(0, x / y) : rintf(q);
}
__device__ inline float logaddexp(float x, float y) {
  const float high = x > y || x != x ? x : y, low = x > y || x != x ? y : x;
  return high == low && isinf(high) ? high : high + log1pf(expf(low - high));
}

__device__ inline uint32_t load(Memory memory, const void* data, uint32_t at) {
  switch (memory) {
    case Memory::F16:
      return __float_as_uint(widened<DataType::F16>(static_cast<const uint16_t*>(data)[at]));
    case Memory::BF16:
      return static_cast<uint32_t>(static_cast<const uint16_t*>(data)[at]) << 16;
    case Memory::I8:
      return static_cast<uint32_t>(static_cast<const int8_t*>(data)[at]);
    case Memory::U8:
      return static_cast<const uint8_t*>(data)[at];
    case Memory::I16:
      return static_cast<uint32_t>(static_cast<const int16_t*>(data)[at]);
    case Memory::U16:
      return static_cast<const uint16_t*>(data)[at];
    case Memory::I64AsFloat:
      return __float_as_uint(static_cast<float>(static_cast<const int64_t*>(data)[at]));
    case Memory::I64AsWord:
      return static_cast<uint32_t>(static_cast<const int64_t*>(data)[at]);
    default:
      return static_cast<const uint32_t*>(data)[at];
  }
}
__device__ inline void store(Memory memory, void* data, uint32_t at, uint32_t bits) {
  switch (memory) {
    case Memory::F16:
      static_cast<uint16_t*>(data)[at] = narrowed<DataType::F16>(__uint_as_float(bits));
      break;
    case Memory::BF16:
      static_cast<uint16_t*>(data)[at] = narrowed<DataType::BF16>(__uint_as_float(bits));
      break;
    case Memory::I8:
    case Memory::U8:
      static_cast<uint8_t*>(data)[at] = static_cast<uint8_t>(bits);
      break;
    case Memory::I16:
    case Memory::U16:
      static_cast<uint16_t*>(data)[at] = static_cast<uint16_t>(bits);
      break;
    default:
      static_cast<uint32_t*>(data)[at] = bits;
  }
}

// Begins to copy a pack at an aligned address.
__device__ inline void copy_pack(Memory memory, const void* data, uint32_t at, uint32_t to) {
  const uint32_t pack = at / kLanes;
  switch (memory) {
    case Memory::I8:
    case Memory::U8:
      return copy_async_4(to, static_cast<const uint32_t*>(data) + pack, 4);
    case Memory::Word:
      return copy_async_16(to, static_cast<const uint4*>(data) + pack, 16);
    default:
      return copy_async_8(to, static_cast<const uint2*>(data) + pack, 8);
  }
}
// A pack as it is in memory, of less than words, to words.
__device__ inline void widen(Memory memory, uint4& cell) {
  // No more than has come: of bytes there is one word.
  const uint32_t a = cell.x, b = memory == Memory::I8 || memory == Memory::U8 ? 0 : cell.y;
  auto half = [](uint32_t bits) { return __float_as_uint(widened<DataType::F16>(static_cast<uint16_t>(bits))); };
  auto low = [](uint32_t w) { return static_cast<uint32_t>(static_cast<int32_t>(w << 16) >> 16); };
  auto high = [](uint32_t w) { return static_cast<uint32_t>(static_cast<int32_t>(w) >> 16); };
  auto byte = [&](int i) { return static_cast<uint32_t>(static_cast<int32_t>(a << (24 - 8 * i)) >> 24); };
  switch (memory) {
    case Memory::F16:
      cell = {half(a), half(a >> 16), half(b), half(b >> 16)};
      break;
    case Memory::BF16:
      cell = {a << 16, a & 0xFFFF0000u, b << 16, b & 0xFFFF0000u};
      break;
    case Memory::I16:
      cell = {low(a), high(a), low(b), high(b)};
      break;
    case Memory::U16:
      cell = {a & 0xFFFFu, a >> 16, b & 0xFFFFu, b >> 16};
      break;
    case Memory::I8:
      cell = {byte(0), byte(1), byte(2), byte(3)};
      break;
    default:
      cell = {a & 0xFFu, a >> 8 & 0xFFu, a >> 16 & 0xFFu, a >> 24};
  }
}
__device__ inline void store_packed(Memory memory, void* data, uint32_t at, const uint4& x) {
  const uint32_t to = at / kLanes;
  auto halves = [&](auto two) { static_cast<uint2*>(data)[to] = {two(x.x, x.y), two(x.z, x.w)}; };
  auto narrow = [](auto two) {
    return [=](uint32_t a, uint32_t b) { return two(__uint_as_float(a), __uint_as_float(b)); };
  };
  switch (memory) {
    case Memory::F16:
      return halves(narrow(pack<DataType::F16>));
    case Memory::BF16:
      return halves(narrow(pack<DataType::BF16>));
    case Memory::I8:
    case Memory::U8:
      static_cast<uint32_t*>(data)[to] = (x.x & 0xFFu) | (x.y & 0xFFu) << 8 | (x.z & 0xFFu) << 16 | x.w << 24;
      return;
    case Memory::I16:
    case Memory::U16:
      return halves([](uint32_t a, uint32_t b) { return (a & 0xFFFFu) | b << 16; });
    default:
      static_cast<uint4*>(data)[to] = x;
  }
}

// Where the element of a broadcast operand is.
__device__ inline uint32_t walk(const Input& input, uint32_t i) {
  uint32_t at = 0;
  int rest = static_cast<int>(i);
  for (int d = input.dims - 1; d > 0; --d) {
    const int outer = divide(rest, input.size[d]);
    at += static_cast<uint32_t>(rest) * input.stride[d];
    rest = outer;
  }
  return at + static_cast<uint32_t>(rest) * input.stride[0];
}

// A thread's four elements of a register lie together: one access of 16 bytes.
__device__ inline uint4& cell(uint4* registers, int r) { return registers[r * kThreads + threadIdx.x]; }

template <int operands, class F>
__device__ inline void apply(uint4* registers, const Step& step, const F& f) {
  const uint4 a = cell(registers, step.a);
  const uint4 b = operands > 1 ? cell(registers, step.b) : a;
  const uint4 c = operands > 2 ? cell(registers, step.c) : a;
  cell(registers, step.dst) = {f(a.x, b.x, c.x), f(a.y, b.y, c.y), f(a.z, b.z, c.z), f(a.w, b.w, c.w)};
}

// The same by code that stands here once for the four, which take turns.
template <int operands, class F>
__device__ inline void apply_in_turn(uint4* registers, const Step& step, const F& f) {
  uint4 a = cell(registers, step.a), b = operands > 1 ? cell(registers, step.b) : a;
#pragma unroll 1
  for (int i = 0; i < kLanes; ++i) {
    a = {a.y, a.z, a.w, f(a.x, b.x, a.x)};
    b = {b.y, b.z, b.w, b.x};
  }
  cell(registers, step.dst) = a;
}

__device__ inline void run(uint4* registers, const Step& step) {
  [[maybe_unused]] const float s = __uint_as_float(step.immediate);
  using U = uint32_t;
#define FLOATS [[maybe_unused]] const float x = __uint_as_float(a), y = __uint_as_float(b), z = __uint_as_float(c)
#define WORDS                                         \
  [[maybe_unused]] const U x = a, y = b, z = c;       \
  [[maybe_unused]] const int32_t i = a, j = b, k = c; \
  [[maybe_unused]] const float f = __uint_as_float(a)
#define OP(name, n, how, bind, result)                       \
  case Op::name:                                             \
    return how<n>(registers, step, [=](U a, U b, U c) -> U { \
      bind;                                                  \
      return result;                                         \
    });
  switch (step.op) {
#define X(name, n, result) OP(float_##name, n, apply, FLOATS, __float_as_uint(result))
    NATIVE_CUDA_SHORT_FLOAT_OPS(X)
#undef X
#define X(name, n, result) OP(float_##name, n, apply_in_turn, FLOATS, __float_as_uint(result))
    NATIVE_CUDA_LONG_FLOAT_OPS(X)
#undef X
#define X(name, n, result) OP(test_##name, n, apply, FLOATS, (result) ? 1u : 0u)
    NATIVE_CUDA_FLOAT_TESTS(X)
#undef X
#define X(name, n, result) OP(integer_##name, n, apply, WORDS, result)
    NATIVE_CUDA_INTEGER_OPS(X)
#undef X
#define X(name, n, result) OP(signed_##name, n, apply, WORDS, result)
    NATIVE_CUDA_SIGNED_OPS(X)
#undef X
#define X(name, n, result) OP(unsigned_##name, n, apply, WORDS, result)
    NATIVE_CUDA_UNSIGNED_OPS(X)
#undef X
#define X(name, n, result) OP(name, n, apply, WORDS, result)
    NATIVE_CUDA_CONVERSIONS(X)
#undef X
    default:
      return;
  }
}

// A thread's elements are kThreads apart, so that a warp's accesses are contiguous.
struct Apart {
  uint32_t at[kLanes];
  bool inside[kLanes];

  __device__ Apart(uint32_t first, uint32_t elements) {
    for (int v = 0; v < kLanes; ++v) {
      at[v] = first + v * kThreads + threadIdx.x;
      inside[v] = at[v] < elements;
    }
  }
  __device__ void load(const Program& p, void* const* data, uint4* registers) const {
    for (int i = 0; i < p.inputs; ++i) {
      const Input& input = p.input[i];
      if (input.dims == 0) continue;
      uint32_t bits[kLanes];
      for (int v = 0; v < kLanes; ++v)
        bits[v] = inside[v] ? elementwise::load(input.memory, data[i], walk(input, at[v])) : 0;
      cell(registers, input.reg) = {bits[0], bits[1], bits[2], bits[3]};
    }
  }
  __device__ void store(const Program& p, void* const* data, uint4* registers) const {
    for (int i = 0; i < p.outputs; ++i) {
      const uint4 value = cell(registers, p.output[i].reg);
      const uint32_t bits[kLanes] = {value.x, value.y, value.z, value.w};
      for (int v = 0; v < kLanes; ++v)
        if (inside[v]) elementwise::store(p.output[i].memory, data[p.inputs + i], at[v], bits[v]);
    }
  }
};

// A thread's elements are neighbours: one access and one walk for all, where the operand's lie so as well. Those
// go straight to the registers, all at once, as they are in memory, and are widened when they have come.
struct Neighbours {
  uint32_t at;

  __device__ void load(const Program& p, void* const* data, uint4* registers) const {
    for (int i = 0; i < p.inputs; ++i) {
      const Input& input = p.input[i];
      if (input.access == Access::Pack)
        copy_pack(input.memory, data[i], walk(input, at), shared_address(&cell(registers, input.reg)));
    }
    copy_async_commit();
    for (int i = 0; i < p.inputs; ++i) {
      const Input& input = p.input[i];
      uint4& to = cell(registers, input.reg);
      auto one = [&](uint32_t k) { return elementwise::load(input.memory, data[i], walk(input, k)); };
      if (input.access == Access::Same) {
        const uint32_t bits = one(at);
        to = {bits, bits, bits, bits};
      } else if (input.access == Access::Each) {
        to = {one(at), one(at + 1), one(at + 2), one(at + 3)};
      }
    }
    copy_async_wait<0>();
    for (int i = 0; i < p.inputs; ++i) {
      const Input& input = p.input[i];
      if (input.access == Access::Pack && input.memory != Memory::Word) widen(input.memory, cell(registers, input.reg));
    }
  }
  __device__ void store(const Program& p, void* const* data, uint4* registers) const {
    for (int i = 0; i < p.outputs; ++i)
      store_packed(p.output[i].memory, data[p.inputs + i], at, cell(registers, p.output[i].reg));
  }
};

// The steps, most of the code, stand here once.
__device__ inline void run_tile(const Program& p, const Segment& segment, void* const* data, uint4* registers,
                                uint32_t first) {
  const bool packed = segment.packed;
  const Apart apart(first, segment.elements);
  const Neighbours neighbours{first + threadIdx.x * kLanes};
  if (packed && neighbours.at >= segment.elements) return;
  if (packed)
    neighbours.load(p, data, registers);
  else
    apart.load(p, data, registers);
  for (int i = 0; i < p.steps; ++i) run(registers, p.step[i]);
  if (packed)
    neighbours.store(p, data, registers);
  else
    apart.store(p, data, registers);
}

// The tiles of a segment that begin at `first` and lie `step` elements apart, up to `end`.
__device__ inline void run_tiles(const Program& p, const Segment& segment, void* const* data, uint4* registers,
                                 uint32_t first, uint32_t end, uint32_t step) {
  for (int i = 0; i < p.constants; ++i) {
    const uint32_t bits = p.constant[i].bits;
    cell(registers, p.constant[i].reg) = {bits, bits, bits, bits};
  }
  for (int i = 0; i < p.inputs; ++i)
    if (p.input[i].dims == 0) {
      const uint32_t bits = load(p.input[i].memory, data[i], 0);
      cell(registers, p.input[i].reg) = {bits, bits, bits, bits};
    }
  for (; first < end; first += step) run_tile(p, segment, data, registers, first);
}

}  // namespace
}  // namespace native::cuda::elementwise
