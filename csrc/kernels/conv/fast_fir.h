// Convolution along one dimension with fewer multiplications: strips of 2 or 4 results by short algorithms.
//
// Two results of three taps take 4 products of transformed values instead of 6, at the points 0, 1, -1 and infinity,
// which is F(2, 3); of two taps 3 instead of 4, at 0, 1 and infinity; of one 2. All are sums at some of the same four
// positions, so that more taps are taken three at a time, in chunks, and added up before they are transformed back.
// Four results of many taps are three convolutions of half as many: of the even, of both and of the odd ones (F(2, 2)
// over them), which have four positions each.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "runtime/cpu.h"

namespace native::conv {

struct Term {
  int row;
  float factor;
};
using Terms = std::vector<Term>;

constexpr int kPoints = 4;          // 0, 1, -1 and infinity
constexpr int kMostPositions = 12;  // four for each of three convolutions
constexpr int kMostStripResults = 4;
constexpr int kMostChunkRows = 4;

// Up to three taps with sources rows[i] - less[i], or rows[i] alone.
struct FirChunk {
  int taps;
  bool differences;
  int position;  // that of point 0; the others follow
  std::array<int, kMostChunkRows> rows, less;
  std::array<int, kPoints> part;  // which of the products of each position; -1 where the point is not used
  std::array<Terms, kPoints> weights;
};

// A tap of the kernel, and how far in the source it reads from where the strip's first result does.
struct FirTap {
  int tap;
  int64_t offset;
};

struct FastFir {
  int results;                 // of a strip
  std::vector<int64_t> reads;  // offsets of its sources: row i of a chunk is where reads[i] says
  std::vector<FirChunk> chunks;
  std::vector<int64_t> parts;  // products of each position, perhaps none

  int positions() const { return static_cast<int>(parts.size()); }
  int64_t products() const;
};

// For taps in any order, where the next result reads `step` further on; 2 or 4 results a strip.
FastFir fast_fir(std::vector<FirTap> taps, int64_t step, int results);

// Transforms of rows of channels. Bias and what residuals point to are rows, or null; activation: 0 none, 1 relu, 2
// relu6.
struct FirTransforms {
  // out[c] = sum over terms of factor * rows[row][c]. `out` may be one of the rows.
  void (*combine)(const Term* terms, int64_t count, const float* const* rows, int64_t channels, float* out);
  // By taps - 1, and whether sources are differences: the values of a chunk at the points that it uses.
  void (*values[3][2])(const float* const* rows, const float* const* less, int64_t channels, float* const* out);
  // For 2 and 4 results: from the sums at all positions; those whose `out` is null are left out.
  void (*results[2])(const float* const* sums, int64_t channels, const float* bias, const float* const* residual,
                     int activation, float* const* out);
  // The adjoint of that: the cotangents of all positions, `pitch` elements apart.
  void (*cotangents[2])(const float* const* ct, int64_t channels, float* out, int64_t pitch);
};

NATIVE_ISA_TABLE(FirTransforms, fir_transforms)

}  // namespace native::conv
