// Tile programs as the interpreter kernels take them: in the parameters of a launch. Plain data, compared bit by bit.
// One may be run over several segments, each with arrays and a size of its own.
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
  uint32_t immediate;  // bits of a float32
  bool operator==(const Step&) const = default;
};
// How an operand's elements for a pack of the outputs lie: all the same for all packs, a pack as well, one for all
// four, or anyhow.
enum class Access : uint8_t { Constant, Pack, Same, Each };

struct Input {
  Memory memory;
  uint8_t reg;
  uint8_t dims;  // 0: one element for all; 1 with stride 1: as the outputs lie
  Access access;
  Divisor size[kWalkDims];  // innermost last; the outermost is not needed
  uint32_t stride[kWalkDims];
  bool operator==(const Input&) const = default;
};
struct Output {
  Memory memory;
  uint8_t reg;
  bool operator==(const Output&) const = default;
};
struct Constant {
  uint32_t bits;
  uint8_t reg;
  bool operator==(const Constant&) const = default;
};

struct Program {
  uint8_t inputs, outputs, constants, steps;
  Input input[kMostInputs];
  Output output[kMostOutputs];
  Constant constant[kMostConstants];
  Step step[kMostSteps];
  bool operator==(const Program&) const = default;
};

struct Segment {
  uint32_t elements;
  uint32_t first;   // of the launch's blocks
  uint32_t packed;  // outputs are whole packs at aligned addresses
};

// One program over one segment, by blocks that are as many as a GPU has room for.
struct Single {
  Program program;
  Segment segment;
  void* data[kMostInputs + kMostOutputs];  // of inputs, then of outputs
};
static_assert(sizeof(Single) <= 4096, "parameters of a launch on any driver");

// One program over many segments, whose inputs lie as the outputs do or are one element. A block runs `span` tiles
// of one segment. The pointers of a segment come after those of the one before.
constexpr int kMostSegments = 512, kMostPointers = 3000;
struct Group {
  Program program;
  uint32_t segments, span;
  Segment segment[kMostSegments];
  void* data[kMostPointers];
};
static_assert(sizeof(Group) <= 32764, "parameters of a launch");

}  // namespace native::cuda::elementwise
