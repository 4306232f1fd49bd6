// What kernels share: instructions that CUDA C++ has no name for, and elements as they lie in memory.
#pragma once

#include <stdint.h>

#include <type_traits>

#include "kernels/divisor.h"
#include "kernels/types.h"

namespace native::cuda {

// Computed where this stands: neither anew where it is used, as in a loop, nor before.
__device__ inline int opaque(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// Copies behind the thread's back: `valid` bytes (0 to the whole) from memory, zeros for the rest.
__device__ inline void copy_async_16(uint32_t to, const void* from, int valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid) : "memory");
}
__device__ inline void copy_async_8(uint32_t to, const void* from, int valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from), "r"(valid) : "memory");
}
__device__ inline void copy_async_4(uint32_t to, const void* from, int valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(valid) : "memory");
}
__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most `pending` of the latest groups are under way.
template <int pending>
__device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
__device__ inline void load_matrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// d += a * b on tensor cores, 16x8 results; the depth is 32 bytes of elements.
template <DataType type>
__device__ inline void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t b0, const uint32_t b1) {
  if constexpr (type == DataType::BF16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else if constexpr (type == DataType::F16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}
// float32 to the nearest of the 10-bit significands that tensor cores take; they would cut it off.
__device__ inline uint32_t to_tf32(uint32_t bits) {
  uint32_t r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(__uint_as_float(bits)));
  return r;
}

// Elements of 16 bits, as bits, by their instructions: to read the headers of CUDA's own types takes nvcc longer than
// most kernels do.
template <DataType type>
__device__ inline float widened(uint16_t bits) {
  if constexpr (type == DataType::BF16) return __uint_as_float(static_cast<uint32_t>(bits) << 16);
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}
template <DataType type>
__device__ inline uint16_t narrowed(float x) {
  uint16_t bits;
  if constexpr (type == DataType::BF16)
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  else
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}

// Two floats as the elements of a word, the first in the lower half.
template <DataType type>
__device__ inline uint32_t pack(float low, float high) {
  uint32_t r;
  if constexpr (type == DataType::BF16)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

template <DataType type>
__device__ inline float2 unpack(uint32_t word) {
  return {widened<type>(static_cast<uint16_t>(word)), widened<type>(static_cast<uint16_t>(word >> 16))};
}

// The quotient; the remainder takes the numerator's place.
__device__ inline int divide(int& n, const Divisor& d) {
  const int quotient = static_cast<int>(static_cast<uint64_t>(static_cast<uint32_t>(n)) * d.multiplier >> d.shift);
  n -= quotient * static_cast<int>(d.value);
  return quotient;
}

__device__ inline float load_element(const void* data, int64_t i, DataType type) {
  switch (type) {
    case DataType::F16:
      return widened<DataType::F16>(static_cast<const uint16_t*>(data)[i]);
    case DataType::BF16:
      return widened<DataType::BF16>(static_cast<const uint16_t*>(data)[i]);
    default:
      return static_cast<const float*>(data)[i];
  }
}
__device__ inline void store_element(void* data, int64_t i, DataType type, float value) {
  switch (type) {
    case DataType::F16:
      static_cast<uint16_t*>(data)[i] = narrowed<DataType::F16>(value);
      break;
    case DataType::BF16:
      static_cast<uint16_t*>(data)[i] = narrowed<DataType::BF16>(value);
      break;
    default:
      static_cast<float*>(data)[i] = value;
  }
}

}  // namespace native::cuda
