// The matrices of convolutions as sources of tiles: none is ever in memory.
#pragma once

#include "kernels/conv/params.h"
#include "kernels/gemm/operand.cuh"

namespace native::cuda::conv {

struct Position {
  int n, at[3];
};
__device__ inline Position position(const Windows& g, int row) {
  Position p;
  int rest = row;
  const int plane = divide(rest, g.positions[2]);
  p.at[2] = rest;
  rest = plane;
  const int volume = divide(rest, g.positions[1]);
  p.at[1] = rest;
  rest = volume;
  p.n = divide(rest, g.positions[0]);
  p.at[0] = rest;
  return p;
}

struct Tap {
  int at[3], channel;
};
__device__ inline Tap tap(const Windows& g, int column) {
  Tap t;
  t.channel = column;
  t.at[2] = divide(t.channel, g.by_group);
  t.at[1] = divide(t.at[2], g.taps[2]);
  t.at[0] = divide(t.at[1], g.taps[1]);
  return t;
}

// Where a window begins: the pixel that its first tap would meet, and that pixel's place.
struct __align__(16) Begin {
  int pixel, at[3];
};
__device__ inline Begin begin(const Windows& g, int row) {
  const Position p = position(g, row);
  Begin b;
  b.pixel = p.n;
#pragma unroll
  for (int d = 0; d < 3; ++d) {
    b.at[d] = p.at[d] * g.stride[d] + g.start[d];
    b.pixel = b.pixel * g.size[d] + b.at[d];
  }
  return b;
}

template <int bytes>
struct WindowSource {
  using Walk = gemm::Search<WindowSource>;
  const Windows& g;
  const char* data;
  int rows, columns;
  bool aligned;

  struct Row {
    const char* pixel;
    int at[3];
    bool inside;
  };
  struct Column {
    int offset, at[3];
    bool inside;
  };

  __device__ WindowSource(const Windows& g, int group, int rows, int columns)
      : g(g),
        data(static_cast<const char*>(g.data) + static_cast<int64_t>(group) * g.group * bytes),
        rows(rows),
        columns(columns),
        aligned(g.aligned) {}

  __device__ Row row(int r) const { return of(begin(g, r), r < rows); }
  __device__ Column column(int c) const {
    const Tap t = tap(g, c);
    Column k;
    int pixels = 0;
#pragma unroll
    for (int d = 0; d < 3; ++d) {
      k.at[d] = t.at[d] * g.step[d];
      pixels = pixels * g.size[d] + k.at[d];
    }
    k.offset = (pixels * g.channels + t.channel) * bytes;
    k.inside = c < columns;
    return k;
  }
  __device__ gemm::Element at(const Row& r, const Column& c) const {
    bool inside = r.inside && c.inside;
#pragma unroll
    for (int d = 0; d < 3; ++d)
      inside = inside && static_cast<unsigned>(r.at[d] + c.at[d]) < static_cast<unsigned>(g.size[d]);
    return {r.pixel + c.offset, inside};
  }

 protected:
  __device__ Row of(const Begin& b, bool inside) const {
    return {data + static_cast<int64_t>(b.pixel) * g.channels * bytes, {b.at[0], b.at[1], b.at[2]}, inside};
  }
};

// The windows of a block's rows, which stay the same while its terms pass: where they begin is found once and
// kept in shared memory.
template <int bytes>
struct KeptWindows : WindowSource<bytes> {
  using Walk = gemm::Search<KeptWindows>;
  const Begin* kept;
  int first;

  __device__ KeptWindows(const WindowSource<bytes>& source, const Begin* kept, int first)
      : WindowSource<bytes>(source), kept(kept), first(first) {}
  __device__ typename WindowSource<bytes>::Row row(int r) const { return this->of(kept[r - first], r < this->rows); }
};

// The filter's matrix.
template <int bytes>
struct FilterSource {
  using Walk = gemm::Search<FilterSource>;
  const Params& p;
  const char* data;
  int rows, columns;
  bool aligned;

  struct Row {
    const char* begin;
    bool inside;
  };
  struct Column {
    int64_t offset;
    bool inside;
  };
  __device__ FilterSource(const Params& p, int group, int rows, int columns)
      : p(p),
        data(static_cast<const char*>(p.b.data) + (p.filter.first + group * p.windows.group) * bytes),
        rows(rows),
        columns(columns),
        aligned(p.b.aligned) {}
  __device__ Row row(int r) const { return {data + r * p.b.row * bytes, r < rows}; }
  __device__ Column column(int c) const {
    const Tap t = tap(p.windows, c);
    const int64_t* steps = p.filter.tap;
    return {(t.at[0] * steps[0] + t.at[1] * steps[1] + t.at[2] * steps[2] + t.channel) * bytes, c < columns};
  }
  __device__ gemm::Element at(const Row& r, const Column& c) const {
    return {r.begin + c.offset, r.inside && c.inside};
  }
};

}  // namespace native::cuda::conv
