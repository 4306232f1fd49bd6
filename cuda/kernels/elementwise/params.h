// A tile program as the interpreter kernel takes it: in the parameters of its launch. Plain data.
#pragma once

#include <stdint.h>

#include "kernels/divisor.h"
#include "kernels/elementwise/ops.h"

namespace native::cuda::elementwise {

enum class Op : uint8_t {
#define X(name, ...) float_##name,
  NATIVE_CUDA_FLOAT_OPS(X)
#undef X
#define X(name, ...) test_##name,
      NATIVE_CUDA_FLOAT_TESTS(X)
#undef X
#define X(name, ...) integer_##name,
          NATIVE_CUDA_INTEGER_OPS(X)
#undef X
#define X(name, ...) signed_##name,
              NATIVE_CUDA_SIGNED_OPS(X)
#undef X
#define X(name, ...) unsigned_##name,
                  NATIVE_CUDA_UNSIGNED_OPS(X)
#undef X
#define X(name, ...) name,
                      NATIVE_CUDA_CONVERSIONS(X)
#undef X
                          count_
};

// Elements in memory. Registers have words of 32 bits: float32, or an integer.
// int64 is read only, as what it is cast to.
enum class Memory : uint8_t { Word, F16, BF16, I8, U8, I16, U16, I64AsFloat, I64AsWord };

// A block of 128 threads has 4 elements of each register a thread: 2 KiB. So many registers fit into the
// 48 KiB that every kernel may have.
constexpr int kThreads = 128, kLanes = 4, kElements = kThreads * kLanes;
constexpr int kMostRegisters = 24, kMostSteps = 96, kMostInputs = 16, kMostOutputs = 12, kMostConstants = 16;
constexpr int kWalkDims = 4;

struct Step {
  Op op;
  uint8_t dst, a, b, c;
  float immediate;
};
// How an operand's elements for a pack of the outputs lie: all the same for all packs, a pack as well, one for all
// four, or anyhow.
enum class Access : uint8_t { Constant, Pack, Same, Each };

struct Input {
  const void* data;
  Memory memory;
  uint8_t reg;
  uint8_t dims;  // 0: one element for all; 1 with stride 1: as the outputs lie
  Access access;
  Divisor size[kWalkDims];  // innermost last
  uint32_t stride[kWalkDims];
};
struct Output {
  void* data;
  Memory memory;
  uint8_t reg;
};
struct Constant {
  uint32_t bits;
  uint8_t reg;
};

struct Program {
  uint32_t elements;
  uint8_t inputs, outputs, constants, steps;
  uint8_t packed;  // outputs are whole packs at aligned addresses
  Input input[kMostInputs];
  Output output[kMostOutputs];
  Constant constant[kMostConstants];
  Step step[kMostSteps];
};
static_assert(sizeof(Program) <= 4096, "parameters of a launch");

}  // namespace native::cuda::elementwise
