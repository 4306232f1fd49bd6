// Stores past the caches, for results that no cache keeps until they are read (is_far() in runtime/cpu.h). A store into
// a line that is not in a cache reads the line first and writes it back later; these do neither. They are for whole
// lines of 64 bytes that one thread writes one after the other and nobody has read just before: a line half written
// goes out in pieces, one that was in a cache is thrown out of it.
// Sources: Intel 64 and IA-32 Architectures Optimization Reference Manual, 9.4; AMD64 Architecture Programmer's Manual,
// volume 2, 7.4. Such stores are not ordered with others: pool::run() fences behind the tasks of each thread.
// Included by *.simd.cpp units (store_nontemporal) and others (copy_nontemporal).
#pragma once

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <immintrin.h>
#endif

#ifdef NATIVE_VEC_BYTES
#include "simd/vec.h"
#endif

namespace native {
namespace {

constexpr size_t kLineBytes = 64;

inline bool at_line(const void* p) { return reinterpret_cast<uintptr_t>(p) % kLineBytes == 0; }

#ifdef NATIVE_VEC_BYTES
// p is aligned to a vector.
template <class T>
inline void store_nontemporal(T* p, Vec<T> v) {
#if defined(__AVX512F__) && NATIVE_VEC_BYTES == 64
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)v);
#elif defined(__AVX__) && NATIVE_VEC_BYTES == 32
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)v);
#elif defined(__SSE2__) && NATIVE_VEC_BYTES == 16
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)v);
#else
  store(p, v);
#endif
}
#endif

// What is read next: a thread that only writes for a while leaves the memory's reading side idle.
struct Ahead {
  static constexpr int kMost = 4;
  int count = 0;
  const char* from[kMost];

  void add(const void* begin) {
    if (count < kMost) from[count++] = static_cast<const char*>(begin);
  }
};

// memcpy whose whole lines go past the caches; `from`, which a cache has, at any address. With each line that of what
// is `ahead` is asked for.
inline void copy_nontemporal(void* to, const void* from, size_t bytes, const Ahead& ahead) {
#ifdef __SSE2__
  char* out = static_cast<char*>(to);
  const char* in = static_cast<const char*>(from);
  const size_t head = (kLineBytes - reinterpret_cast<uintptr_t>(out) % kLineBytes) % kLineBytes;
  if (head >= bytes) {
    memcpy(to, from, bytes);
    return;
  }
  memcpy(out, in, head);
  size_t i = head;
  for (; i + kLineBytes <= bytes; i += kLineBytes) {
    for (int k = 0; k < ahead.count; ++k) __builtin_prefetch(ahead.from[k] + i);
    for (size_t k = 0; k < kLineBytes; k += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(out + i + k),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i + k)));
  }
  memcpy(out + i, in + i, bytes - i);
#else
  (void)ahead;
  memcpy(to, from, bytes);
#endif
}

}  // namespace
}  // namespace native
