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
    (tile_.side == 2 ? list<4, P> : list<6, P>)(at, tile_.sources(0), size, channels, images, zeros, pixel);
  }
  // The results of a tile.
  template <class P>
  void list_results(const Place& at, const Triple& size, int64_t channels, P images, P outside, P* pixel) const {
    (tile_.side == 2 ? list<2, P> : list<4, P>)(at, tile_.planes, size, channels, images, outside, pixel);
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
  // A box of pixels, of so many planes.
  template <int side, class P>
  static void list(const Place& at, int planes, const Triple& size, int64_t channels, P images, P outside, P* pixel) {
    const auto [depth, height, width] = size;
    const auto [first_d, first_h, first_w] = at.first;
    for (int64_t d = first_d; d < first_d + planes; ++d)
      for (int64_t h = first_h; h < first_h + side; ++h, pixel += side) {
        const bool within = d >= 0 && d < depth && h >= 0 && h < height;
        const P line = images + (((at.image * depth + d) * height + h) * width + first_w) * channels;
        for (int64_t i = 0; i < side; ++i) {
          const int64_t w = first_w + i;
          pixel[i] = within && w >= 0 && w < width ? line + i * channels : outside;
        }
      }
  }

  int64_t images_;
  WinogradTile tile_;
  Triple along_;
};

}  // namespace native::conv
