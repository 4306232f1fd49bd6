#include "kernels/conv/patch_rows.h"

#include <algorithm>
#include <cstring>

#include "kernels/grid.h"

namespace native::conv {

void PatchRows::take_line(const BFloat16* x, int64_t line, BFloat16* to, bool padded) const {
  const int64_t h = line % g_.out[1], d = line / g_.out[1] % g_.out[0], n = line / g_.out[1] / g_.out[0];
  for (int64_t w = 0; w < g_.out[2]; ++w) {
    take(x, n, {d, h, w}, to);
    to += terms();
    if (padded) *to++ = {};
  }
}

void PatchRows::take(const BFloat16* x, int64_t image, const Triple& result, BFloat16* to) const {
  const int64_t run = g_.kernel[2] * g_.cin, w = result[2] * g_.stride[2] - g_.low[2];
  // Taps [begin, end) of a run lie inside the image.
  const int64_t step = g_.dilation[2];
  const int64_t begin = std::clamp<int64_t>(ceil_div(std::max<int64_t>(0, -w), step), 0, g_.kernel[2]);
  const int64_t end = std::clamp<int64_t>(ceil_div(std::max<int64_t>(0, g_.in[2] - w), step), begin, g_.kernel[2]);
  // A short run is copied as a line, over what is written next.
  constexpr int64_t kLine = 32;
  const bool short_run = step == 1 && end - begin == g_.kernel[2] && run <= kLine;
  const BFloat16* const to_end = to + terms();
  const BFloat16* const x_end = x + g_.in_pixels() * g_.cin;
  for (int64_t kd = 0; kd < g_.kernel[0]; ++kd)
    for (int64_t kh = 0; kh < g_.kernel[1]; ++kh, to += run) {
      const int64_t d = result[0] * g_.stride[0] - g_.low[0] + kd * g_.dilation[0];
      const int64_t h = result[1] * g_.stride[1] - g_.low[1] + kh * g_.dilation[1];
      if (d < 0 || d >= g_.in[0] || h < 0 || h >= g_.in[1] || begin == end) {
        std::fill_n(to, run, BFloat16{});
        continue;
      }
      const BFloat16* from = x + (((image * g_.in[0] + d) * g_.in[1] + h) * g_.in[2] + w) * g_.cin;
      if (short_run && to_end - to >= kLine && x_end - from >= kLine) {
        std::memcpy(to, from, kLine * sizeof(BFloat16));
        continue;
      }
      std::fill_n(to, begin * g_.cin, BFloat16{});
      if (step == 1)
        std::memcpy(to + begin * g_.cin, from + begin * g_.cin,
                    static_cast<size_t>((end - begin) * g_.cin) * sizeof(BFloat16));
      else
        for (int64_t k = begin; k < end; ++k)
          std::memcpy(to + k * g_.cin, from + k * step * g_.cin, static_cast<size_t>(g_.cin) * sizeof(BFloat16));
      std::fill_n(to + end * g_.cin, (g_.kernel[2] - end) * g_.cin, BFloat16{});
    }
}

}  // namespace native::conv
