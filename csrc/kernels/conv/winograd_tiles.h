// Where Winograd's method applies, and the tiles that cover the results of a convolution.
#pragma once

#include <optional>

#include "kernels/conv/geometry.h"
#include "kernels/conv/winograd.h"

namespace native::conv {

struct WinogradChoice {
  Geometry geometry;
  WinogradTile tile;
};

// For a convolution or gradient in float32 or bfloat16 and of stride 1: squares of that side where the kernel is 3x3,
// cubes of side 2 where it is 3x3x3, in float32. Nothing where the method does not apply; with `best` nor where the
// side may not be taken (winograd_side()), or transforms would cost more than they save.
std::optional<WinogradChoice> winograd_choice(const Problem& problem, int side, bool best);

// Tiles in the order of memory; the last ones may reach beyond the results.
class TileGrid {
 public:
  TileGrid(int64_t images, const Triple& results, const WinogradTile& tile);

  int64_t count() const { return images_ * along_[0] * along_[1] * along_[2]; }
  // Results of an image along a dimension, with those beyond.
  int64_t covered(int dim) const { return along_[dim] * tile_.results(dim); }

  // The image of a tile and where its results begin.
  struct Place {
    int64_t image;
    Triple first;
  };
  Place place(int64_t index) const {
    Place at{index, {}};
    for (int i = 2; i >= 0; --i) at.first[i] = at.image % along_[i] * tile_.results(i), at.image /= along_[i];
    return at;
  }

  // The sources of a tile with so many zeros in front of the images; P: a pointer to elements.
  template <class P>
  void list_sources(Place at, const Triple& low, const Triple& size, int64_t channels, P images, P zeros,
                    P* pixel) const {
    for (int i = 0; i < 3; ++i) at.first[i] -= low[i];
    list(at, {tile_.sources(0), tile_.sources(1), tile_.sources(2)}, size, channels, images, zeros, pixel);
  }
  // The results of a tile.
  template <class P>
  void list_results(const Place& at, const Triple& size, int64_t channels, P images, P outside, P* pixel) const {
    list(at, {tile_.results(0), tile_.results(1), tile_.results(2)}, size, channels, images, outside, pixel);
  }

  // Fetches what the tile behind one reads in the rows that no tile has read for long: `channels` of its pixels.
  template <class T>
  void fetch_next(const T* const* sources, const T* zeros, int64_t pixel, int64_t channels) const {
    const int side = tile_.sources(2);
    for (int plane = 0; plane < tile_.sources(0); ++plane)
      for (int row = side - tile_.side; row < side; ++row) {
        const T* const last = sources[(plane * side + row) * side + side - 1];
        if (last == zeros) continue;
        for (int i = 1; i <= tile_.side; ++i)
          for (int64_t c = 0; c < channels; c += 64 / sizeof(T)) __builtin_prefetch(last + i * pixel + c);
      }
  }

 private:
  template <class P>
  static void list(const Place& at, const Triple& box, const Triple& size, int64_t channels, P images, P outside,
                   P* pixel) {
    const Triple& first = at.first;
    for (int64_t d = first[0]; d < first[0] + box[0]; ++d)
      for (int64_t h = first[1]; h < first[1] + box[1]; ++h) {
        const bool within = d >= 0 && d < size[0] && h >= 0 && h < size[1];
        const int64_t line = ((at.image * size[0] + d) * size[1] + h) * size[2];
        for (int64_t w = first[2]; w < first[2] + box[2]; ++w)
          *pixel++ = within && w >= 0 && w < size[2] ? images + (line + w) * channels : outside;
      }
  }

  int64_t images_;
  WinogradTile tile_;
  Triple along_;
};

}  // namespace native::conv
