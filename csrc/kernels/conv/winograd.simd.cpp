#include "kernels/conv/winograd.h"

#include "simd/element.h"

namespace native::conv {
namespace NATIVE_ISA {
namespace {

// One lane or a vector of them, so that the last channels take the same formulas.
inline const float* elements(const float* p) { return p; }
inline float* elements(float* p) { return p; }
inline const BFloat* elements(const uint16_t* p) { return reinterpret_cast<const BFloat*>(p); }
inline BFloat* elements(uint16_t* p) { return reinterpret_cast<BFloat*>(p); }

template <class V, class T>
inline V read(const T* p) {
  if constexpr (sizeof(V) == sizeof(float))
    return get(elements(p));
  else
    return vload(elements(p));
}
template <class T>
inline void write(T* p, float v) {
  put(elements(p), v);
}
template <class T>
inline void write(T* p, vf32 v) {
  vstore(elements(p), v);
}

template <class V, class T>
inline void input_lanes(const T* const* source, int64_t c, float* value, int64_t pitch) {
  V t[4][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const V d0 = read<V>(source[j] + c), d1 = read<V>(source[4 + j] + c), d2 = read<V>(source[8 + j] + c),
            d3 = read<V>(source[12 + j] + c);
    t[0][j] = d0 - d2;
    t[1][j] = d1 + d2;
    t[2][j] = d2 - d1;
    t[3][j] = d1 - d3;
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    float* to = value + 4 * i * pitch + c;
    write(to, t[i][0] - t[i][2]);
    write(to + pitch, t[i][1] + t[i][2]);
    write(to + 2 * pitch, t[i][2] - t[i][1]);
    write(to + 3 * pitch, t[i][1] - t[i][3]);
  }
}

template <class T>
void input(const T* const* source, int64_t channels, float* value, int64_t pitch) {
  int64_t c = 0;
  for (; c + kLanes<float> <= channels; c += kLanes<float>) input_lanes<vf32>(source, c, value, pitch);
  for (; c < channels; ++c) input_lanes<float>(source, c, value, pitch);
}

template <class V, class T>
inline void weight_lanes(const T* w, int64_t tap_pitch, int64_t c, float* value, int64_t pitch) {
  V t[4][3];
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    const V g0 = read<V>(w + j * tap_pitch + c), g1 = read<V>(w + (3 + j) * tap_pitch + c),
            g2 = read<V>(w + (6 + j) * tap_pitch + c);
    t[0][j] = g0;
    t[1][j] = 0.5f * (g0 + g2) + 0.5f * g1;
    t[2][j] = 0.5f * (g0 + g2) - 0.5f * g1;
    t[3][j] = g2;
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    float* to = value + 4 * i * pitch + c;
    const V even = 0.5f * (t[i][0] + t[i][2]), odd = 0.5f * t[i][1];
    write(to, t[i][0]);
    write(to + pitch, even + odd);
    write(to + 2 * pitch, even - odd);
    write(to + 3 * pitch, t[i][2]);
  }
}

template <class T>
void weight(const T* w, int64_t tap_pitch, int64_t channels, float* value, int64_t pitch) {
  int64_t c = 0;
  for (; c + kLanes<float> <= channels; c += kLanes<float>) weight_lanes<vf32>(w, tap_pitch, c, value, pitch);
  for (; c < channels; ++c) weight_lanes<float>(w, tap_pitch, c, value, pitch);
}

template <class V>
inline V activated(V x, int activation) {
  const V zero{};
  // In this order NaN passes through both.
  if (activation > 0) x = zero > x ? zero : x;
  if (activation == 2) x = (zero + 6.0f) < x ? (zero + 6.0f) : x;
  return x;
}

template <class V, class T>
inline void output_lanes(const float* value, int64_t pitch, int64_t c, const T* bias, const T* const* residual,
                         int activation, T* const* result) {
  V t[2][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const float* from = value + j * pitch + c;
    const V m0 = read<V>(from), m1 = read<V>(from + 4 * pitch), m2 = read<V>(from + 8 * pitch),
            m3 = read<V>(from + 12 * pitch);
    t[0][j] = m0 + m1 + m2;
    t[1][j] = m1 - m2 - m3;
  }
  const V b = bias ? read<V>(bias + c) : V{};
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const V sums[2] = {t[i][0] + t[i][1] + t[i][2] + b, t[i][1] - t[i][2] - t[i][3] + b};
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      const int pixel = 2 * i + j;
      if (!result[pixel]) continue;
      const V sum = residual ? sums[j] + read<V>(residual[pixel] + c) : sums[j];
      write(result[pixel] + c, activated(sum, activation));
    }
  }
}

template <class T>
void output(const float* value, int64_t pitch, int64_t channels, const T* bias, const T* const* residual,
            int activation, T* const* result) {
  int64_t c = 0;
  for (; c + kLanes<float> <= channels; c += kLanes<float>)
    output_lanes<vf32>(value, pitch, c, bias, residual, activation, result);
  for (; c < channels; ++c) output_lanes<float>(value, pitch, c, bias, residual, activation, result);
}

template <class V, class T>
inline void cotangent_lanes(const T* const* ct, int64_t c, float* value, int64_t pitch) {
  V t[4][2];
#pragma GCC unroll 2
  for (int j = 0; j < 2; ++j) {
    const V c0 = read<V>(ct[j] + c), c1 = read<V>(ct[2 + j] + c);
    t[0][j] = c0;
    t[1][j] = c0 + c1;
    t[2][j] = c0 - c1;
    t[3][j] = -c1;
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    float* to = value + 4 * i * pitch + c;
    write(to, t[i][0]);
    write(to + pitch, t[i][0] + t[i][1]);
    write(to + 2 * pitch, t[i][0] - t[i][1]);
    write(to + 3 * pitch, -t[i][1]);
  }
}

template <class T>
void cotangent(const T* const* ct, int64_t channels, float* value, int64_t pitch) {
  int64_t c = 0;
  for (; c + kLanes<float> <= channels; c += kLanes<float>) cotangent_lanes<vf32>(ct, c, value, pitch);
  for (; c < channels; ++c) cotangent_lanes<float>(ct, c, value, pitch);
}

template <class V, class T>
inline void weight_back_lanes(const float* value, int64_t parts, int64_t part_pitch, int64_t pitch, int64_t c, T* w,
                              int64_t tap_pitch) {
  V t[3][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    V u[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const float* from = value + (4 * i + j) * pitch + c;
      u[i] = read<V>(from);
      for (int64_t part = 1; part < parts; ++part) u[i] += read<V>(from + part * part_pitch);
    }
    t[0][j] = u[0] + 0.5f * (u[1] + u[2]);
    t[1][j] = 0.5f * (u[1] - u[2]);
    t[2][j] = 0.5f * (u[1] + u[2]) + u[3];
  }
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
    T* to = w + 3 * i * tap_pitch + c;
    write(to, t[i][0] + 0.5f * (t[i][1] + t[i][2]));
    write(to + tap_pitch, 0.5f * (t[i][1] - t[i][2]));
    write(to + 2 * tap_pitch, 0.5f * (t[i][1] + t[i][2]) + t[i][3]);
  }
}

template <class T>
void weight_back(const float* value, int64_t parts, int64_t part_pitch, int64_t pitch, int64_t channels, T* w,
                 int64_t tap_pitch) {
  int64_t c = 0;
  for (; c + kLanes<float> <= channels; c += kLanes<float>)
    weight_back_lanes<vf32>(value, parts, part_pitch, pitch, c, w, tap_pitch);
  for (; c < channels; ++c) weight_back_lanes<float>(value, parts, part_pitch, pitch, c, w, tap_pitch);
}

}  // namespace

extern const WinogradTable winograd_table;
const WinogradTable winograd_table = {
    {&input<float>, &weight<float>, &output<float>, &cotangent<float>, &weight_back<float>},
    {&input<uint16_t>, &weight<uint16_t>, &output<uint16_t>, &cotangent<uint16_t>, &weight_back<uint16_t>},
};

}  // namespace NATIVE_ISA
}  // namespace native::conv
