#include "kernels/gather/scatter.h"

#include "kernels/reduce/fold.h"

namespace native {
namespace NATIVE_ISA {
namespace {

template <class Op, class T>
void join(const void* base_, const void* updates_, const uint32_t* order, int64_t n, int64_t ld, int64_t width,
          void* out_) {
  using A = Accumulator<T>;
  const T* base = static_cast<const T*>(base_);
  const T* updates = static_cast<const T*>(updates_);
  T* out = static_cast<T*>(out_);
  alignas(64) A acc[kJoinWidth];
  if (kIsInteger<A>) {
    for (int64_t j = 0; j < width; ++j) acc[j] = base ? sget(base + j) : Op::template identity<A>();
    for (int64_t k = 0; k < n; ++k) {
      const T* row = updates + order[k] * ld;
      for (int64_t j = 0; j < width; ++j) acc[j] = Op::join(acc[j], sget(row + j));
    }
    for (int64_t j = 0; j < width; ++j) sput(out + j, acc[j]);
    return;
  }
  if constexpr (!kIsInteger<A>) {
    constexpr int64_t lanes = kLanes<A>;
    const int64_t whole = width / lanes * lanes;
    const Vec<A> nothing = splat(Op::template identity<A>());
    for (int64_t j = 0; j < whole; j += lanes) store(acc + j, base ? vget(base + j) : nothing);
    for (int64_t j = whole; j < width; ++j) acc[j] = base ? sget(base + j) : Op::template identity<A>();
    int64_t k = 0;
    for (; k + 4 <= n; k += 4) {
      const T *a = updates + order[k] * ld, *b = updates + order[k + 1] * ld, *c = updates + order[k + 2] * ld,
              *d = updates + order[k + 3] * ld;
      for (int64_t j = 0; j < whole; j += lanes)
        store(acc + j, Op::join(load(acc + j),
                                Op::join(Op::join(vget(a + j), vget(b + j)), Op::join(vget(c + j), vget(d + j)))));
      for (int64_t j = whole; j < width; ++j)
        acc[j] = Op::join(acc[j], Op::join(Op::join(sget(a + j), sget(b + j)), Op::join(sget(c + j), sget(d + j))));
    }
    for (; k < n; ++k) {
      const T* row = updates + order[k] * ld;
      for (int64_t j = 0; j < whole; j += lanes) store(acc + j, Op::join(load(acc + j), vget(row + j)));
      for (int64_t j = whole; j < width; ++j) acc[j] = Op::join(acc[j], sget(row + j));
    }
    for (int64_t j = 0; j < whole; j += lanes) vput(out + j, load(acc + j));
    for (int64_t j = whole; j < width; ++j) sput(out + j, acc[j]);
  }
}

}  // namespace

extern const ScatterTable scatter_table;
const ScatterTable scatter_table = {{NATIVE_ARITHMETIC(join, Sum), NATIVE_ARITHMETIC(join, Prod),
                                     NATIVE_WIDE_ORDER(join, Max), NATIVE_WIDE_ORDER(join, Min)}};

}  // namespace NATIVE_ISA
}  // namespace native
