// Where the tiles of a direct convolution read and write: tables of addresses for the results of a pass, in order.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/conv/geometry.h"
#include "kernels/grid.h"

namespace native::conv {

struct Tap {
  Triple offset;   // in the source
  int64_t weight;  // index among the kernel's taps
};

struct Pass {
  Triple count;  // results along each dimension, at start + step * j
  Triple start, step;
  std::vector<Tap> taps;
  int64_t weights_at;  // first packed weight, in elements
  int64_t pixels;
  int64_t unit;  // so many pixels read as the ones before them do, some rows further on; 0: no such number
};

// Of whole images, or of parts that are convolutions of their own.
struct PixelLists {
  Triple source, result, multiplier;  // sizes, and the step of the source from result to result
  int64_t source_channels, result_channels;
  int pooled;  // a result is the largest of a window of 2 along so many dimensions, the last ones; or 0
  int lanes;   // of a tile: pixels that it computes

  // Of a result: the sides and the size of its window, and as many lanes of a tile.
  int64_t span(int dim) const { return dim + pooled > 2 ? 2 : 1; }
  int64_t window() const { return int64_t{1} << pooled; }
  int64_t tile_results() const { return lanes / window(); }

  // The sources [tile][tap][lane] and results [tile][lane, or window of lanes] of some pixels. The lanes that a last
  // tile lacks do what its last one does.
  template <class T>
  void list(const Pass& pass, int64_t first, int64_t pixels, const T* from, const T* zeros, T* to, const T** sources,
            T** results) const;

  // Where in the source the row of results begins to read to which a pixel belongs, but for the taps' offsets.
  int64_t first_source(const Pass& pass, int64_t pixel) const {
    const int64_t row = pixel / pass.count[2], plane = row / pass.count[1];
    const int64_t h = row % pass.count[1] * multiplier[1] * span(1),
                  d = plane % pass.count[0] * multiplier[0] * span(0);
    return ((plane / pass.count[0] * source[0] + d) * source[1] + h) * source[2] * source_channels;
  }
};

// Where the next source of a tap goes: every (1 << shift)th lane of a tile, then of the next tile, `tile` further on.
template <class T>
struct Lanes {
  const T** at;
  int64_t lane, lanes, tile, shift;

  // `count` sources, `step` elements apart.
  void put(int64_t count, const T* source, int64_t step) {
    while (count > 0) {
      const int64_t here = std::min(count, ((lanes - lane - 1) >> shift) + 1);
      for (int64_t i = 0; i < here; ++i, source += step) at[lane + (i << shift)] = source;
      count -= here;
      lane += here << shift;
      if (lane >= lanes) lane -= lanes, at += tile;
    }
  }
};

template <class T>
void PixelLists::list(const Pass& pass, int64_t first, int64_t pixels, const T* from, const T* zeros, T* to,
                      const T** sources, T** results) const {
  const int64_t rows = tile_results(), taps = static_cast<int64_t>(pass.taps.size());
  Triple j;
  int64_t rest = first;
  for (int i = 2; i >= 0; --i) j[i] = rest % pass.count[i], rest /= pass.count[i];
  int64_t n = rest, p = 0;
  // Row by row, in stretches that are in the padding or not: with few channels a pixel's sources cost as much as its
  // products.
  while (p < pixels) {
    const int64_t length = std::min(pass.count[2] - j[2], pixels - p), step = multiplier[2] * span(2);
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t place = 0; place < window(); ++place) {
        const Triple& offset = pass.taps[t].offset;
        const int64_t d = (j[0] * span(0) + place / 4) * multiplier[0] + offset[0];
        const int64_t h = (j[1] * span(1) + place / 2 % 2) * multiplier[1] + offset[1];
        const bool inside = d >= 0 && d < source[0] && h >= 0 && h < source[1];
        const int64_t w = (j[2] * span(2) + place % 2) * multiplier[2] + offset[2];
        // The pixels i with 0 <= w + i * step < source[2].
        const int64_t end = std::clamp<int64_t>(ceil_div(source[2] - w, step), 0, length) * inside;
        const int64_t begin = std::clamp<int64_t>(ceil_div(-w, step), 0, end);
        const T* const row = inside ? from + ((n * source[0] + d) * source[1] + h) * source[2] * source_channels : from;
        Lanes<T> next{sources + (p / rows * taps + t) * lanes, p % rows * window() + place, lanes, taps * lanes,
                      pooled};
        next.put(begin, zeros, 0);
        next.put(end - begin, row + (w + begin * step) * source_channels, step * source_channels);
        next.put(length - end, zeros, 0);
      }
    const int64_t row =
        (n * result[0] + pass.start[0] + j[0] * pass.step[0]) * result[1] + pass.start[1] + j[1] * pass.step[1];
    T* at = to + (row * result[2] + pass.start[2] + j[2] * pass.step[2]) * result_channels;
    for (int64_t i = 0; i < length; ++i) results[p + i] = at + i * pass.step[2] * result_channels;
    p += length;
    j[2] = 0;
    if (++j[1] == pass.count[1]) j[1] = 0, ++j[0];
    if (j[0] == pass.count[0]) j[0] = 0, ++n;
  }
  for (; p % rows != 0; ++p) {
    for (int64_t t = 0; t < taps; ++t) {
      const T** const lane = sources + (p / rows * taps + t) * lanes + p % rows * window();
      std::copy_n(lane - window(), window(), lane);
    }
    results[p] = results[p - 1];
  }
}

}  // namespace native::conv
