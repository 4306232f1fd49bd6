// Eight steps over k of a product's tile of 6 rows by 2 vectors of 32 bytes, as one statement of assembly.
//
// A step is 12 FMAs and 8 loads. Its pointers, its fetching ahead and the end of the loop are 8 operations more, a
// quarter of what the core issues, which tells as soon as another thread shares the core: so a loop is to take eight
// steps. Of eight steps in C++ GCC 12 keeps ten sums and more on the stack.
#pragma once

#include <cstdint>

#include "simd/vec.h"

namespace native {
namespace NATIVE_ISA {
namespace {

constexpr int kStepsAtOnce = 8;

#if defined(__FMA__) && NATIVE_VEC_BYTES == 32
constexpr bool kHasSteps = true;

// 16 registers: 12 sums, the row of B in 12 and 13, and two elements of A in turn, so that one is loaded while the
// other is used.
#define NATIVE_ROW(t, x, i)                               \
  "vfmadd231p" t " %%ymm12, %%ymm" #x ", %[s" #i "0]\n\t" \
  "vfmadd231p" t " %%ymm13, %%ymm" #x ", %[s" #i "1]\n\t"
#define NATIVE_ELEMENT(t, x, address) "vbroadcasts" t " " address ", %%ymm" #x "\n\t"
#define NATIVE_STEP(u, t, at, size, step)                                                                          \
  "vmovup" t " " #u "*64(%[b]), %%ymm12\n\t"                                                                       \
  "vmovup" t " " #u "*64+32(%[b]), %%ymm13\n\t" NATIVE_ELEMENT(t, 14, at(0, u, size, step))                        \
      NATIVE_ELEMENT(t, 15, at(1, u, size, step)) NATIVE_ROW(t, 14, 0) NATIVE_ELEMENT(t, 14, at(2, u, size, step)) \
          NATIVE_ROW(t, 15, 1) NATIVE_ELEMENT(t, 15, at(3, u, size, step)) NATIVE_ROW(t, 14, 2)                    \
              NATIVE_ELEMENT(t, 14, at(4, u, size, step)) NATIVE_ROW(t, 15, 3)                                     \
                  NATIVE_ELEMENT(t, 15, at(5, u, size, step)) NATIVE_ROW(t, 14, 4) NATIVE_ROW(t, 15, 5)
// Where the i-th of A's elements is in step u.
#define NATIVE_IN_ROWS(i, u, size, step) #u "*" #size NATIVE_ROW_##i
#define NATIVE_TOGETHER(i, u, size, step) #u "*" #step "*" #size "+" #i "*" #size "(%[a])"
#define NATIVE_ROW_0 "(%[a])"
#define NATIVE_ROW_1 "(%[a],%[row])"
#define NATIVE_ROW_2 "(%[a],%[row],2)"
#define NATIVE_ROW_3 "(%[low])"
#define NATIVE_ROW_4 "(%[low],%[row])"
#define NATIVE_ROW_5 "(%[low],%[row],2)"
#define NATIVE_SUM(i) [s##i##0] "+x"(sum[i][0]), [s##i##1] "+x"(sum[i][1])
// All memory from a and b on is read (Clang knows no arrays without a bound). GCC takes 30 operands, and here are 30.
#define NATIVE_STEPS(t, T, at, size, step)                                                                      \
  asm(NATIVE_STEP(0, t, at, size, step) NATIVE_STEP(1, t, at, size, step) NATIVE_STEP(2, t, at, size, step)     \
          NATIVE_STEP(3, t, at, size, step) NATIVE_STEP(4, t, at, size, step) NATIVE_STEP(5, t, at, size, step) \
              NATIVE_STEP(6, t, at, size, step) NATIVE_STEP(7, t, at, size, step)                               \
      : NATIVE_SUM(0), NATIVE_SUM(1), NATIVE_SUM(2), NATIVE_SUM(3), NATIVE_SUM(4), NATIVE_SUM(5)                \
      : [a] "r"(a), [low] "r"(low), [row] "r"(row), [b] "r"(b),                                                 \
        "m"(*reinterpret_cast<const T(*)[int64_t{1} << 40]>(a)),                                                \
        "m"(*reinterpret_cast<const T(*)[int64_t{1} << 40]>(b))                                                 \
      : "ymm12", "ymm13", "ymm14", "ymm15")
#define NATIVE_STEPS_OF(t, T, size, line)            \
  if constexpr (kStep == 0)                          \
    NATIVE_STEPS(t, T, NATIVE_IN_ROWS, size, 1);     \
  else if constexpr (kStep == 6)                     \
    NATIVE_STEPS(t, T, NATIVE_TOGETHER, size, 6);    \
  else if constexpr (kStep == line)                  \
    NATIVE_STEPS(t, T, NATIVE_TOGETHER, size, line); \
  else if constexpr (kStep == 64)                    \
    NATIVE_STEPS(t, T, NATIVE_TOGETHER, size, 64);   \
  else                                               \
    static_assert(kStep == line, "no such operand of A")

// sum += A's six elements times B's row, eight times. B's rows are 64 bytes and lie together. kStep: A's six elements
// lie together, those of the next step so many elements further (6, a line of 64 bytes, or 64); 0: they are the next
// elements of six rows, `low` is that of the fourth and `row` the distance of rows in bytes.
template <int kStep>
[[gnu::always_inline]] inline void eight_steps(vf32 (&sum)[6][2], const float* a, const float* low, int64_t row,
                                               const float* b) {
  NATIVE_STEPS_OF("s", float, 4, 16);
}
template <int kStep>
[[gnu::always_inline]] inline void eight_steps(vf64 (&sum)[6][2], const double* a, const double* low, int64_t row,
                                               const double* b) {
  NATIVE_STEPS_OF("d", double, 8, 8);
}

#undef NATIVE_STEPS_OF
#undef NATIVE_STEPS
#undef NATIVE_SUM
#undef NATIVE_ROW_0
#undef NATIVE_ROW_1
#undef NATIVE_ROW_2
#undef NATIVE_ROW_3
#undef NATIVE_ROW_4
#undef NATIVE_ROW_5
#undef NATIVE_TOGETHER
#undef NATIVE_IN_ROWS
#undef NATIVE_STEP
#undef NATIVE_ELEMENT
#undef NATIVE_ROW
#else
constexpr bool kHasSteps = false;
#endif

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native
