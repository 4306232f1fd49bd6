#include "kernels/reduce/reduce.h"

#include "kernels/reduce/fold.h"

namespace native {
namespace NATIVE_ISA {
namespace {

template <class Op, class T>
void rows(const void* x, int64_t count, int64_t n, void* out) {
  const T* p = static_cast<const T*>(x);
  Accumulator<T>* y = static_cast<Accumulator<T>*>(out);
  for (int64_t i = 0; i < count; ++i) y[i] = fold_row<Op>(p + i * n, n);
}

template <class Op, class T>
void columns(const void* x, int64_t rows, int64_t ld, int64_t width, void* out) {
  fold_columns<Op>(static_cast<const T*>(x), rows, ld, width, static_cast<Accumulator<T>*>(out));
}

template <class T>
int64_t find(const void* x, int64_t n, const void* value) {
  using A = Accumulator<T>;
  const T* p = static_cast<const T*>(x);
  const A wanted = *static_cast<const A*>(value);
  const auto hit = [wanted](A v) { return wanted != wanted ? v != v : v == wanted; };
  constexpr int64_t block = 64;
  int64_t i = 0;
  for (; i + block <= n; i += block) {
    int any = 0;
    for (int64_t j = 0; j < block; ++j) any |= hit(sget(p + i + j));
    if (any) break;
  }
  for (; i < n; ++i)
    if (hit(sget(p + i))) return i;
  return n;
}

template <class Op, class T>
void find_columns(const void* x, int64_t rows, int64_t ld, int64_t width, void* best_out, int32_t* at) {
  using A = Accumulator<T>;
  const T* p = static_cast<const T*>(x);
  A* best = static_cast<A*>(best_out);
  for (int64_t j = 0; j < width; ++j) {
    best[j] = sget(p + j);
    at[j] = 0;
  }
  for (int64_t r = 1; r < rows; ++r) {
    const T* row = p + r * ld;
    for (int64_t j = 0; j < width; ++j) {
      const A a = best[j], b = sget(row + j), c = Op::join(a, b);
      // The result is another number than before, or the first NaN.
      const bool moved = (c != a) & (a == a);
      best[j] = c;
      at[j] = moved ? static_cast<int32_t>(r) : at[j];
    }
  }
}

}  // namespace

extern const ReduceTable reduce_table;
const ReduceTable reduce_table = {
    {NATIVE_ARITHMETIC(rows, Sum), NATIVE_ARITHMETIC(rows, Prod), NATIVE_ORDER(rows, Max), NATIVE_ORDER(rows, Min)},
    {NATIVE_ARITHMETIC(columns, Sum), NATIVE_ARITHMETIC(columns, Prod), NATIVE_ORDER(columns, Max),
     NATIVE_ORDER(columns, Min)},
    {find<uint8_t>, find<uint8_t>, find<uint16_t>, find<uint32_t>, find<uint64_t>, find<int8_t>, find<int16_t>,
     find<int32_t>, find<int64_t>, find<Half>, find<BFloat>, find<float>, find<double>},
    {NATIVE_ORDER(find_columns, Max), NATIVE_ORDER(find_columns, Min)},
};

}  // namespace NATIVE_ISA
}  // namespace native
