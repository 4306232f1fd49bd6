// Loops of tile operations, for SIMD units. Scalar loops are written so that the compiler vectorises them.
#pragma once

#include "kernels/elementwise/opcodes.h"
#include "simd/vec.h"

// Iterations are independent: an output may be an operand's own block, never a part of it.
#if defined(__clang__)
#define NATIVE_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define NATIVE_INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace native {
namespace {

// n is a multiple of kTileUnit; saying so spares the loops their remainders.
static inline int whole(int n) { return n & ~(kTileUnit - 1); }

template <class To, class From, class Op>
static void map1(void* out, const void* a, const void*, const void*, int n, const double*) {
  To* y = static_cast<To*>(out);
  const From* x = static_cast<const From*>(a);
  n = whole(n);
  NATIVE_INDEPENDENT
  for (int i = 0; i < n; ++i) y[i] = static_cast<To>(Op::apply(x[i]));
}

template <class To, class From, class Op>
static void map2(void* out, const void* a, const void* b, const void*, int n, const double*) {
  To* y = static_cast<To*>(out);
  const From* x = static_cast<const From*>(a);
  const From* z = static_cast<const From*>(b);
  n = whole(n);
  NATIVE_INDEPENDENT
  for (int i = 0; i < n; ++i) y[i] = static_cast<To>(Op::apply(x[i], z[i]));
}

template <class T, class Op>
static void map3(void* out, const void* a, const void* b, const void* c, int n, const double*) {
  T* y = static_cast<T*>(out);
  const T* x = static_cast<const T*>(a);
  const T* z = static_cast<const T*>(b);
  const T* w = static_cast<const T*>(c);
  n = whole(n);
  NATIVE_INDEPENDENT
  for (int i = 0; i < n; ++i) y[i] = Op::apply(x[i], z[i], w[i]);
}

// With the immediate as second argument.
template <class T, class Op>
static void map_immediate(void* out, const void* a, const void*, const void*, int n, const double* immediates) {
  T* y = static_cast<T*>(out);
  const T* x = static_cast<const T*>(a);
  const T s = static_cast<T>(immediates[0]);
  n = whole(n);
  NATIVE_INDEPENDENT
  for (int i = 0; i < n; ++i) y[i] = Op::apply(x[i], s);
}

// A function of vectors, inlined with all that it calls so that its constants stay in registers.
template <class T, Vec<T> (*function)(Vec<T>)>
[[gnu::flatten]] static void map_vector(void* out, const void* a, const void*, const void*, int n, const double*) {
  for (int i = 0; i < n; i += kLanes<T>) store(static_cast<T*>(out) + i, function(load(static_cast<const T*>(a) + i)));
}
template <class T>
struct UnsignedOf {
  using type = T;
};
template <>
struct UnsignedOf<int32_t> {
  using type = uint32_t;
};
template <>
struct UnsignedOf<int64_t> {
  using type = uint64_t;
};
template <class T>
using Unsigned = typename UnsignedOf<T>::type;

// A number's own type, a vector's element.
template <class T>
struct LaneOf {
  using type = T;
};
template <>
struct LaneOf<vf32> {
  using type = float;
};
template <>
struct LaneOf<vi32> {
  using type = int32_t;
};
template <class T>
using Lane = typename LaneOf<T>::type;

template <class T>
constexpr bool kIsFloat = static_cast<Lane<T>>(0.5) != 0;
template <class T>
constexpr bool kIsSigned = static_cast<Lane<T>>(-1) < 0;

}  // namespace
}  // namespace native
