// Steps over k of the whole 6x2 tile of 32-byte vectors, each a statement of assembly.
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

#if defined(__FMA__) && NATIVE_VEC_BYTES == 32
constexpr bool kHasSteps = true;

// 16 registers: 12 sums, the row of B in 12 and 13, and two elements of A in turn, so that one is loaded while the
// other is used.
#define NATIVE_ROW(t, x, i)                               \
  "vfmadd231p" t " %%ymm12, %%ymm" #x ", %[s" #i "0]\n\t" \
  "vfmadd231p" t " %%ymm13, %%ymm" #x ", %[s" #i "1]\n\t"
#define NATIVE_ELEMENT(t, x, address) "vbroadcasts" t " " address ", %%ymm" #x "\n\t"
#define NATIVE_SUM(i) [s##i##0] "+x"(sum[i][0]), [s##i##1] "+x"(sum[i][1])
#define NATIVE_STEP(t, a0, a1, a2, a3, a4, a5, ...)                                                         \
  asm("vmovup" t " %c[bo](%[b]), %%ymm12\n\t"                                                               \
      "vmovup" t " %c[bo]+32(%[b]), %%ymm13\n\t" NATIVE_ELEMENT(t, 14, a0) NATIVE_ELEMENT(t, 15, a1)        \
          NATIVE_ROW(t, 14, 0) NATIVE_ELEMENT(t, 14, a2) NATIVE_ROW(t, 15, 1) NATIVE_ELEMENT(t, 15, a3)     \
              NATIVE_ROW(t, 14, 2) NATIVE_ELEMENT(t, 14, a4) NATIVE_ROW(t, 15, 3) NATIVE_ELEMENT(t, 15, a5) \
                  NATIVE_ROW(t, 14, 4) NATIVE_ROW(t, 15, 5)                                                 \
      : NATIVE_SUM(0), NATIVE_SUM(1), NATIVE_SUM(2), NATIVE_SUM(3), NATIVE_SUM(4), NATIVE_SUM(5)            \
      : [b] "r"(b), [bo] "i"(kStep * 64), [a] "r"(a), __VA_ARGS__                                           \
      : "ymm12", "ymm13", "ymm14", "ymm15")
// Rows of A: `low` is the fourth, `row` their distance in bytes.
#define NATIVE_ROWS_STEP(t, size)                                                                  \
  NATIVE_STEP(t, "%c[ao](%[a])", "%c[ao](%[a],%[row])", "%c[ao](%[a],%[row],2)", "%c[ao](%[low])", \
              "%c[ao](%[low],%[row])",                                                             \
              "%c[ao](%[low],%[row],2)", [low] "r"(low), [row] "r"(row), [ao] "i"(kStep * size))
#define NATIVE_SLIVER_STEP(t, size)                                                                                \
  NATIVE_STEP(t, "%c[ao](%[a])", "%c[ao]+" #size "(%[a])", "%c[ao]+2*" #size "(%[a])", "%c[ao]+3*" #size "(%[a])", \
              "%c[ao]+4*" #size "(%[a])", "%c[ao]+5*" #size "(%[a])", [ao] "i"(kStep * 6 * size))

// sum += A's six elements times B's row, of step kStep from a and b on. Slivers: the six lie together, else in rows.
// B's rows are 64 bytes and lie together. The memory that is read is no operand: nothing may write to it in the
// function that this is part of.
template <bool Slivers, int kStep>
[[gnu::always_inline]] inline void step(vf32 (&sum)[6][2], const float* a, const float* low, int64_t row,
                                        const float* b) {
  if constexpr (Slivers)
    NATIVE_SLIVER_STEP("s", 4);
  else
    NATIVE_ROWS_STEP("s", 4);
}
template <bool Slivers, int kStep>
[[gnu::always_inline]] inline void step(vf64 (&sum)[6][2], const double* a, const double* low, int64_t row,
                                        const double* b) {
  if constexpr (Slivers)
    NATIVE_SLIVER_STEP("d", 8);
  else
    NATIVE_ROWS_STEP("d", 8);
}

#undef NATIVE_SLIVER_STEP
#undef NATIVE_ROWS_STEP
#undef NATIVE_STEP
#undef NATIVE_SUM
#undef NATIVE_ELEMENT
#undef NATIVE_ROW
#else
constexpr bool kHasSteps = false;
#endif

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native
