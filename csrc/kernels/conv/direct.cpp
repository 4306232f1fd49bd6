// Direct convolution without im2col: the forward primitive and the gradient by the input.
//
// Both are one loop, `result[j] = sum over taps of source[j * multiplier + offset(tap)] * weight(tap)`. The
// gradient by the input of a strided convolution is that loop once for each residue of the position modulo
// the stride (a pass), each with the taps that reach it.
//
// A pass is cut into blocks of pixels and those into tiles; weights are packed once a call into panels as
// wide as the tile. For a block, panel after panel is held in the caches while the tiles go over it. Of few channels
// with padding around them a task first copies what its block reads (frame.h).
#include "kernels/conv/direct.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "kernels/conv/activate.h"
#include "kernels/conv/direct_pixels.h"
#include "kernels/conv/frame.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::conv {
namespace {

constexpr int64_t elements(const Triple& sizes) { return sizes[0] * sizes[1] * sizes[2]; }

constexpr int64_t kPointers = 8192;  // of a table of sources, which stays in the second-level cache beside them
// Elements of a frame, which stays in the first-level cache or near it, and of one that is a single row at most.
constexpr int64_t kFrame = 12 << 10, kLongFrame = 64 << 10;
constexpr int64_t kLeastWork = 256 << 10;      // multiply-adds of a task, about 5 microseconds: a pool's wake-up
constexpr int64_t kCachedWeights = 128 << 10;  // bytes that stay in the second-level cache

struct Panel {
  int64_t group, first;  // first channel within the group
  int width;
  int tile;    // which of two
  int64_t at;  // columns packed before it
};

struct Task {
  int pass;
  int64_t first_pixel, pixels;
  int first_panel, panels;
};

// How weight (tap, k, column) of a group is found.
struct WeightStrides {
  int64_t tap, k, column, group;
};

template <class T>
const DirectVariant<T>* variants(const DirectTable& table) {
  if constexpr (sizeof(T) == 4)
    return table.f32;
  else
    return table.f64;
}

template <class T>
class Direct final : public Kernel {
 public:
  // Pooled: the largest of windows of 2 results along each of so many dimensions, the last ones; or 0.
  // `results`: a second one is which of its window each is.
  Direct(const Geometry& g, bool input_grad, int pooled, Activation activation, size_t operands, size_t results)
      : g_(g),
        activation_(activation),
        has_bias_(operands > 2),
        has_residual_(operands > 3),
        has_places_(results > 1),
        grid_{.source = input_grad ? g.out : g.in,
              .result = g.in,
              .multiplier = {1, 1, 1},
              .source_channels = input_grad ? g.cout : g.cin,
              .result_channels = input_grad ? g.cin : g.cout,
              .pooled = pooled,
              .lanes = 0} {
    if (input_grad) {
      run_ = g.group_out();
      group_columns_ = g.group_in();
      weight_ = {g.group_in() * g.cout, 1, g.cout, g.group_out()};
      add_residue_passes();
    } else {
      for (int i = 0; i < 3; ++i) grid_.result[i] = g.out[i] / grid_.span(i);
      results_ = grid_.result;
      run_ = g.group_in();
      group_columns_ = g.group_out();
      weight_ = {g.group_in() * g.cout, g.cout, 1, g.group_out()};
      grid_.multiplier = g.stride;
      framed_ = frames_pay();
      add_forward_pass();
    }
    if (group_columns_ == 0) return;  // nothing to compute
    choose_tiles();
    make_panels();
    if (!input_grad) choose_unit(passes_.front());
    for (size_t p = 0; p < passes_.size(); ++p) make_tasks(static_cast<int>(p));
    // Passes read the same sources and write between each other's results: those of some pixels one after another,
    // unless weights are more to read.
    if (weight_elements_ < g_.batch * elements(grid_.source) * grid_.source_channels)
      std::stable_sort(tasks_.begin(), tasks_.end(),
                       [](const Task& a, const Task& b) { return a.first_pixel < b.first_pixel; });
  }

  size_t scratch_bytes() const override { return weight_bytes() + bias_bytes() + zero_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    char* memory = static_cast<char*>(scratch);
    T* weights = reinterpret_cast<T*>(memory);
    T* bias = has_bias_ ? reinterpret_cast<T*>(memory + weight_bytes()) : nullptr;
    T* zeros = reinterpret_cast<T*>(memory + weight_bytes() + bias_bytes());

    std::memset(zeros, 0, zero_bytes());
    if (has_bias_) pack_bias(static_cast<const T*>(in[2]), bias);
    pack_weights(static_cast<const T*>(in[1]), weights);
    const Operands operands{.source = static_cast<const T*>(in[0]),
                            .weights = weights,
                            .bias = bias,
                            .zeros = zeros,
                            .residual = has_residual_ ? static_cast<const T*>(in[3]) : nullptr,
                            .result = static_cast<T*>(out[0]),
                            .places = has_places_ ? static_cast<uint8_t*>(out[1]) : nullptr};
    pool::parallel_for(static_cast<int64_t>(tasks_.size()), [&](int64_t i) { run_task(tasks_[i], operands); });
  }

 private:
  struct Operands {
    const T *source, *weights, *bias, *zeros, *residual;
    T* result;
    uint8_t* places;  // of the largest in their windows, or null
  };

  bool has_padding(int dim) const {
    const int64_t reach = (g_.out[dim] - 1) * g_.stride[dim] + (g_.kernel[dim] - 1) * g_.dilation[dim] - g_.low[dim];
    return g_.low[dim] > 0 || reach >= g_.in[dim];
  }

  // With few channels a list of sources, some of them zeros, costs as much as the products; a copy in which they lie
  // evenly apart does not. With more dilation it would hold much that no tap reads.
  bool frames_pay() const {
    return g_.groups == 1 && g_.cin < 16 && g_.dilation[2] == 1 && std::max(g_.dilation[0], g_.dilation[1]) <= 2 &&
           (has_padding(0) || has_padding(1) || has_padding(2));
  }

  void add_forward_pass() {
    Pass pass{grid_.result, {0, 0, 0}, {1, 1, 1}, {}, 0, 0, 0};
    // Taps along the width that lie side by side in memory are one longer run.
    const Triple low = framed_ ? Triple{0, 0, 0} : g_.low;
    int64_t kernel = g_.kernel[2];
    if (kernel > 1 && g_.dilation[2] == 1 && g_.groups == 1 && (framed_ || !has_padding(2))) {
      run_ *= kernel;
      weight_.tap *= kernel;
      kernel = 1;
    }
    int64_t index = 0;
    for (int64_t d = 0; d < g_.kernel[0]; ++d)
      for (int64_t h = 0; h < g_.kernel[1]; ++h)
        for (int64_t w = 0; w < kernel; ++w)
          pass.taps.push_back(
              {{d * g_.dilation[0] - low[0], h * g_.dilation[1] - low[1], w * g_.dilation[2] - low[2]}, index++});
    passes_.push_back(std::move(pass));
  }

  // The taps k of one dimension that reach positions of residue r, as (k, offset).
  std::vector<std::pair<int64_t, int64_t>> reaching(int dim, int64_t r) const {
    std::vector<std::pair<int64_t, int64_t>> found;
    for (int64_t k = 0; k < g_.kernel[dim]; ++k) {
      const int64_t distance = r + g_.low[dim] - k * g_.dilation[dim];
      if (distance % g_.stride[dim] == 0) found.emplace_back(k, distance / g_.stride[dim]);
    }
    return found;
  }

  void add_residue_passes() {
    for (int64_t a = 0; a < std::min(g_.stride[0], g_.in[0]); ++a)
      for (int64_t b = 0; b < std::min(g_.stride[1], g_.in[1]); ++b)
        for (int64_t c = 0; c < std::min(g_.stride[2], g_.in[2]); ++c) {
          Pass pass{{}, {a, b, c}, g_.stride, {}, 0, 0, 0};
          for (int i = 0; i < 3; ++i) pass.count[i] = ceil_div(g_.in[i] - pass.start[i], g_.stride[i]);
          for (auto [kd, od] : reaching(0, a))
            for (auto [kh, oh] : reaching(1, b))
              for (auto [kw, ow] : reaching(2, c))
                pass.taps.push_back({{od, oh, ow}, (kd * g_.kernel[1] + kh) * g_.kernel[2] + kw});
          passes_.push_back(std::move(pass));
        }
  }

  // Panels of one tile, the last one or two of another where that leaves fewer columns empty.
  void choose_tiles() {
    const DirectTable& table = direct_table();
    double least = std::numeric_limits<double>::infinity();
    const auto fits = [&](const DirectVariant<T>& v) {
      return !grid_.pooled || v.run_largest[grid_.pooled - 2][has_places_];
    };
    for (int narrow = 0; narrow < 3; ++narrow)
      for (int i = 0; i < table.variants; ++i)
        for (int j = 0; j < table.variants; ++j) {
          const DirectVariant<T>&v = variants<T>(table)[i], &last = variants<T>(table)[j];
          const int64_t rest = group_columns_ - narrow * last.columns;
          // Tasks have panels of one group after those of another, and lists of the first tile before the second's.
          if (rest <= 0 || (narrow > 0 && g_.groups > 1) || !fits(v) || !fits(last)) continue;
          const double cost = static_cast<double>(round_up(rest, v.columns)) / static_cast<double>(v.speed) +
                              static_cast<double>(narrow * last.columns) / static_cast<double>(last.speed);
          if (cost < least) least = cost, tiles_[0] = v, tiles_[1] = last, last_panels_ = narrow;
        }
    grid_.lanes = tiles_[0].rows;
  }

  void make_panels() {
    const int64_t wide = group_columns_ - last_panels_ * tiles_[1].columns;
    for (int64_t group = 0; group < g_.groups; ++group)
      for (int64_t first = 0; first < group_columns_;) {
        const int tile = first < wide ? 0 : 1;
        const int64_t end = std::min<int64_t>(first + tiles_[tile].columns, tile ? group_columns_ : wide);
        panels_.push_back({group, first, static_cast<int>(end - first), tile, columns_});
        columns_ += tiles_[tile].columns;
        first = end;
      }
    int64_t at = 0;
    for (Pass& pass : passes_) {
      pass.pixels = g_.batch * pass.count[0] * pass.count[1] * pass.count[2];
      pass.weights_at = at;
      at += terms(pass) * columns_;
    }
    weight_elements_ = at;
  }

  // Where no tap reads padding, sources are listed once for some rows or images: with few channels the list costs as
  // much as the products.
  void choose_unit(Pass& pass) const {
    if (!framed_ && (has_padding(0) || has_padding(1) || has_padding(2))) return;
    const int64_t row = pass.count[2], rows = pass.count[1], image = row * rows, lanes = grid_.tile_results();
    if (image == 0 || (framed_ && cuts_rows(pass))) return;
    const bool parts = framed_ && !frames_images(pass);
    double least = 1.1;
    for (int64_t unit : {row, 2 * row, 4 * row, image, 2 * image, 4 * image, 8 * image}) {
      // Some rows of an image or whole images: 4 rows of an image of 3 are neither.
      const bool whole =
          unit < image ? image % unit == 0 : unit % image == 0 && g_.batch * pass.count[0] * image % unit == 0;
      // Images are a plane apart.
      const bool even = unit <= image || (pass.count[0] == 1 && g_.in[0] == 1);
      const bool fits = unit * grid_.window() * static_cast<int64_t>(pass.taps.size()) <= kPointers;
      // What the last tile computes twice; 2% more are worth a longer list.
      const double computed = static_cast<double>(round_up(unit, lanes)) / static_cast<double>(unit);
      const bool inside = !parts || unit < image;
      if (whole && even && fits && inside && computed + 0.02 < least) least = computed, pass.unit = unit;
    }
  }

  Frame frame_of(Triple results) const {
    for (int i = 0; i < 3; ++i) results[i] *= grid_.span(i);
    return {g_, results};
  }

  int64_t work(const Pass& pass) const {
    return std::max<int64_t>(1, static_cast<int64_t>(pass.taps.size())) * run_ * columns_ * grid_.window();
  }
  // Whether a frame holds whole images: small ones that are tasks enough, or too little work for several.
  bool frames_images(const Pass& pass) const {
    constexpr int64_t kEnough = 4;
    return frame_of(pass.count).elements() <= kFrame &&
           (g_.batch >= kEnough || pass.pixels * work(pass) < kEnough * kLeastWork);
  }
  // Whether it holds no whole row: of a long one, or of all that an image has.
  bool cuts_rows(const Pass& pass) const {
    const auto [planes, rows, row] = pass.count;
    return frame_of({1, 1, row}).elements() > kLongFrame || (planes * rows == 1 && !frames_images(pass));
  }

  // A block of pixels lies within a stretch of so many, is a multiple of `grain` (but for the last), and at most
  // `most`. Images are cut along `dim`.
  struct Cut {
    int64_t stretch, grain, most;
    int dim;
  };

  // A frame holds images where these are small, else some rows of one, or a piece of a long row.
  Cut cut_of(const Pass& pass) const {
    const auto [planes, rows, row] = pass.count;
    if (!framed_) return {pass.pixels, pass.unit ? pass.unit : grid_.tile_results(), pass.pixels, 0};
    if (frames_images(pass)) return {pass.pixels, std::max(planes * rows * row, pass.unit), pass.pixels, 0};
    // So many results along a dimension fit.
    const auto fitting = [&](int dim, Triple one) {
      const int64_t first = frame_of(one).elements();
      ++one[dim];
      return 1 + std::max<int64_t>(0, kFrame - first) / (frame_of(one).elements() - first);
    };
    if (cuts_rows(pass)) return {row, grid_.tile_results(), fitting(2, {1, 1, 1}), 2};
    return {rows * row, std::max(row, pass.unit), row * fitting(1, {1, 1, row}), 1};
  }

  void make_tasks(int p) {
    constexpr int64_t kSourceBytes = 128 << 10;  // a block's source stays in half of a small second-level cache
    constexpr int64_t kTasks = 16;               // enough to keep 8 threads even
    constexpr int64_t kFewTasks = 4;             // as many as a small problem gets where it can
    const int64_t panels = static_cast<int64_t>(panels_.size());
    Pass& pass = passes_[p];
    if (pass.pixels == 0) return;
    const auto [stretch, grain, most, dim] = cut_of(pass);
    const int64_t taps = std::max<int64_t>(1, static_cast<int64_t>(pass.taps.size())), window = grid_.window();
    const int64_t pixel_work = work(pass);
    const int64_t pixel_bytes =
        grid_.source_channels * static_cast<int64_t>(sizeof(T)) * grid_.multiplier[1] * grid_.multiplier[2] * window;
    int64_t block = std::min(kSourceBytes / std::max<int64_t>(1, pixel_bytes),
                             pass.unit ? ceil_div(pass.pixels, kTasks) : kPointers / taps / window);
    // Few panels are few tasks, unless pixels are cut.
    const int64_t worth = std::max<int64_t>(1, pass.pixels * pixel_work / kLeastWork);
    block = std::min(block, ceil_div(pass.pixels, ceil_div(std::min(kFewTasks, worth), panels)));
    block = std::max<int64_t>(block, 8 * grid_.tile_results());
    block = std::max(block, kLeastWork / std::max<int64_t>(1, pixel_work));
    // Equal blocks, of whole tiles.
    block = round_up(ceil_div(stretch, ceil_div(stretch, std::min(block, most))), grain);
    const int64_t blocks = pass.pixels / stretch * ceil_div(stretch, block);
    const int64_t cuts = std::clamp<int64_t>(std::min(kTasks, worth) / blocks, 1, panels);
    const int64_t each = ceil_div(panels, cuts);
    for (int64_t start = 0; start < pass.pixels; start += stretch)
      for (int64_t first = 0; first < stretch; first += block)
        for (int64_t panel = 0; panel < panels; panel += each)
          tasks_.push_back({p, start + first, std::min(block, stretch - first), static_cast<int>(panel),
                            static_cast<int>(std::min(each, panels - panel))});
    if (!framed_) return;
    if (dim == 1) pass.count = {1, block / pass.count[2], pass.count[2]};
    if (dim == 2) pass.count = {1, 1, block};
    frame_.emplace(frame_of(pass.count));
    grid_.source = frame_->sizes();
    grid_.result = pass.count;
  }

  int64_t terms(const Pass& pass) const { return static_cast<int64_t>(pass.taps.size()) * run_; }
  size_t weight_bytes() const { return whole_lines(weight_elements_ * sizeof(T)); }
  size_t bias_bytes() const { return has_bias_ ? whole_lines(columns_ * sizeof(T)) : 0; }
  // A source in the padding: zeros for every channel, or for a whole merged run.
  size_t zero_bytes() const { return whole_lines(std::max(grid_.source_channels, run_) * sizeof(T)); }

  void pack_bias(const T* bias, T* packed) const {
    for (const Panel& panel : panels_) {
      const T* from = bias + column(panel);
      for (int c = 0; c < tiles_[panel.tile].columns; ++c) *packed++ = c < panel.width ? from[c] : T(0);
    }
  }

  void pack_weights(const T* weights, T* packed) const {
    const int64_t panels = static_cast<int64_t>(panels_.size());
    const int64_t chunk = std::max<int64_t>(1, (32 << 10) * panels / std::max<int64_t>(1, weight_elements_));
    pool::parallel_for(ceil_div(panels, chunk), [&](int64_t task) {
      for (int64_t p = task * chunk; p < std::min(panels, (task + 1) * chunk); ++p)
        for (const Pass& pass : passes_)
          pack_panel(pass, panels_[p], weights, packed + pass.weights_at + terms(pass) * panels_[p].at);
    });
  }

  void pack_panel(const Pass& pass, const Panel& panel, const T* weights, T* packed) const {
    const int columns = tiles_[panel.tile].columns, width = panel.width;
    weights += panel.group * weight_.group + panel.first * weight_.column;
    for (const Tap& tap : pass.taps) {
      const T* from = weights + tap.weight * weight_.tap;
      if (weight_.column == 1) {
        for (int64_t k = 0; k < run_; ++k, from += weight_.k, packed += columns) {
          std::memcpy(packed, from, width * sizeof(T));
          std::fill(packed + width, packed + columns, T(0));
        }
      } else {
        gemm::kernels_of<T>().transpose(from, weight_.column, width, run_, packed, columns);
        for (int64_t k = 0; k < run_; ++k, packed += columns) std::fill(packed + width, packed + columns, T(0));
      }
    }
  }

  // Copies what a block of pixels reads, padded.
  void copy_frames(const T* source, int64_t first, int64_t pixels, T* to) const {
    const Triple& part = passes_.front().count;
    for (int64_t p = first; p < first + pixels; p += elements(part), to += frame_->elements()) {
      Triple at;
      int64_t rest = p;
      for (int i = 2; i >= 0; --i) at[i] = rest % results_[i] * grid_.span(i), rest /= results_[i];
      frame_->copy(source, rest, at, to);
    }
  }

  // Results are met once and may lie far away: some 400 cycles of terms before.
  int64_t fetch_ahead(const Pass& pass) const {
    return (1 + 64 / std::max<int64_t>(1, terms(pass))) * grid_.tile_results() * pass.step[2] * grid_.result_channels;
  }

  int64_t count_tiles(int64_t pixels, int tile) const { return ceil_div(pixels, tiles_[tile].rows / grid_.window()); }
  int64_t count_sources(const Pass& pass, int64_t pixels, int tile) const {
    return count_tiles(pixels, tile) * tiles_[tile].rows * static_cast<int64_t>(pass.taps.size());
  }
  size_t bytes_of_list(const Pass& pass, int64_t pixels, int tile) const {
    const int64_t results = count_tiles(pixels, tile) * tiles_[tile].rows / grid_.window();
    return whole_lines((count_sources(pass, pixels, tile) + 3 * results) * sizeof(T*));
  }

  // Tiles of some pixels, of which `memory` has the lists. `all`: the first result of the problem.
  DirectTile<T> list(const Pass& pass, int64_t first, int64_t pixels, int tile, const Operands& operands, const T* all,
                     char* memory) const {
    PixelLists grid = grid_;
    grid.lanes = tiles_[tile].rows;
    const int64_t tiles = count_tiles(pixels, tile), count = tiles * grid.tile_results();
    const T** const sources = reinterpret_cast<const T**>(memory);
    T** const results = const_cast<T**>(sources + count_sources(pass, pixels, tile));
    const T** const residuals = const_cast<const T**>(results + count);
    uint8_t** const places = reinterpret_cast<uint8_t**>(results + 2 * count);
    grid.list(pass, first, pixels, operands.source, operands.zeros, operands.result, sources, results);
    for (int64_t p = 0; p < count; ++p) {
      const int64_t at = results[p] - all;
      if (operands.residual) residuals[p] = operands.residual + at;
      if (operands.places) places[p] = operands.places + at;
    }
    DirectTile<T> listed{};
    listed.tiles = tiles;
    listed.sources = sources;
    listed.results = results;
    listed.residuals = operands.residual ? residuals : nullptr;
    listed.places = operands.places ? places : nullptr;
    listed.taps = static_cast<int64_t>(pass.taps.size());
    listed.run = run_;
    listed.activation = inner_activation(activation_);
    listed.ahead = fetch_ahead(pass);
    return listed;
  }

  void run_task(const Task& task, const Operands& operands) const {
    const auto [source, weights, bias, zeros, residual, result, places] = operands;
    const Pass& pass = passes_[task.pass];
    const int64_t channels = grid_.result_channels;
    const int64_t listed = pass.unit ? pass.unit : task.pixels;
    const int first_tile = panels_[task.first_panel].tile;
    const int last_tile = panels_[task.first_panel + task.panels - 1].tile;
    const size_t list_bytes = std::max(bytes_of_list(pass, listed, first_tile), bytes_of_list(pass, listed, last_tile));
    const int64_t frame = frame_ ? ceil_div(task.pixels, elements(pass.count)) * frame_->elements() : 0;
    char* memory = static_cast<char*>(pool::thread_scratch(2 * list_bytes + frame * sizeof(T)));
    // In frames pixels are counted from the task's first one on.
    int64_t first = task.first_pixel;
    Operands near = operands;
    if (frame_) {
      T* const copy = reinterpret_cast<T*>(memory + 2 * list_bytes);
      copy_frames(source, first, task.pixels, copy);
      near.source = copy;
      near.result += first * channels;
      first = 0;
    }
    DirectTile<T> tiles[2]{};
    for (int i = first_tile; i <= last_tile; ++i)
      tiles[i] = list(pass, first, listed, i, near, result, memory + i * list_bytes);

    // Weights that stay in the cache meet what is listed panel by panel, so that results are written once; others meet
    // all pixels.
    const bool stays = terms(pass) * columns_ * static_cast<int64_t>(sizeof(T)) <= kCachedWeights;
    const int64_t turn = stays ? listed : task.pixels;
    for (int64_t begin = 0; begin < task.pixels; begin += turn)
      for (int p = task.first_panel; p < task.first_panel + task.panels; ++p) {
        const Panel& panel = panels_[p];
        const DirectVariant<T>& variant = tiles_[panel.tile];
        DirectTile<T>& tile = tiles[panel.tile];
        tile.weights = weights + pass.weights_at + terms(pass) * panel.at;
        tile.bias = bias ? bias + panel.at : nullptr;
        tile.width = panel.width;
        for (int64_t done = begin; done < begin + turn; done += listed) {
          tile.offset = panel.group * run_ + grid_.first_source(pass, first + done) - grid_.first_source(pass, first);
          tile.result_offset = column(panel) + done * channels;
          (grid_.pooled ? variant.run_largest[grid_.pooled - 2][has_places_] : variant.run)(tile);
        }
      }
    // Only the forward pass has an activation; its pixels lie one after another.
    const int64_t left = column(panels_[task.first_panel]);
    const Panel& last = panels_[task.first_panel + task.panels - 1];
    finish(activation_, task.pixels, column(last) + last.width - left, result + task.first_pixel * channels + left,
           channels);
  }

  // The first result channel of a panel.
  int64_t column(const Panel& panel) const { return panel.group * group_columns_ + panel.first; }

  const Geometry g_;
  const Activation activation_;
  const bool has_bias_, has_residual_, has_places_;
  PixelLists grid_;
  int64_t run_;            // consecutive source elements for each tap
  int64_t group_columns_;  // result channels of a group
  WeightStrides weight_;
  bool framed_ = false;  // tasks copy what they read
  Triple results_{};     // along each dimension, of which a frame has a part
  std::optional<Frame> frame_;
  DirectVariant<T> tiles_[2]{};
  int last_panels_ = 0;  // of a group, of the second tile
  int64_t columns_ = 0;  // of all panels
  std::vector<Pass> passes_;
  std::vector<Panel> panels_;
  std::vector<Task> tasks_;
  int64_t weight_elements_ = 0;
};

const Register kernels{
    {"conv", "conv_bias_act", "conv_pool", "conv_input_grad"}, "direct", 10, direct_conv, "any in float32 and float64"};

}  // namespace

std::unique_ptr<Kernel> direct_conv(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g) return nullptr;
  const bool input_grad = problem.op == "conv_input_grad";
  const int pooled = problem.op == "conv_pool" ? static_cast<int>(problem.out[0].shape.size()) - 2 : 0;
  const Activation activation = activation_of(problem);
  if (pooled && (pooled < 2 || !pools_with(activation))) return nullptr;
  switch (problem.out[0].dtype) {
    case DType::F32:
      return std::make_unique<Direct<float>>(*g, input_grad, pooled, activation, problem.in.size(), problem.out.size());
    case DType::F64:
      return std::make_unique<Direct<double>>(*g, input_grad, pooled, activation, problem.in.size(),
                                              problem.out.size());
    default:
      return nullptr;
  }
}

}  // namespace native::conv
