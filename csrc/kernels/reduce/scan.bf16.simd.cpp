// Running sums, products, maxima and minima, and linear recurrences.
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

template <class Op, class T>
void scan(const void* x_, int64_t n, int64_t step, int64_t width, void* y_) {
  const T* x = static_cast<const T*>(x_);
  T* y = static_cast<T*>(y_);
  using A = Accumulator<T>;
  using C = Carry<T>;
  if (width == 1) {
    C carry = Op::template identity<C>();
    for (int64_t i = 0; i < n; ++i) {
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
