// Instruction sets: what the machine has, what NATIVE_ISA forces, and the choice of one table of kernels
// per instruction set.
//
// A kernel unit `x.simd.cpp` is compiled once for each instruction set, inside namespace
// native::NATIVE_ISA, and defines one constant table of function pointers, e.g.
//     extern const GemmTable gemm_table;  const GemmTable gemm_table = {...};
// Its header declares it with NATIVE_ISA_TABLE(GemmTable, gemm_table), which gives driver units
// `const GemmTable& gemm_table()`, the table for the instruction set in use.
// avx512_bf16 has the tables of avx512 but for units that gain by its instructions, whether they convert bfloat16 or
// multiply words: those are named `x.bf16.simd.cpp`, and their tables declared with NATIVE_BF16_TABLE.
#pragma once

#include <cstdint>
#include <string>

namespace native {

// avx512_bf16 adds BF16 and VNNI to AVX-512 F/BW/DQ/VL. `wide` is a test build: 64-byte vectors on AVX2
// hardware, so that the logic of 512-bit code runs where there is no AVX-512.
enum class Isa { Generic, Avx2, Avx512, Avx512Bf16, Wide };

const char* name_of(Isa isa);
bool isa_compiled(Isa isa);   // this build contains it
bool isa_supported(Isa isa);  // this machine can run it
// The one in use: the best supported, or NATIVE_ISA when set (throws UnsupportedError if it cannot run).
Isa current_isa();
// For tests and benchmarks; throws UnsupportedError. Kernels prepared before keep their instruction set.
void set_isa(const std::string& name);

struct CacheSizes {
  long l1d, l2, l3;  // bytes, per core for l1d and l2
};
CacheSizes cache_sizes();

// Bytes from which the caches do not keep a result until it is read: half of the last level, which it fills together
// with what it is made from, or NATIVE_FAR_BYTES. Such a result is written past them (simd/nontemporal.h): a store into
// a line that is not there reads it first, and it is written back later. Not what the next kernel of a chain of rows
// reads (Kernel::run_rows), nor what is stored where it was read, as the lines are there.
int64_t far_bytes();
inline bool is_far(int64_t bytes) { return bytes >= far_bytes(); }
// For tests and benchmarks. Kernels prepared before keep what they chose.
void set_far_bytes(int64_t bytes);

}  // namespace native

#if defined(__x86_64__) || defined(_M_X64)
#define NATIVE_X86 1
#else
#define NATIVE_X86 0
#endif

#if NATIVE_X86 && defined(NATIVE_HAS_WIDE)
#define NATIVE_WIDE_DECLARE(Type, name) \
  namespace wide {                      \
  extern const Type name;               \
  }
#define NATIVE_WIDE_CASE(name) \
  case Isa::Wide:              \
    return wide::name;
#else
#define NATIVE_WIDE_DECLARE(Type, name)
#define NATIVE_WIDE_CASE(name)
#endif

#if NATIVE_X86
#define NATIVE_TABLE_OF(Type, name, with_bf16) \
  namespace generic {                          \
  extern const Type name;                      \
  }                                            \
  namespace avx2 {                             \
  extern const Type name;                      \
  }                                            \
  namespace avx512 {                           \
  extern const Type name;                      \
  }                                            \
  NATIVE_WIDE_DECLARE(Type, name)              \
  static inline const Type& name() {           \
    switch (current_isa()) {                   \
      case Isa::Avx2:                          \
        return avx2::name;                     \
      case Isa::Avx512:                        \
        return avx512::name;                   \
      case Isa::Avx512Bf16:                    \
        return with_bf16::name;                \
        NATIVE_WIDE_CASE(name)                 \
      default:                                 \
        return generic::name;                  \
    }                                          \
  }
#define NATIVE_ISA_TABLE(Type, name) NATIVE_TABLE_OF(Type, name, avx512)
#define NATIVE_BF16_TABLE(Type, name) \
  namespace avx512_bf16 {             \
  extern const Type name;             \
  }                                   \
  NATIVE_TABLE_OF(Type, name, avx512_bf16)
#else
#define NATIVE_ISA_TABLE(Type, name) \
  namespace generic {                \
  extern const Type name;            \
  }                                  \
  static inline const Type& name() { return generic::name; }
#define NATIVE_BF16_TABLE(Type, name) NATIVE_ISA_TABLE(Type, name)
#endif
