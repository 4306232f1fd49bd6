#include "kernels/conv/combine.h"

#include "simd/vec.h"

namespace native::conv {
namespace NATIVE_ISA {
namespace {

// Where `part`, the first n lanes.
inline vf32 read(const float* from, bool part, int n) { return part ? load_part(from, n) : load(from); }

struct Nothing {
  vf32 operator()(vf32 x, int64_t, bool, int) const { return x; }
};

struct Finish {
  const RowEpilogue& epilogue;

  vf32 operator()(vf32 x, int64_t c, bool part, int n) const {
    if (epilogue.bias) x += read(epilogue.bias + c, part, n);
    if (epilogue.residual) x += read(epilogue.residual + c, part, n);
    // In this order NaN passes through both.
    if (epilogue.activation > 0) x = vmax(vf32{}, x);
    if (epilogue.activation == 2) x = vmin(splat(6.0f), x);
    return x;
  }
};

// Of N terms, any number if 0.
template <int N, class End>
void rows_of(const Term* terms, int64_t count, const float* const* rows, int64_t channels, End end, float* out) {
  constexpr int kL = kLanes<float>, kTerms = N ? N : 1;
  const float* from[kTerms];
  vf32 factor[kTerms];
  for (int i = 0; i < N; ++i) from[i] = rows[terms[i].row], factor[i] = splat(terms[i].factor);
  auto sum = [&](int64_t c, bool part, int n) __attribute__((always_inline)) {
    if constexpr (N == 0) {
      vf32 x{};
      for (int64_t i = 0; i < count; ++i) x += terms[i].factor * read(rows[terms[i].row] + c, part, n);
      return x;
    } else {
      vf32 x = factor[0] * read(from[0] + c, part, n);
#pragma GCC unroll 8
      for (int i = 1; i < N; ++i) x += factor[i] * read(from[i] + c, part, n);
      return x;
    }
  };
  int64_t c = 0;
  for (; c + kL <= channels; c += kL) store(out + c, end(sum(c, false, kL), c, false, kL));
  const int left = static_cast<int>(channels - c);
  if (left > 0) store_part(out + c, end(sum(c, true, left), c, true, left), left);
}

template <class End>
void dispatch(const Term* terms, int64_t count, const float* const* rows, int64_t channels, End end, float* out) {
  switch (count) {
    case 1:
      return rows_of<1>(terms, count, rows, channels, end, out);
    case 2:
      return rows_of<2>(terms, count, rows, channels, end, out);
    case 3:
      return rows_of<3>(terms, count, rows, channels, end, out);
    case 4:
      return rows_of<4>(terms, count, rows, channels, end, out);
    case 6:
      return rows_of<6>(terms, count, rows, channels, end, out);
    default:
      return rows_of<0>(terms, count, rows, channels, end, out);
  }
}

void combine(const Term* terms, int64_t count, const float* const* rows, int64_t channels, float* out) {
  dispatch(terms, count, rows, channels, Nothing{}, out);
}

void finish(const Term* terms, int64_t count, const float* const* rows, int64_t channels, const RowEpilogue& epilogue,
            float* out) {
  dispatch(terms, count, rows, channels, Finish{epilogue}, out);
}

}  // namespace

extern const CombineTable combine_table;
const CombineTable combine_table = {combine, finish};

}  // namespace NATIVE_ISA
}  // namespace native::conv
