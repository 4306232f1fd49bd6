// A convolution whose taps lie along one dimension, as passes over lines of pixels by fast algorithms: forward, and
// the gradient by the input, which has a pass for each residue of the position modulo the stride. Or one of two
// dimensions without stride or dilation, as a line of taps for each row of the window: what these multiply is added up
// in the same product.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/conv/fast_fir.h"
#include "kernels/conv/geometry.h"
#include "kernels/grid.h"

namespace native::conv {

constexpr int kMostLineTaps = 32;                  // and rows of a window
constexpr int kMostLineReads = 4 * kMostLineTaps;  // sources of a strip

// Result n of a residue is at start + residue + step * n, and its taps read where its own offsets say from
// residue + multiplier * n on. Residues are those of the position modulo the dilation.
struct LinePass {
  int64_t start, step, multiplier, residues;
  int64_t strips;  // of a residue of a line
  FastFir fir;
};

// Rows of a window of two dimensions. Strips that lie one below the other in an image are a column, and columns stand
// one behind the other, with as many strips of zeros between them as keep windows apart: a strip of results reads
// itself and the `count` - 1 behind it. So those of a column are its source's, `low` strips of zeros in front.
struct LineRows {
  int64_t count = 1;
  int64_t low = 0;
  int64_t source = 1, result = 1;  // lines of an image
  int64_t column = 1;              // strips of a column, zeros among them
  bool turned = false;             // the last row of taps is read first

  // Whether a product of each column's results is less work than one of all columns with what lies between.
  bool apart() const { return round_up(result, kTileRows) < column; }
  // Strips that these are as much work as.
  int64_t work() const { return apart() ? round_up(result, kTileRows) : column; }

 private:
  static constexpr int64_t kTileRows = 6;  // of a micro-kernel
};

struct Line {
  int64_t lines, inner;  // lines in all, or images; neighbouring pixels of a line are `inner` pixels apart
  int64_t source, result;
  int64_t depth, columns;  // channels of source and result
  int64_t taps;            // of a row of the window
  LineRows rows{};
  std::vector<LinePass> passes;

  // The first pixel of a line of so many.
  int64_t pixel(int64_t line, int64_t length) const {
    return inner == 1 ? line * length : line / inner * length * inner + line % inner;
  }
  int64_t strips(const LinePass& pass) const { return lines * pass.residues * pass.strips * rows.column; }
  int64_t all_taps() const { return rows.count * taps; }
  // Of the row of taps that is read at so many lines behind the first one.
  int64_t row_of_taps(int64_t behind) const { return rows.turned ? rows.count - 1 - behind : behind; }

  // Where a strip reads and writes: the first pixels of its line, and positions in it; outside of the line where it
  // stands for zeros, or for no results.
  struct Strip {
    int64_t source_line, result_line, source, result;
  };
  // `count` strips from one on, perhaps past the last.
  void list_strips(const LinePass& pass, int64_t index, int64_t count, Strip* out) const;
  // Elements in front of a pixel of a strip; -1 in the padding.
  int64_t source_of(const Strip& strip, int64_t offset) const {
    const int64_t at = strip.source + offset;
    return at >= 0 && at < source ? (strip.source_line + at * inner) * depth : -1;
  }
  int64_t result_of(const Strip& strip, int64_t offset) const {
    const int64_t at = strip.result + offset;
    return at < result ? (strip.result_line + at * inner) * columns : -1;
  }

 private:
  void list_columns(const LinePass& pass, int64_t index, int64_t count, Strip* out) const;
};

// Transforms the sources of a chunk, of which `rows` are those that the algorithm reads; out(point) is where the values
// go.
template <class Out>
void take_chunk(const FirTransforms& transform, const FirChunk& chunk, const float* const* rows, int64_t channels,
                Out out) {
  const float *first[kMostChunkRows], *second[kMostChunkRows];
  float* values[kPoints];
  for (int i = 0; i <= chunk.taps; ++i) first[i] = rows[chunk.rows[i]], second[i] = rows[chunk.less[i]];
  for (int point = 0; point < kPoints; ++point) values[point] = chunk.part[point] < 0 ? nullptr : out(point);
  transform.values[chunk.taps - 1][chunk.differences](first, second, channels, values);
}

// Of a convolution or gradient in float32. Nothing where taps lie along no dimension, along two with strides or
// dilation or as 3x3, or along three, where there are groups, or strides and dilation together; with `best` nor where
// transforms would cost more than the multiplications saved.
std::optional<Line> line_of(const Problem& problem, bool best);

// Where weights are transformed once for many runs. What is best then does not depend on the batch.
// How many results a strip of a convolution has at best; 0 where it is not worth it, as with `best`.
int best_prepared(const Problem& problem);
// Of `line_conv`, whose weights have the sizes of the kernel in front of what `line_weights` made, with that many as
// the attribute `results`.
std::optional<Line> line_of_prepared(const Problem& problem);
// Of `line_weights`, with the attributes of such a convolution; for the weights alone.
std::optional<Line> line_of_weights(const Problem& problem);

}  // namespace native::conv
