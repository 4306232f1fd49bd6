// Direct convolution without im2col: the forward primitive and the gradient by the input.
//
// Both are one loop, `result[j] = sum over taps of source[j * multiplier + offset(tap)] * weight(tap)`. The
// gradient by the input of a strided convolution is that loop once for each residue of the position modulo
// the stride (a pass), each with the taps that reach it.
//
// A pass is cut into blocks of pixels and those into tiles; weights are packed once a call into panels as
// wide as the tile. For a block, panel after panel is held in the caches while the tiles go over it.
#include "kernels/conv/direct.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/conv/activate.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::conv {
namespace {

constexpr int64_t kPointers = 8192;  // of a table of sources, which stays in the second-level cache beside them

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

struct Panel {
  int64_t group, first;  // first channel within the group
  int width;
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
        pooled_(pooled),
        batch_(g.batch) {
    if (input_grad) {
      source_ = g.out, result_ = g.in;
      source_channels_ = g.cout, result_channels_ = g.cin;
      run_ = g.group_out();
      group_columns_ = g.group_in();
      weight_ = {g.group_in() * g.cout, 1, g.cout, g.group_out()};
      multiplier_ = {1, 1, 1};
      add_residue_passes();
    } else {
      source_ = g.in;
      for (int i = 0; i < 3; ++i) result_[i] = g.out[i] / span(i);
      source_channels_ = g.cin, result_channels_ = g.cout;
      run_ = g.group_in();
      group_columns_ = g.group_out();
      weight_ = {g.group_in() * g.cout, g.cout, 1, g.group_out()};
      multiplier_ = g.stride;
      add_forward_pass();
    }
    if (group_columns_ == 0) return;  // nothing to compute
    choose_variant();
    make_panels();
    if (!input_grad) choose_unit(passes_.front());
    make_tasks();
  }

  size_t scratch_bytes() const override { return weight_bytes() + bias_bytes() + zero_bytes() + padded_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    char* memory = static_cast<char*>(scratch);
    T* weights = reinterpret_cast<T*>(memory);
    T* bias = has_bias_ ? reinterpret_cast<T*>(memory + weight_bytes()) : nullptr;
    T* zeros = reinterpret_cast<T*>(memory + weight_bytes() + bias_bytes());
    T* padded = reinterpret_cast<T*>(memory + weight_bytes() + bias_bytes() + zero_bytes());

    std::memset(zeros, 0, zero_bytes());
    if (has_bias_) pack_bias(static_cast<const T*>(in[2]), bias);
    pack_weights(static_cast<const T*>(in[1]), weights);
    const T* source = static_cast<const T*>(in[0]);
    if (pad_width_) {
      pad_rows(source, padded);
      source = padded;
    }
    const Operands operands{.source = source,
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

  // Of a result: the sides and the size of its window, and as many lanes of a tile.
  int64_t span(int dim) const { return dim + pooled_ > 2 ? 2 : 1; }
  int64_t window() const { return int64_t{1} << pooled_; }
  int64_t tile_results() const { return tile_.rows / window(); }

  void add_forward_pass() {
    Pass pass{result_, {0, 0, 0}, {1, 1, 1}, {}, 0, 0, 0};
    // Taps along the width that lie side by side in memory are one longer run. With few channels that is
    // worth a padded copy of the input; else only where there is no padding to mind.
    const int64_t reach = (g_.out[2] - 1) * g_.stride[2] + g_.kernel[2] - g_.low[2];
    const bool padding = g_.low[2] > 0 || reach > g_.in[2];
    const bool merge = g_.kernel[2] > 1 && g_.dilation[2] == 1 && g_.groups == 1 && (!padding || g_.cin < 16);
    int64_t low = g_.low[2], kernel = g_.kernel[2];
    if (merge) {
      run_ *= kernel;
      weight_.tap *= kernel;
      kernel = 1;
      if (padding) {
        pad_width_ = true;
        source_[2] = (g_.out[2] - 1) * g_.stride[2] + g_.kernel[2];
        low = 0;
      }
    }
    int64_t index = 0;
    for (int64_t d = 0; d < g_.kernel[0]; ++d)
      for (int64_t h = 0; h < g_.kernel[1]; ++h)
        for (int64_t w = 0; w < kernel; ++w)
          pass.taps.push_back(
              {{d * g_.dilation[0] - g_.low[0], h * g_.dilation[1] - g_.low[1], w * g_.dilation[2] - low}, index++});
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

  void choose_variant() {
    const DirectTable& table = direct_table();
    double best = 0;
    for (int i = 0; i < table.variants; ++i) {
      const DirectVariant<T>& v = variants<T>(table)[i];
      if (pooled_ && !v.run_largest[pooled_ - 2][has_places_]) continue;
      const double computed = static_cast<double>(ceil_div(group_columns_, v.columns) * v.columns);
      const double useful = v.speed * static_cast<double>(group_columns_) / computed;
      if (useful > best) best = useful, tile_ = v;
    }
  }

  void make_panels() {
    for (int64_t group = 0; group < g_.groups; ++group)
      for (int64_t first = 0; first < group_columns_; first += tile_.columns)
        panels_.push_back({group, first, static_cast<int>(std::min<int64_t>(tile_.columns, group_columns_ - first))});
    int64_t at = 0;
    for (Pass& pass : passes_) {
      pass.pixels = batch_ * pass.count[0] * pass.count[1] * pass.count[2];
      pass.weights_at = at;
      at += panel_elements(pass) * static_cast<int64_t>(panels_.size());
    }
    weight_elements_ = at;
  }

  // Where no tap reads padding, sources are listed once for whole tiles of some rows or images: with few channels the
  // list costs as much as the products.
  void choose_unit(Pass& pass) const {
    for (const Tap& tap : pass.taps)
      for (int i = 0; i < 3; ++i)
        if (tap.offset[i] < 0 || (g_.out[i] - 1) * multiplier_[i] + tap.offset[i] >= source_[i]) return;
    const int64_t row = pass.count[2], rows = pass.count[1], image = row * rows;
    if (image == 0) return;
    for (int64_t unit : {row, 2 * row, 4 * row, image, 2 * image, 4 * image, 8 * image}) {
      // Some rows of an image or whole images: 4 rows of an image of 3 are neither.
      const bool whole =
          unit < image ? image % unit == 0 : unit % image == 0 && batch_ * pass.count[0] * image % unit == 0;
      // Images are a plane apart.
      const bool even = unit <= image || (pass.count[0] == 1 && source_[0] == 1);
      const bool fits = unit * window() * static_cast<int64_t>(pass.taps.size()) <= kPointers;
      if (whole && even && fits && unit % tile_results() == 0) {
        pass.unit = unit;
        return;
      }
    }
  }

  void make_tasks() {
    constexpr int64_t kSourceBytes = 128 << 10;  // a block's source stays in half of a small second-level cache
    constexpr int64_t kLeastWork = 256 << 10;    // multiply-adds, about 5 microseconds: a pool's wake-up
    constexpr int64_t kTasks = 16;               // enough to keep 8 threads even
    const int64_t panels = static_cast<int64_t>(panels_.size());
    for (int p = 0; p < static_cast<int>(passes_.size()); ++p) {
      const Pass& pass = passes_[p];
      if (pass.pixels == 0) continue;
      const int64_t taps = std::max<int64_t>(1, static_cast<int64_t>(pass.taps.size()));
      const int64_t pixel_work = taps * run_ * tile_.columns * panels * window();
      const int64_t pixel_bytes =
          source_channels_ * static_cast<int64_t>(sizeof(T)) * multiplier_[1] * multiplier_[2] * window();
      int64_t block = std::min(kSourceBytes / std::max<int64_t>(1, pixel_bytes),
                               pass.unit ? ceil_div(pass.pixels, kTasks) : kPointers / taps / window());
      block = std::max<int64_t>(block, 8 * tile_results());
      block = std::max(block, kLeastWork / std::max<int64_t>(1, pixel_work));
      // Equal blocks, of whole tiles.
      const int64_t blocks = ceil_div(pass.pixels, block);
      block = round_up(ceil_div(pass.pixels, blocks), pass.unit ? pass.unit : tile_results());
      const int64_t most = std::max<int64_t>(1, pass.pixels * pixel_work / kLeastWork);
      const int64_t cuts = std::clamp<int64_t>(std::min(kTasks, most) / blocks, 1, panels);
      const int64_t each = ceil_div(panels, cuts);
      for (int64_t first = 0; first < pass.pixels; first += block)
        for (int64_t panel = 0; panel < panels; panel += each)
          tasks_.push_back({p, first, std::min(block, pass.pixels - first), static_cast<int>(panel),
                            static_cast<int>(std::min(each, panels - panel))});
    }
  }

  int64_t panel_elements(const Pass& pass) const {
    return static_cast<int64_t>(pass.taps.size()) * run_ * tile_.columns;
  }
  size_t weight_bytes() const { return whole_lines(weight_elements_ * sizeof(T)); }
  size_t bias_bytes() const { return has_bias_ ? whole_lines(panels_.size() * tile_.columns * sizeof(T)) : 0; }
  // A source in the padding: zeros for every channel, or for a whole merged run.
  size_t zero_bytes() const { return whole_lines(std::max(source_channels_, run_) * sizeof(T)); }
  size_t padded_bytes() const {
    if (!pad_width_) return 0;
    return whole_lines(batch_ * source_[0] * source_[1] * source_[2] * source_channels_ * sizeof(T));
  }

  void pack_bias(const T* bias, T* packed) const {
    for (const Panel& panel : panels_) {
      const T* from = bias + column(panel);
      for (int c = 0; c < tile_.columns; ++c) *packed++ = c < panel.width ? from[c] : T(0);
    }
  }

  void pack_weights(const T* weights, T* packed) const {
    const int64_t panels = static_cast<int64_t>(panels_.size());
    const int64_t chunk = std::max<int64_t>(1, (32 << 10) * panels / std::max<int64_t>(1, weight_elements_));
    pool::parallel_for(ceil_div(panels, chunk), [&](int64_t task) {
      for (int64_t p = task * chunk; p < std::min(panels, (task + 1) * chunk); ++p)
        for (const Pass& pass : passes_)
          pack_panel(pass, panels_[p], weights, packed + pass.weights_at + p * panel_elements(pass));
    });
  }

  void pack_panel(const Pass& pass, const Panel& panel, const T* weights, T* packed) const {
    const int columns = tile_.columns, width = panel.width;
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

  // Copies the input with zeros beside every row, so that no tap leaves its row.
  void pad_rows(const T* source, T* padded) const {
    const int64_t rows = batch_ * source_[0] * source_[1];
    const int64_t from_row = g_.in[2] * g_.cin, to_row = source_[2] * g_.cin;
    // Padding below zero crops, and a row may be all padding.
    const int64_t crop = std::max<int64_t>(0, -g_.low[2]) * g_.cin;
    const int64_t lead = std::min(std::max<int64_t>(0, g_.low[2]) * g_.cin, to_row);
    const int64_t copied = std::max<int64_t>(0, std::min(from_row - crop, to_row - lead));
    const int64_t chunk = std::max<int64_t>(1, (64 << 10) / std::max<int64_t>(1, to_row));
    pool::parallel_for(ceil_div(rows, chunk), [&](int64_t task) {
      for (int64_t r = task * chunk; r < std::min(rows, (task + 1) * chunk); ++r) {
        T* to = padded + r * to_row;
        std::fill(to, to + lead, T(0));
        std::memcpy(to + lead, source + r * from_row + crop, copied * sizeof(T));
        std::fill(to + lead + copied, to + to_row, T(0));
      }
    });
  }

  // Where the next source of a tap goes: every (1 << shift)th lane of a tile, then of the next tile, `tile` further on.
  struct Lanes {
    const T** at;
    int64_t lane, rows, tile, shift;

    // `count` sources, `step` elements apart.
    void put(int64_t count, const T* source, int64_t step) {
      while (count > 0) {
        const int64_t here = std::min(count, ((rows - lane - 1) >> shift) + 1);
        for (int64_t i = 0; i < here; ++i, source += step) at[lane + (i << shift)] = source;
        count -= here;
        lane += here << shift;
        if (lane >= rows) lane -= rows, at += tile;
      }
    }
  };

  // The sources [tile][tap][row] and results [tile][row, or window of rows] of a block of pixels. The rows that a last
  // tile lacks read zeros and write to `spare`.
  void list_pixels(const Pass& pass, int64_t first, int64_t pixels, const T* source, const T* zeros, T* result,
                   T* spare, const T** sources, T** results) const {
    const int64_t lanes_of_tile = tile_.rows, rows = tile_results(), taps = static_cast<int64_t>(pass.taps.size());
    Triple j;
    int64_t rest = first;
    for (int i = 2; i >= 0; --i) j[i] = rest % pass.count[i], rest /= pass.count[i];
    int64_t n = rest, p = 0;
    // Row by row, in stretches that are in the padding or not: with few channels a pixel's sources cost as much as its
    // products.
    while (p < pixels) {
      const int64_t length = std::min(pass.count[2] - j[2], pixels - p), step = multiplier_[2] * span(2);
      for (int64_t t = 0; t < taps; ++t)
        for (int64_t place = 0; place < window(); ++place) {
          const Triple& offset = pass.taps[t].offset;
          const int64_t d = (j[0] * span(0) + place / 4) * multiplier_[0] + offset[0];
          const int64_t h = (j[1] * span(1) + place / 2 % 2) * multiplier_[1] + offset[1];
          const bool inside = d >= 0 && d < source_[0] && h >= 0 && h < source_[1];
          const int64_t w = (j[2] * span(2) + place % 2) * multiplier_[2] + offset[2];
          // The pixels i with 0 <= w + i * step < source_[2].
          const int64_t end = std::clamp<int64_t>(ceil_div(source_[2] - w, step), 0, length) * inside;
          const int64_t begin = std::clamp<int64_t>(ceil_div(-w, step), 0, end);
          const T* const row =
              inside ? source + ((n * source_[0] + d) * source_[1] + h) * source_[2] * source_channels_ : source;
          Lanes lanes{sources + (p / rows * taps + t) * lanes_of_tile, p % rows * window() + place, lanes_of_tile,
                      taps * lanes_of_tile, pooled_};
          lanes.put(begin, zeros, 0);
          lanes.put(end - begin, row + (w + begin * step) * source_channels_, step * source_channels_);
          lanes.put(length - end, zeros, 0);
        }
      const int64_t row =
          (n * result_[0] + pass.start[0] + j[0] * pass.step[0]) * result_[1] + pass.start[1] + j[1] * pass.step[1];
      T* to = result + (row * result_[2] + pass.start[2] + j[2] * pass.step[2]) * result_channels_;
      for (int64_t i = 0; i < length; ++i) results[p + i] = to + i * pass.step[2] * result_channels_;
      p += length;
      j[2] = 0;
      if (++j[1] == pass.count[1]) j[1] = 0, ++j[0];
      if (j[0] == pass.count[0]) j[0] = 0, ++n;
    }
    for (; p % rows != 0; ++p) {
      for (int64_t t = 0; t < taps; ++t)
        std::fill_n(sources + (p / rows * taps + t) * lanes_of_tile + p % rows * window(), window(), zeros);
      results[p] = spare;
    }
  }

  // Where in the source the row of results begins to read to which a pixel belongs, but for the taps' offsets.
  int64_t first_source(const Pass& pass, int64_t pixel) const {
    const int64_t row = pixel / pass.count[2], plane = row / pass.count[1];
    const int64_t h = row % pass.count[1] * multiplier_[1] * span(1),
                  d = plane % pass.count[0] * multiplier_[0] * span(0);
    return ((plane / pass.count[0] * source_[0] + d) * source_[1] + h) * source_[2] * source_channels_;
  }

  void run_task(const Task& task, const Operands& operands) const {
    const auto [source, weights, bias, zeros, residual, result, all_places] = operands;
    const Pass& pass = passes_[task.pass];
    const int64_t rows = tile_results(), sources_of_tile = tile_.rows * static_cast<int64_t>(pass.taps.size());
    const int64_t listed = pass.unit ? pass.unit : task.pixels;
    const int64_t tiles = ceil_div(listed, rows);
    const size_t source_bytes = whole_lines(tiles * sources_of_tile * sizeof(T*));
    const size_t result_bytes = whole_lines(3 * tiles * rows * sizeof(T*));
    char* memory = static_cast<char*>(
        pool::thread_scratch(source_bytes + result_bytes + whole_lines(result_channels_ * sizeof(T))));
    const T** sources = reinterpret_cast<const T**>(memory);
    T** results = reinterpret_cast<T**>(memory + source_bytes);
    const T** residuals = const_cast<const T**>(results + tiles * rows);
    T* spare = reinterpret_cast<T*>(memory + source_bytes + result_bytes);
    list_pixels(pass, task.first_pixel, listed, source, zeros, result, spare, sources, results);
    uint8_t** const places = reinterpret_cast<uint8_t**>(results + 2 * tiles * rows);
    for (int64_t p = 0; p < tiles * rows; ++p) {
      const int64_t at = p < listed ? results[p] - result : -1;
      if (residual) residuals[p] = at < 0 ? spare : residual + at;
      if (all_places) places[p] = at < 0 ? reinterpret_cast<uint8_t*>(spare) : all_places + at;
    }

    const auto run = pooled_ ? tile_.run_largest[pooled_ - 2][has_places_] : tile_.run;
    DirectTile<T> tile{};
    tile.taps = static_cast<int64_t>(pass.taps.size());
    tile.run = run_;
    tile.activation = inner_activation(activation_);
    for (int p = task.first_panel; p < task.first_panel + task.panels; ++p) {
      const Panel& panel = panels_[p];
      tile.weights = weights + pass.weights_at + p * panel_elements(pass);
      tile.bias = bias ? bias + p * tile_.columns : nullptr;
      tile.width = panel.width;
      for (int64_t done = 0; done < task.pixels; done += listed) {
        tile.offset =
            panel.group * run_ + first_source(pass, task.first_pixel + done) - first_source(pass, task.first_pixel);
        tile.result_offset = column(panel) + done * result_channels_;
        for (int64_t i = 0; i < tiles; ++i) {
          tile.sources = sources + i * sources_of_tile;
          tile.results = results + i * rows;
          tile.residuals = residual ? residuals + i * rows : nullptr;
          tile.places = all_places ? places + i * rows : nullptr;
          run(tile);
        }
      }
    }
    // Only the forward pass has an activation; its pixels lie one after another.
    const int64_t begin = column(panels_[task.first_panel]);
    const Panel& last = panels_[task.first_panel + task.panels - 1];
    finish(activation_, task.pixels, column(last) + last.width - begin,
           result + task.first_pixel * result_channels_ + begin, result_channels_);
  }

  // The first result channel of a panel.
  int64_t column(const Panel& panel) const { return panel.group * group_columns_ + panel.first; }

  const Geometry g_;
  const Activation activation_;
  const bool has_bias_, has_residual_, has_places_;
  const int pooled_;
  const int64_t batch_;
  Triple source_, result_, multiplier_;
  int64_t source_channels_, result_channels_;
  int64_t run_;            // consecutive source elements for each tap
  int64_t group_columns_;  // result channels of a group
  WeightStrides weight_;
  bool pad_width_ = false;
  DirectVariant<T> tile_{};
  std::vector<Pass> passes_;
  std::vector<Panel> panels_;
  std::vector<Task> tasks_;
  int64_t weight_elements_ = 0;
};

std::unique_ptr<Kernel> prepare(const Problem& problem) {
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

const Register kernels{
    {"conv", "conv_bias_act", "conv_pool", "conv_input_grad"}, "direct", 10, prepare, "any in float32 and float64"};

}  // namespace
}  // namespace native::conv
