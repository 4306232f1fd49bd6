// Gradient of a convolution by its weights: for each tap, x^T times the cotangent, summed over pixels.
//
// Pixels are taken in chunks small enough that a chunk's operands stay in the second-level cache. Of a
// chunk the cotangent is packed into panels as wide as the tile, and x, a few channels at a time, with its
// border of zeros; a tap is then only an offset into the packed x, so nothing is gathered twice.
// Tasks are ranges of chunks times ranges of channels; partial sums over ranges of chunks are added in order.
#include "kernels/conv/weight_grad.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/conv/geometry.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::conv {
namespace {

// Input channels that are packed together.
struct Slab {
  int64_t group, first, width;
};

template <class T>
const WeightGradVariant<T>* variants(const WeightGradTable& table) {
  if constexpr (sizeof(T) == 4)
    return table.f32;
  else
    return table.f64;
}

template <class T>
class WeightGrad final : public Kernel {
 public:
  explicit WeightGrad(const Geometry& g) : g_(g) {
    // A kernel of one tap needs only the positions that it touches.
    for (int i = 0; i < 3; ++i) pitch_[i] = g.kernel[i] == 1 ? 1 : g.stride[i];
    choose_tile();
    if (g.out_pixels() == 0) return;
    choose_chunks();
    make_grid();
    rows_ = list_rows(slab_width_);
    last_rows_ = list_rows(g.group_in() % slab_width_);
  }

  size_t scratch_bytes() const override {
    return splits_ > 1 ? splits_ * whole_lines(result_elements() * sizeof(T)) : 0;
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const T* x = static_cast<const T*>(in[0]);
    const T* ct = static_cast<const T*>(in[1]);
    T* result = static_cast<T*>(out[0]);
    if (chunks_ == 0) {
      std::memset(result, 0, result_elements() * sizeof(T));
      return;
    }
    T* partial = splits_ > 1 ? static_cast<T*>(scratch) : result;
    const int64_t pitch = whole_lines(result_elements() * sizeof(T)) / sizeof(T);
    const int64_t slab_tasks = ceil_div(static_cast<int64_t>(slabs_.size()), slabs_each_);
    pool::parallel_for(splits_ * slab_tasks, [&](int64_t task) {
      const int64_t split = task / slab_tasks, slab = task % slab_tasks * slabs_each_;
      run_task(x, ct, split, slab, std::min<int64_t>(slabs_.size(), slab + slabs_each_), partial + split * pitch);
    });
    if (splits_ > 1) add_partials(partial, pitch, result);
  }

 private:
  static constexpr int64_t kLine = 64 / sizeof(T);  // elements of a cache line: a copy of so many is no call
  static constexpr int64_t kFewRows = 40;

  int64_t result_elements() const { return g_.taps() * g_.group_in() * g_.cout; }

  void choose_tile() {
    // The widest slab that is a cache line or a few, with the least waste in the last tile of its rows.
    const WeightGradTable& table = weight_grad_table();
    const int64_t cin = g_.group_in(), cout = g_.group_out();
    double best = 0;
    for (int i = 0; i < table.variants; ++i) {
      const WeightGradVariant<T>& v = variants<T>(table)[i];
      for (int64_t width : {kLine, 2 * kLine, 3 * kLine}) {
        width = std::min(width, cin);
        const int64_t last = cin % width;
        const int64_t rows = cin / width * ceil_div(g_.taps() * width, v.rows) + ceil_div(g_.taps() * last, v.rows);
        const double computed = static_cast<double>(rows * v.rows * ceil_div(cout, v.columns) * v.columns);
        const double useful = v.speed * after_reading(v) * static_cast<double>(g_.taps() * cin * cout) / computed;
        if (useful > best * 1.001) best = useful, tile_ = v, slab_width_ = width;
      }
    }
    for (int64_t group = 0; group < g_.groups; ++group)
      for (int64_t first = 0; first < cin; first += slab_width_)
        slabs_.push_back({group, first, std::min(slab_width_, cin - first)});
    panels_ = ceil_div(cout, tile_.columns);
    in_place_ = reads_in_place(tile_);
  }

  int64_t all_rows() const { return g_.taps() * g_.group_in(); }

  // Whether the cotangent needs no copy: one panel as wide, or several that few rows read. A row in pieces of a cache
  // line comes slowly from memory.
  bool reads_in_place(const WeightGradVariant<T>& v) const {
    const int64_t cout = g_.group_out(), few = v.columns > kLine ? kFewRows : 12;
    return g_.groups == 1 && (cout == v.columns || (all_rows() <= few && cout % v.columns == 0));
  }

  // What copies, or reading parts of rows several times, leave of a tile's speed where few rows pay for them.
  double after_reading(const WeightGradVariant<T>& v) const {
    if (all_rows() > kFewRows) return 1;
    if (!reads_in_place(v)) return 0.75;
    return g_.group_out() == v.columns || all_rows() <= v.rows ? 1 : 0.9;
  }

  // A chunk is whole planes, or some lines of a plane, or a piece of a line.
  void choose_chunks() {
    constexpr int64_t kPixels = 256;
    auto cut = [](int64_t count, int64_t most) { return ceil_div(count, std::max<int64_t>(1, ceil_div(count, most))); };
    length_ = g_.out[2], lines_ = g_.out[1], planes_ = 1;
    if (length_ > kPixels) {
      length_ = cut(length_, kPixels), lines_ = 1;
    } else if (length_ * lines_ > kPixels) {
      lines_ = cut(lines_, kPixels / length_);
    } else {
      planes_ = std::max<int64_t>(1, std::min(g_.batch * g_.out[0], kPixels / (length_ * lines_)));
    }
    pieces_ = ceil_div(g_.out[2], length_);
    line_cuts_ = ceil_div(g_.out[1], lines_);
    chunks_ = ceil_div(g_.batch * g_.out[0], planes_) * line_cuts_ * pieces_;
    rows_in_ = (lines_ - 1) * pitch_[1] + (g_.kernel[1] - 1) * g_.dilation[1] + 1;
    columns_in_ = (length_ - 1) * pitch_[2] + (g_.kernel[2] - 1) * g_.dilation[2] + 1;
  }

  void make_grid() {
    constexpr int64_t kTasks = 16;             // enough to keep 8 threads even
    constexpr int64_t kLeastWork = 512 << 10;  // multiply-adds a task
    constexpr int64_t kSmall = 256 << 10;      // bytes of a result worth splitting the sum for
    const int64_t slabs = static_cast<int64_t>(slabs_.size());
    const int64_t tasks = std::clamp<int64_t>(g_.multiply_adds() / kLeastWork, 1, kTasks);
    const bool small = result_elements() * static_cast<int64_t>(sizeof(T)) <= kSmall;
    slabs_each_ = small ? slabs : ceil_div(slabs, std::min(slabs, tasks));
    splits_ = std::clamp<int64_t>(tasks / ceil_div(slabs, slabs_each_), 1, std::max<int64_t>(1, chunks_));
  }

  int64_t packed_x() const { return planes_ * g_.kernel[0] * rows_in_ * columns_in_ * slab_width_; }
  int64_t packed_ct() const { return planes_ * lines_ * length_ * panels_ * tile_.columns; }

  struct Chunk {
    int64_t plane, planes, line, lines, piece, length;
    int64_t pixels() const { return planes * lines * length; }
    int64_t first_pixel(const Geometry& g) const { return (plane * g.out[1] + line) * g.out[2] + piece; }
  };

  Chunk chunk_at(int64_t index) const {
    Chunk c;
    c.piece = index % pieces_ * length_;
    c.line = index / pieces_ % line_cuts_ * lines_;
    c.plane = index / pieces_ / line_cuts_ * planes_;
    c.length = std::min(length_, g_.out[2] - c.piece);
    c.lines = std::min(lines_, g_.out[1] - c.line);
    c.planes = std::min(planes_, g_.batch * g_.out[0] - c.plane);
    return c;
  }

  // A chunk is a run of pixels.
  void pack_cotangent(const T* ct, const Chunk& c, int64_t group, T* packed) const {
    const int64_t columns = tile_.columns, pixels = c.pixels();
    const T* from = ct + c.first_pixel(g_) * g_.cout + group * g_.group_out();
    const gemm::Kernels<T>& kernels = gemm::kernels_of<T>();
    if (columns == kernels.nr) {
      kernels.pack_b({from, g_.cout, 1}, pixels, g_.group_out(), packed, pixels * columns);
      return;
    }
    for (int64_t first = 0; first < g_.group_out(); first += columns) {
      const int64_t width = std::min(columns, g_.group_out() - first), lines = width / kLine * kLine;
      for (int64_t p = 0; p < pixels; ++p, packed += columns) {
        const T* const row = from + p * g_.cout + first;
        for (int64_t c = 0; c < lines; c += kLine) std::memcpy(packed + c, row + c, kLine * sizeof(T));
        std::copy(row + lines, row + width, packed + lines);
        std::fill(packed + width, packed + columns, T(0));
      }
    }
  }

  void pack_x(const T* x, const Chunk& c, const Slab& slab, T* packed) const {
    const int64_t width = slab.width;
    const int64_t first_w = c.piece * g_.stride[2] - g_.low[2], first_h = c.line * g_.stride[1] - g_.low[1];
    const int64_t step_w = g_.kernel[2] == 1 ? g_.stride[2] : 1, step_h = g_.kernel[1] == 1 ? g_.stride[1] : 1;
    const T* base = x + slab.group * g_.group_in() + slab.first;
    for (int64_t p = 0; p < c.planes; ++p) {
      const int64_t n = (c.plane + p) / g_.out[0], od = (c.plane + p) % g_.out[0];
      for (int64_t kd = 0; kd < g_.kernel[0]; ++kd) {
        const int64_t d = od * g_.stride[0] - g_.low[0] + kd * g_.dilation[0];
        for (int64_t r = 0; r < rows_in_; ++r, packed += columns_in_ * width) {
          const int64_t h = first_h + r * step_h;
          if (d < 0 || d >= g_.in[0] || h < 0 || h >= g_.in[1]) {
            std::fill(packed, packed + columns_in_ * width, T(0));
            continue;
          }
          const T* row = base + ((n * g_.in[0] + d) * g_.in[1] + h) * g_.in[2] * g_.cin;
          if (width == g_.cin && step_w == 1) {
            copy_row(row, first_w, packed);
            continue;
          }
          for (int64_t i = 0; i < columns_in_; ++i) {
            const int64_t w = first_w + i * step_w;
            if (w < 0 || w >= g_.in[2])
              std::fill(packed + i * width, packed + (i + 1) * width, T(0));
            else
              std::memcpy(packed + i * width, row + w * g_.cin, width * sizeof(T));
          }
        }
      }
    }
  }

  // Neighbouring positions with all their channels, zeros outside the image.
  void copy_row(const T* row, int64_t first, T* packed) const {
    const int64_t begin = std::clamp<int64_t>(-first, 0, columns_in_);
    const int64_t end = std::clamp<int64_t>(g_.in[2] - first, begin, columns_in_);
    std::fill(packed, packed + begin * g_.cin, T(0));
    std::memcpy(packed + begin * g_.cin, row + (first + begin) * g_.cin, (end - begin) * g_.cin * sizeof(T));
    std::fill(packed + end * g_.cin, packed + columns_in_ * g_.cin, T(0));
  }

  void run_task(const T* x, const T* ct, int64_t split, int64_t first_slab, int64_t last_slab, T* result) const {
    const size_t x_bytes = whole_lines(packed_x() * sizeof(T)), ct_bytes = whole_lines(packed_ct() * sizeof(T));
    const size_t offset_bytes = whole_lines(planes_ * lines_ * sizeof(int64_t));
    char* memory = static_cast<char*>(
        pool::thread_scratch(x_bytes + ct_bytes + offset_bytes + whole_lines(tile_.columns * sizeof(T))));
    T* x_packed = reinterpret_cast<T*>(memory);
    T* ct_packed = reinterpret_cast<T*>(memory + x_bytes);
    int64_t* offsets = reinterpret_cast<int64_t*>(memory + x_bytes + ct_bytes);
    T* spare = reinterpret_cast<T*>(memory + x_bytes + ct_bytes + offset_bytes);

    const int64_t begin = chunks_ * split / splits_, end = chunks_ * (split + 1) / splits_;
    for (int64_t index = begin; index < end; ++index) {
      const Chunk c = chunk_at(index);
      int64_t group = -1;
      for (int64_t s = first_slab; s < last_slab; ++s) {
        const Slab& slab = slabs_[s];
        if (slab.group != group && !in_place_) {
          group = slab.group;
          pack_cotangent(ct, c, group, ct_packed);
        }
        pack_x(x, c, slab, x_packed);
        for (int64_t p = 0; p < c.planes; ++p)
          for (int64_t l = 0; l < c.lines; ++l)
            offsets[p * c.lines + l] = (p * g_.kernel[0] * rows_in_ + l * pitch_[1]) * columns_in_ * slab.width;
        const T* cotangent = in_place_ ? ct + c.first_pixel(g_) * g_.cout : ct_packed;
        multiply(c, slab, x_packed, cotangent, offsets, index > begin, result, spare);
      }
    }
  }

  void multiply(const Chunk& c, const Slab& slab, const T* x, const T* ct, const int64_t* offsets, bool accumulate,
                T* result, T* spare) const {
    const T* sources[kWeightGradRows];
    T* results[kWeightGradRows];
    WeightGradTile<T> tile{};
    tile.sources = sources;
    tile.results = results;
    tile.line_offset = offsets;
    tile.lines = c.planes * c.lines;
    tile.length = c.length;
    tile.step = pitch_[2] * slab.width;
    tile.pitch = in_place_ ? g_.cout : tile_.columns;
    tile.accumulate = accumulate;
    const std::vector<Row>& table = slab.width == slab_width_ ? rows_ : last_rows_;
    const int64_t rows = static_cast<int64_t>(table.size());
    result += slab.first * g_.cout + slab.group * g_.group_out();
    for (int64_t panel = 0; panel < panels_; ++panel) {
      const int64_t column = panel * tile_.columns;
      tile.cotangent = ct + (in_place_ ? column : column * c.pixels());
      tile.width = static_cast<int>(std::min<int64_t>(tile_.columns, g_.group_out() - column));
      for (int64_t row = 0; row < rows; row += tile_.rows) {
        for (int i = 0; i < tile_.rows; ++i) {
          // Rows that a last tile lacks repeat its first and go nowhere.
          const bool real = row + i < rows;
          const Row& at = table[real ? row + i : row];
          sources[i] = x + at.source;
          results[i] = real ? result + column + at.result : spare;
        }
        tile_.run(tile);
      }
    }
  }

  void add_partials(const T* partial, int64_t pitch, T* result) const {
    constexpr int64_t kChunk = 4096;
    const int64_t count = result_elements();
    pool::parallel_for(ceil_div(count, kChunk), [&](int64_t task) {
      const int64_t first = task * kChunk, last = std::min(count, first + kChunk);
      std::memcpy(result + first, partial + first, (last - first) * sizeof(T));
      for (int64_t s = 1; s < splits_; ++s)
        for (int64_t i = first; i < last; ++i) result[i] += partial[s * pitch + i];
    });
  }

  const Geometry g_;
  // One row of the result within a slab: where it reads and where it goes, in elements.
  struct Row {
    int64_t source, result;
  };
  std::vector<Row> list_rows(int64_t width) const {
    std::vector<Row> table;
    int64_t tap = 0;
    for (int64_t d = 0; d < g_.kernel[0]; ++d)
      for (int64_t h = 0; h < g_.kernel[1]; ++h)
        for (int64_t w = 0; w < g_.kernel[2]; ++w, ++tap) {
          const int64_t position = (d * rows_in_ + h * g_.dilation[1]) * columns_in_ + w * g_.dilation[2];
          for (int64_t c = 0; c < width; ++c)
            table.push_back({position * width + c, (tap * g_.group_in() + c) * g_.cout});
        }
    return table;
  }

  Triple pitch_;  // packed positions between the sources of neighbouring results
  WeightGradVariant<T> tile_{};
  int64_t slab_width_ = 1, panels_ = 0;
  bool in_place_ = false;              // whether the cotangent is read where it lies
  std::vector<Row> rows_, last_rows_;  // of a slab, of a narrower last one
  std::vector<Slab> slabs_;
  int64_t planes_, lines_, length_;          // of a chunk
  int64_t line_cuts_, pieces_, chunks_ = 0;  // how many chunks
  int64_t rows_in_, columns_in_;             // of a packed plane of x
  int64_t slabs_each_ = 1, splits_ = 1;
};

const Register weight_gradient{"conv_weight_grad", "direct", 10, direct_weight_grad, "any in float32 and float64"};

}  // namespace

std::unique_ptr<Kernel> direct_weight_grad(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || problem.out[0].count() == 0) return nullptr;
  switch (problem.out[0].dtype) {
    case DType::F32:
      return std::make_unique<WeightGrad<float>>(*g);
    case DType::F64:
      return std::make_unique<WeightGrad<double>>(*g);
    default:
      return nullptr;
  }
}

}  // namespace native::conv
