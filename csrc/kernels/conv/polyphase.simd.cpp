#include "kernels/conv/polyphase.h"

#include "simd/partial.h"

namespace native::conv {
namespace NATIVE_ISA {
namespace {

constexpr int L = kLanes<float>;

// The values of one dimension: pixel `plus` less pixel `minus`, if that is not negative. They belong to three slots,
// `counts` of them to each.
struct Three {
  static constexpr int patch = 5, values = 5, counts[3] = {2, 1, 2};
  static constexpr int plus[] = {0, 1, 2, 4, 3}, minus[] = {2, -1, -1, 2, -1};
};
struct Four {
  static constexpr int patch = 6, values = 6, counts[3] = {2, 2, 2};
  static constexpr int plus[] = {0, 1, 2, 3, 4, 5}, minus[] = {2, 3, -1, -1, 2, 3};
};
struct Gradient {
  static constexpr int patch = 3, values = 3, counts[3] = {1, 1, 1};
  static constexpr int plus[] = {0, 1, 2}, minus[] = {1, -1, 1};
};
struct Shifted {
  static constexpr int patch = 4, values = 6, counts[3] = {2, 2, 2};
  static constexpr int plus[] = {1, 0, 2, 1, 3, 2}, minus[] = {2, 1, -1, -1, 2, 1};
};

// Where the value of row term `row` and column term `column` is among all.
template <class Line>
constexpr int place(int row, int column) {
  int before = 0;
  for (int i = 0, first_row = 0; i < 3; first_row += Line::counts[i++])
    for (int j = 0, first_column = 0; j < 3; first_column += Line::counts[j++]) {
      const int r = row - first_row, c = column - first_column;
      if (r >= 0 && r < Line::counts[i] && c >= 0 && c < Line::counts[j]) return before + r * Line::counts[j] + c;
      before += Line::counts[i] * Line::counts[j];
    }
  return -1;
}

template <class Line>
struct Places {
  int at[Line::values][Line::values];
  constexpr Places() : at() {
    for (int r = 0; r < Line::values; ++r)
      for (int c = 0; c < Line::values; ++c) at[r][c] = place<Line>(r, c);
  }
};

template <class Line, bool Partial>
inline void input_part(const float* const* source, int64_t channels, int64_t at, int lanes, float* value) {
  static constexpr Places<Line> places;
#pragma GCC unroll 6
  for (int column = 0; column < Line::values; ++column) {
    vf32 d[Line::patch];
#pragma GCC unroll 6
    for (int row = 0; row < Line::patch; ++row) {
      const float* const* pixels = source + row * Line::patch;
      d[row] = get<Partial>(pixels[Line::plus[column]] + at, lanes);
      if (Line::minus[column] >= 0) d[row] -= get<Partial>(pixels[Line::minus[column]] + at, lanes);
    }
#pragma GCC unroll 6
    for (int row = 0; row < Line::values; ++row) {
      vf32 v = d[Line::plus[row]];
      if (Line::minus[row] >= 0) v -= d[Line::minus[row]];
      put<Partial>(value + places.at[row][column] * channels + at, v, lanes);
    }
  }
}

template <class Line>
void input(const float* const* source, int64_t channels, float* value) {
  int64_t c = 0;
  for (; c + L <= channels; c += L) input_part<Line, false>(source, channels, c, L, value);
  if (c < channels) input_part<Line, true>(source, channels, c, static_cast<int>(channels - c), value);
}

template <bool Partial>
inline void output_part(const float* const* product, int64_t at, int lanes, const float* bias, int activation,
                        float* const* result) {
  vf32 m[9];
#pragma GCC unroll 9
  for (int i = 0; i < 9; ++i) m[i] = product[i] ? get<Partial>(product[i] + at, lanes) : vf32{};
  const vf32 zero{}, shift = bias ? get<Partial>(bias + at, lanes) : zero;
#pragma GCC unroll 2
  for (int r = 0; r < 2; ++r)
#pragma GCC unroll 2
    for (int c = 0; c < 2; ++c) {
      if (!result[2 * r + c]) continue;
      vf32 y = (m[3 * r + c] + m[3 * r + c + 1]) + (m[3 * r + 3 + c] + m[3 * r + 3 + c + 1]) + shift;
      // In this order NaN passes through both.
      if (activation > 0) y = zero > y ? zero : y;
      if (activation == 2) y = (zero + 6) < y ? (zero + 6) : y;
      put<Partial>(result[2 * r + c] + at, y, lanes);
    }
}

void output(const float* const* product, int64_t channels, const float* bias, int activation, float* const* result) {
  int64_t c = 0;
  for (; c + L <= channels; c += L) output_part<false>(product, c, L, bias, activation, result);
  if (c < channels) output_part<true>(product, c, static_cast<int>(channels - c), bias, activation, result);
}

// The adjoint of `output`.
template <bool Partial>
inline void cotangent_part(const float* const* ct, int64_t at, int lanes, float* out, int64_t pitch) {
  vf32 rows[2][3];
#pragma GCC unroll 2
  for (int r = 0; r < 2; ++r) {
    rows[r][0] = get<Partial>(ct[2 * r] + at, lanes);
    rows[r][2] = get<Partial>(ct[2 * r + 1] + at, lanes);
    rows[r][1] = rows[r][0] + rows[r][2];
  }
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    put<Partial>(out + j * pitch + at, rows[0][j], lanes);
    put<Partial>(out + (3 + j) * pitch + at, rows[0][j] + rows[1][j], lanes);
    put<Partial>(out + (6 + j) * pitch + at, rows[1][j], lanes);
  }
}
void cotangent(const float* const* ct, int64_t channels, float* out, int64_t pitch) {
  int64_t c = 0;
  for (; c + L <= channels; c += L) cotangent_part<false>(ct, c, L, out, pitch);
  if (c < channels) cotangent_part<true>(ct, c, static_cast<int>(channels - c), out, pitch);
}

template <class Line>
constexpr PolyphaseInput input_of() {
  return {Line::patch, Line::values, &input<Line>};
}

}  // namespace

extern const PolyphaseTable polyphase_table;
const PolyphaseTable polyphase_table = {
    {input_of<Three>(), input_of<Four>()}, input_of<Gradient>(), input_of<Shifted>(), &output, &cotangent};

}  // namespace NATIVE_ISA
}  // namespace native::conv
