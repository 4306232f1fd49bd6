// Running sums, products, maxima and minima, and linear recurrences.
#include <utility>

#include "kernels/reduce/fold.h"
#include "kernels/reduce/reduce.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// A running sum adds one term at a time, so its error grows with the length: carried in double, floats
// keep theirs at half a unit.
template <class T>
struct CarryOf {
  typedef T type;
};
template <>
struct CarryOf<float> {
  typedef double type;
};
template <>
struct CarryOf<Half> {
  typedef double type;
};
template <>
struct CarryOf<BFloat> {
  typedef double type;
};
template <class T>
using Carry = typename CarryOf<T>::type;

// Whether terms may be joined by vectors: in any order of joins, but in their places. Products might vanish or overflow
// on the way, and so might sums that no wider type carries.
template <class Op, class T>
constexpr bool kByVectors =
    __is_same(T, float) ? !__is_same(Op, Prod) : __is_same(T, double) && (__is_same(Op, Max) || __is_same(Op, Min));

// Of 64 bytes, vectors would be slower: nearly all of a scan moves lanes across each other.
constexpr int kScanBytes = kVecBytes < 32 ? kVecBytes : 32;
template <class C>
constexpr int kScanLanes = kScanBytes / static_cast<int>(sizeof(C));
template <class C>
using Each = std::make_integer_sequence<int, kScanLanes<C>>;

// In the upper half of every 2 * by lanes, the last of the lower half; `identity` elsewhere.
template <int by, class V, int... i>
static inline V lower_last(V v, V identity, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(v, identity,
                                 (i & by ? i / (2 * by) * (2 * by) + by - 1 : static_cast<int>(sizeof...(i)) + i)...);
}
template <class V, int... i>
static inline V reversed(V v, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(v, v, (static_cast<int>(sizeof...(i)) - 1 - i)...);
}
template <class V, int... i>
static inline V last_lane(V v, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(v, v, (0 * i + static_cast<int>(sizeof...(i)) - 1)...);
}
// Lanes with all those before them.
template <class Op, class C, int by = 1, class V>
static inline V scan_lanes(V v) {
  if constexpr (by < kScanLanes<C>)
    return scan_lanes<Op, C, 2 * by>(Op::join(lower_last<by>(v, V{} + Op::template identity<C>(), Each<C>()), v));
  else
    return v;
}

// The elements of a row that fill vectors: how many, and what they come to.
template <class Op, class T, bool kReverse>
static int64_t scan_vectors(const T* x, int64_t n, T* y, Carry<T>* total) {
  using C = Carry<T>;
  constexpr int lanes = kScanLanes<C>;
  typedef C V __attribute__((vector_size(kScanBytes)));
  typedef T Elements __attribute__((vector_size(lanes * sizeof(T))));
  V carry = V{} + Op::template identity<C>();
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const int64_t at = kReverse ? 1 - i - lanes : i;
    Elements elements;
    __builtin_memcpy(&elements, x + at, sizeof elements);
    if (kReverse) elements = reversed(elements, Each<C>());
    V v;
    // GCC converts each half by itself if asked for __builtin_convertvector.
    for (int l = 0; l < lanes; ++l) v[l] = static_cast<C>(elements[l]);
    v = scan_lanes<Op, C>(v);
    elements = __builtin_convertvector(Op::join(carry, v), Elements);
    // Not the last lane of the result, which would have to wait for it longer.
    carry = Op::join(carry, last_lane(v, Each<C>()));
    if (kReverse) elements = reversed(elements, Each<C>());
    __builtin_memcpy(y + at, &elements, sizeof elements);
  }
  *total = carry[0];
  return i;
}

template <class Op, class T>
void scan(const void* x_, int64_t n, int64_t step, int64_t width, void* y_) {
  const T* x = static_cast<const T*>(x_);
  T* y = static_cast<T*>(y_);
  using A = Accumulator<T>;
  using C = Carry<T>;
  if (width == 1) {
    C carry = Op::template identity<C>();
    int64_t i = 0;
    if constexpr (kByVectors<Op, T>) {
      if (step == 1) i = scan_vectors<Op, T, false>(x, n, y, &carry);
      if (step == -1) i = scan_vectors<Op, T, true>(x, n, y, &carry);
    }
    for (; i < n; ++i) {
      carry = Op::join(carry, static_cast<C>(sget(x + i * step)));
      sput(y + i * step, static_cast<A>(carry));
    }
    return;
  }
  C carry[kScanWidth];
  for (int64_t j = 0; j < width; ++j) carry[j] = Op::template identity<C>();
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < width; ++j) {
      carry[j] = Op::join(carry[j], static_cast<C>(sget(x + i * step + j)));
      sput(y + i * step + j, static_cast<A>(carry[j]));
    }
}

template <class T>
void recurrence(const void* a_, const void* b_, int64_t n, int64_t step, int64_t width, void* y_) {
  const T *a = static_cast<const T*>(a_), *b = static_cast<const T*>(b_);
  T* y = static_cast<T*>(y_);
  using A = Accumulator<T>;
  using C = Carry<T>;
  C carry[kScanWidth];
  for (int64_t j = 0; j < width; ++j) carry[j] = 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < width; ++j) {
      const int64_t at = i * step + j;
      carry[j] = static_cast<C>(sget(a + at)) * carry[j] + static_cast<C>(sget(b + at));
      sput(y + at, static_cast<A>(carry[j]));
    }
}

}  // namespace

extern const ScanTable scan_table;
const ScanTable scan_table = {{NATIVE_ARITHMETIC(scan, Sum), NATIVE_ARITHMETIC(scan, Prod),
                               NATIVE_WIDE_ORDER(scan, Max), NATIVE_WIDE_ORDER(scan, Min)},
                              {nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                               recurrence<Half>, recurrence<BFloat>, recurrence<float>, recurrence<double>}};

}  // namespace NATIVE_ISA
}  // namespace native
