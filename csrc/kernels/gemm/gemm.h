// GEMM for other kernels: C[m, n] (+)= A[m, k] * B[k, n], then bias and activation.
//
// Three levels, each usable by itself:
//   gemm_table()     one instruction set's micro-kernels and packing routines (plain function pointers)
//   gemm::block()    a single-threaded product, callable from inside a pool task
//   gemm::Plan       a whole product over a grid of tasks that depends on the problem alone
//
// Operands are strided: element (i, j) is data[i * row + j * column], one of the strides being 1. A
// transpose is a swap of the strides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernels/activation.h"
#include "runtime/cpu.h"

namespace native {
namespace gemm {

template <class T>
struct Operand {
  const T* data;
  int64_t row, column;  // strides in elements
};

// What happens to a finished tile of C. `bias` has one entry a column, or is null; `added` is a matrix with the
// row stride of C that is added before the activation, or null. `past`: C is far (is_far()), so that whole lines of it
// that are stored once may go past the caches.
template <class T>
struct Epilogue {
  const T* bias = nullptr;
  Activation activation = Activation::None;
  const T* added = nullptr;
  bool past = false;

  // That of C's part from row i and column j on.
  Epilogue from(int64_t i, int64_t j, int64_t c_row) const {
    return {bias ? bias + j : nullptr, activation, added ? added + i * c_row + j : nullptr, past};
  }
};

// Activations that tiles apply to their sums; the others take a pass of their own.
constexpr bool clips(Activation a) { return a == Activation::Relu || a == Activation::Relu6; }

// B in panels: panel j holds columns [j * nr, (j + 1) * nr) as rows of nr elements, the last one padded
// with zeros. `panel` is the distance between panels, `row` between rows. Packed panels have row == nr;
// row-major B with a multiple of nr columns serves without packing (row = its row stride, panel = nr).
template <class T>
struct Panels {
  const T* data;
  int64_t row, panel;
};

// Distance of columns of an A with unit row stride that the micro-kernel is made for, beside that of slivers.
constexpr int64_t kSlab = 64;

// One block: m and n are arbitrary, k should be at most kernels.kc, or deep_kc if B is packed (a panel of B stays in L1
// or L2). Rows of A come in slivers of mr rows, `sliver` elements apart: mr * a.row, or mr * k and a line where pack_a
// made slivers.
template <class T>
struct Block {
  int64_t m, n, k;
  Operand<T> a;
  int64_t sliver;
  Panels<T> b;
  T* c;
  int64_t c_row;
  bool accumulate;       // C += instead of C =
  Epilogue<T> epilogue;  // applied after the sum; `past` only without `accumulate` and where rows of C are whole lines
  T* copy = nullptr;     // panels are copied there, k * nr apart, by the first mr rows: m >= mr, whole panels in place
  bool close = false;    // B and what is next are in the second-level cache: nothing is fetched ahead
  int64_t behind = 0;    // of a single panel: where what is fetched meanwhile lies from it; 0: after its k rows
};

template <class T>
struct Kernels {
  int mr, nr;  // the register tile
  int kc, mc;  // block sizes: depth of a panel, rows at most
  // Depth where B is packed: in place its rows may be pages apart.
  int deep_kc;
  // Transposed A is read where it lies, unless its rows are a multiple of a page apart: then they fall into
  // one cache set and evict each other.
  bool reads_columns;
  // From so many columns on rows of A are copied as well: six rows in place are lines of six pages or of one cache set.
  int sliver_columns;
  // Up to so many rows of A whole panels of row-major B are read where they lie; with more rows they are copied by the
  // tiles that read them first.
  int direct_rows;
  // And such multiples of columns.
  int direct_columns;
  // Up to so many rows of A dots() is worth a trial.
  int dot_rows;
  void (*block)(const Block<T>&);
  // Packs k rows and n columns of B into panels `panel` elements apart.
  void (*pack_b)(const Operand<T>& b, int64_t k, int64_t n, T* out, int64_t panel);
  // out[j * out_row + i] = in[i * in_row + j].
  void (*transpose)(const T* in, int64_t in_row, int64_t rows, int64_t columns, T* out, int64_t out_row);
  // Copies the block's A into slivers: block.a and block.sliver then point into `out`, which has
  // packed_a_size() elements.
  void (*pack_a)(Block<T>& block, T* out);
  // y[n] (+)= x[k] * B[k, n], row-major B (column stride 1); x has a stride.
  void (*gemv)(int64_t n, int64_t k, const T* x, int64_t x_step, const T* b, int64_t b_row, T* y);
  // y[n] = x[k] * B[k, n], B in packed panels.
  void (*panel_gemv)(int64_t n, int64_t k, const T* x, const Panels<T>& b, T* y);
  // C[m, n] = A[m, k] * B[n, k]^T as dot products: both with contiguous k. For few rows.
  void (*dots)(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, const T* b, int64_t b_row, T* c,
               int64_t c_row);
  // The epilogue over m rows in place.
  void (*finish)(int64_t m, int64_t n, T* c, int64_t c_row, const Epilogue<T>& epilogue);
};

struct GemmTable {
  Kernels<float> f32;
  Kernels<double> f64;
};

// Conversion of `count` elements; and what finish() does, from sums into a bfloat16 matrix with rows `row` apart, as
// that of what is added.
struct VectorTable {
  void (*widen_bf16)(const uint16_t* in, float* out, int64_t count);
  void (*narrow_bf16)(const float* in, uint16_t* out, int64_t count);
  void (*widen_f16)(const uint16_t* in, float* out, int64_t count);
  void (*narrow_f16)(const float* in, uint16_t* out, int64_t count);
  void (*finish_bf16)(int64_t m, int64_t n, const float* sum, int64_t sum_row, const Epilogue<uint16_t>& epilogue,
                      uint16_t* out, int64_t row);
};

// Products of integers modulo the output's width, named after widths. Rows [0, m) of C = A * B with any
// strides; C is row-major without gaps.
template <class In, class Out>
using IntegerProduct = void (*)(int64_t m, int64_t n, int64_t k, const Operand<In>& a, const Operand<In>& b, Out* c);
struct IntegerTable {
  IntegerProduct<uint8_t, uint8_t> u8;
  IntegerProduct<uint16_t, uint16_t> u16;
  IntegerProduct<uint32_t, uint32_t> u32;
  IntegerProduct<uint64_t, uint64_t> u64;
  IntegerProduct<int8_t, uint32_t> i8_to_32;
  IntegerProduct<uint8_t, uint32_t> u8_to_32;
};

// Elements that packed B takes.
template <class T>
int64_t packed_b_size(const Kernels<T>& kernels, int64_t k, int64_t n) {
  return (n + kernels.nr - 1) / kernels.nr * kernels.nr * k;
}

// All of B in panels of all terms, {out, nr, k * nr}, on the pool; `out` has packed_b_size() elements.
template <class T>
void pack_panels(const Kernels<T>& kernels, const Operand<T>& b, int64_t k, int64_t n, T* out);

// Bytes of A that a block takes of the second-level cache, at most.
constexpr int64_t kBlockBytes = 384 << 10;

// Elements that one block of packed A takes at most, with an incomplete sliver and a line between slivers.
template <class T>
int64_t packed_a_size(const Kernels<T>& kernels) {
  return kBlockBytes / static_cast<int64_t>(sizeof(T)) + kernels.mr * kernels.deep_kc + 16 * (kernels.mc + kernels.mr);
}

// Elements of scratch that block() and block_packed() need; 64-byte aligned.
template <class T>
int64_t block_scratch_size(const Kernels<T>& kernels, int64_t k, int64_t n);
template <class T>
int64_t block_packed_scratch_size(const Kernels<T>& kernels) {
  return packed_a_size(kernels);
}

// C[m, n] (+)= A * B on the calling thread. k == 0 gives zeros (or leaves C) and the epilogue.
template <class T>
void block(const Kernels<T>& kernels, int64_t m, int64_t n, int64_t k, const Operand<T>& a, const Operand<T>& b, T* c,
           int64_t c_row, bool accumulate, const Epilogue<T>& epilogue, T* scratch);

// The same with B in panels; kernels.pack_b with panel = k * nr makes them: {packed, nr, k * nr}.
template <class T>
void block_packed(const Kernels<T>& kernels, int64_t m, int64_t n, int64_t k, const Operand<T>& a, const Panels<T>& b,
                  T* c, int64_t c_row, bool accumulate, const Epilogue<T>& epilogue, T* scratch);

// How a product is cut. Vector, Dots and Outer have conditions of their own: see takes_path().
enum class Path {
  Vector,   // one row or column: bound by the matrix's bytes
  Dots,     // few rows of A times contiguous rows of B^T
  Outer,    // one term: rows of C are written from end to end
  Columns,  // a task has all rows and packs its own columns of B
  Tiles,    // B is packed once for all tasks
  SplitK,   // few tiles and many terms: partial sums of ranges of k
};
bool takes_path(Path path, int64_t m, int64_t n, int64_t k, bool transpose_b);

// How B is given.
enum class Form {
  Rows,     // [k][n]
  Columns,  // [n][k]: its transpose
  Panels,   // as pack_panels() makes them
};

// A product over the thread pool, of row-major operands without gaps. Immutable.
template <class T>
class Plan {
 public:
  // By the path given, or by the one that suits the shape. Not all paths take panels: by default those do.
  Plan(const Kernels<T>& kernels, int64_t m, int64_t n, int64_t k, bool transpose_a, Form b,
       std::optional<Path> path = {});
  // Elements of scratch that run() needs; 64-byte aligned.
  int64_t scratch_size() const;
  void run(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const;
  // Whether rows of C can be had without the others, and those rows, on the calling thread, as run() makes them.
  bool by_rows() const;
  void run_rows(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, int64_t first, int64_t count) const;

 private:
  // Rows [i, i + rows), columns [j, j + columns) and terms [p, p + terms).
  struct Part {
    int64_t i, rows, j, columns, p, terms;
  };
  Path suitable_path() const;
  bool own_rows() const;
  bool few_panels() const;
  bool keeps_b() const;
  void keep_parts(double wanted);
  double tasks() const;
  double whole_tasks();
  double cut(double wanted);

  // A from row i and term p, B from term p and column j.
  Operand<T> at_a(const T* a, int64_t i, int64_t p) const;
  Operand<T> at_b(const T* b, int64_t p, int64_t j) const;
  Panels<T> at_panels(const T* b, int64_t p, int64_t j) const;
  // On the calling thread; c is the part's.
  void run_part(const Part& part, const T* a, const T* b, T* c, const Epilogue<T>& epilogue) const;
  void run_vector(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const;
  void run_dots(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const;
  void run_outer(const T* a, const T* b, T* c, const Epilogue<T>& epilogue) const;
  void run_columns(const T* a, const T* b, T* c, const Epilogue<T>& epilogue) const;
  void run_tiles(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const;
  void run_split(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const;
  // C from the partial sums of ranges of terms, one matrix after another, in their order.
  void add_splits(int64_t splits, T* c, const Epilogue<T>& epilogue, const T* sums) const;

  const Kernels<T>& kernels_;
  int64_t m_, n_, k_;
  bool transpose_a_;
  Form b_;
  Path path_ = Path::Tiles;
  int64_t task_m_, task_n_, splits_ = 1;
};

}  // namespace gemm

NATIVE_ISA_TABLE(gemm::GemmTable, gemm_table)
NATIVE_BF16_TABLE(gemm::VectorTable, gemm_vector_table)
NATIVE_ISA_TABLE(gemm::IntegerTable, gemm_integer_table)

namespace gemm {

template <class T>
static inline const Kernels<T>& kernels_of() {
  if constexpr (sizeof(T) == sizeof(float))
    return gemm_table().f32;
  else
    return gemm_table().f64;
}

}  // namespace gemm
}  // namespace native
