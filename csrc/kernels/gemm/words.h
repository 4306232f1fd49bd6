// GEMM of narrow elements by dot instructions, which take words: the 32 bits of two bfloat16 or four int8
// that are neighbours along k. Sums are float32 or int32. Only instruction sets that have the instructions
// fill the tables; elsewhere `words_table().bf16.block` is null and other kernels do the work.
//
//   words_table()   one instruction set's micro-kernels and packing routines
//   WordPlan        a whole product over a grid of tasks that depends on the problem alone
//
// vdpbf16ps treats subnormal operands as zero and flushes subnormal sums to zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/gemm.h"
#include "runtime/cpu.h"

namespace native {
namespace gemm {

// What makes sums of int8 results of float32: sum * row * column + bias. Null if they stay integers; bias may be null.
struct Scales {
  const float* rows = nullptr;
  const float* columns = nullptr;
  const float* bias = nullptr;
};

// Up to nr columns of B times all rows of A over one range of k. Strides are in bytes.
struct WordBlock {
  int64_t m, n, k;  // k in elements; a word that k does not fill must be completed with zeros in A
  // Word p of row i of A at a + i * a_row + p * a_word.
  const char* a;
  int64_t a_row, a_word;
  // Row-major B where it lies, or null: then `panel` has been packed. Rows of nr words, 64-byte aligned;
  // the first rows of a block with b fill it for those that follow.
  const char* b;
  int64_t b_row;
  uint32_t* panel;
  const int32_t* start;  // what each row's sums start from, or null for zero (int32 only)
  void* sum;             // float32 or int32, sum_row elements between rows
  int64_t sum_row;
  bool accumulate;  // add to what `sum` holds
  // Null: `sum` gets the sums. Otherwise `out` gets the result as bfloat16 or in the type of the sums; it may be `sum`.
  void* out;
  int64_t out_row;  // elements
  bool out_bf16;
  Epilogue<uint16_t> epilogue;  // bias and added of bfloat16 sums, ReLU and ReLU6; `added` has rows like `out`
  Scales scales;                // of int8's sums: then `out` is float32
};

struct WordKernels {
  int terms;   // elements in a word
  int mr, nr;  // the register tile: rows, columns
  int kc;      // elements of k in a block
  void (*block)(const WordBlock&);
  // Columns [0, n), n <= nr, of B into a panel; column j has k contiguous elements at b + j * b_column bytes.
  void (*pack_columns)(const char* b, int64_t b_column, int64_t k, int64_t n, uint32_t* panel);
  // The same of a row-major B, with rows b_row bytes apart.
  void (*interleave_rows)(const char* b, int64_t b_row, int64_t k, int64_t n, uint32_t* panel);
  // k rows of n elements, a_row bytes apart, into rows of words out_row bytes apart: what a transposed A lies
  // in. Vectors are written whole: out_row is a multiple of 64 and has room for n rounded up to 16 * terms.
  void (*pack_rows)(const char* a, int64_t a_row, int64_t k, int64_t n, char* out, int64_t out_row);
  // sum = start + A * B for few rows, k contiguous in A. dots: up to 8 rows; k contiguous in B too, and b_row is
  // from column to column. stream: up to 2 rows; row-major B. Neither looks at panel, accumulate or out.
  void (*dots)(const WordBlock&);
  void (*stream)(const WordBlock&);
  // What the sums of each row of A must start from, or null if that is zero. Strides in bytes, one of them 1.
  void (*row_start)(int64_t m, int64_t k, const char* a, int64_t a_row, int64_t a_column, int32_t* start);
};

struct WordTable {
  WordKernels bf16, i8;
  // rows x k elements as int8: scales[i] = top / (the largest magnitude of row i + least), out = x * scale rounded to
  // the nearest (even) whole number and clipped to top.
  void (*quantise_rows)(const float* x, int64_t rows, int64_t k, float top, float least, int8_t* out, float* scales);
};

// B [k, n] in panels of words, as block() takes them: kernels.nr columns in each, the last completed with zeros; all
// of k in each column. Weights that do not change are packed once.
class PackedWords {
 public:
  PackedWords(const WordKernels& kernels, int64_t k, int64_t n) : kernels_(kernels), k_(k), n_(n) {}
  // In words.
  int64_t size() const { return panels() * panel(k_); }
  int64_t panels() const { return (n_ + kernels_.nr - 1) / kernels_.nr; }
  // Words that `terms` terms of a panel take; kc, and multiples of it, are whole words.
  int64_t panel(int64_t terms) const { return (terms + kernels_.terms - 1) / kernels_.terms * kernels_.nr; }
  // From a row-major B, or one whose columns lie in one piece; 64-byte aligned `out`. Uses the thread pool.
  void pack(const void* b, bool transposed, uint32_t* out) const;
  // The same in tasks.
  int64_t tasks() const { return panels() * ranges(); }
  void pack_task(const void* b, bool transposed, uint32_t* out, int64_t task) const;

 private:
  int64_t ranges() const { return (k_ + kernels_.kc - 1) / kernels_.kc; }
  const WordKernels& kernels_;
  int64_t k_, n_;
};

// C = activation(A * B + bias), of row-major operands without gaps, bfloat16 or int8 as the kernels have it,
// none of the sizes zero. Immutable; run() uses the thread pool.
class WordPlan {
 public:
  // `batch` products, whose matrices of A and B are those of index_a and index_b (null for the identity).
  struct Problem {
    int64_t m, n, k;
    bool transpose_a = false, transpose_b = false;
    int64_t batch = 1;
    const int64_t *index_a = nullptr, *index_b = nullptr;
    Activation activation = Activation::None;
    bool out_bf16 = false;   // else the type of the sums
    bool packed = false;     // B is PackedWords, and the only one
    bool wide_a = false;     // A is float32, not transposed, to be rounded to bfloat16; B is packed
    bool quantised = false;  // int8 with scales, which C is divided by: float32
  };
  WordPlan(const WordKernels& kernels, const Problem& problem);
  // Bytes of scratch that run() needs; 64-byte aligned.
  size_t scratch_size() const;
  // Bias and what is added are bfloat16; the epilogue's activation is the problem's.
  void run(const void* a, const void* b, void* c, const Epilogue<uint16_t>& epilogue, void* scratch,
           const Scales& scales = {}) const;
  // Whether rows of C can be had without the others, and those rows, on the calling thread, as run() makes them.
  bool by_rows() const { return p_.batch == 1 && !p_.transpose_a && !few_ && !swaps_ && splits_ == 1 && !shares_b_; }
  void run_rows(const void* a, const void* b, void* c, const Epilogue<uint16_t>& epilogue, int64_t first, int64_t count,
                const Scales& scales = {}) const;

 private:
  struct Tile {
    int64_t product, split, row, column, rows, columns;
    int64_t first, terms;  // terms [first, first + terms) of k
    bool alone = false;    // shares nothing with other tasks
  };
  struct Operands {
    const char *a, *b;
    char* c;
    Epilogue<uint16_t> epilogue;
    char* scratch;
    Scales scales;
  };
  struct Memory;
  void choose_grid();
  Tile tile(int64_t task) const;
  Memory memory(const Tile& tile, char* base) const;
  int64_t panel_bytes(int64_t terms) const { return 4 * packed_.panel(terms); }
  int64_t shared_a_bytes() const;
  int64_t shared_b_bytes() const;
  char* partial_sums(const Operands& operands) const;
  const char* at_a(const char* a, int64_t row, int64_t term) const;
  void copy_a(const char* a, int64_t rows, int64_t terms, char* out) const;
  // Words of A that several tasks read, in tasks; what a task has: terms and rows.
  struct Piece {
    int64_t terms, rows;
  };
  Piece shared_piece() const;
  int64_t share_tasks() const;
  void share_a(const Operands& operands, int64_t task) const;
  const char* place_a(const Tile& tile, const Operands& operands, int64_t first, int64_t terms,
                      const Memory& memory) const;
  void run_tile(const Tile& tile, Operands operands) const;
  Scales factors(const Tile& tile, const Scales& scales, const Memory& memory) const;
  void run_rows(const Tile& tile, const Operands& operands, const Memory& memory, WordBlock block) const;
  void run_blocks(const Tile& tile, const Operands& operands, const Memory& memory, WordBlock block,
                  const Epilogue<uint16_t>& epilogue, char* c) const;
  void add_splits(const Operands& operands) const;
  void finish(int64_t rows, int64_t columns, char* sum, int64_t sum_row, char* c, const Epilogue<uint16_t>& epilogue,
              float* room) const;

  const WordKernels& kernels_;
  PackedWords packed_;
  const Kernels<float>& floats_ = gemm_table().f32;
  const VectorTable& vectors_ = gemm_vector_table();
  Problem p_;
  bool swaps_;                // one column: its product is computed as one row
  bool few_;                  // rows: dot products with contiguous columns, or streams of row-major B
  bool copies_a_;             // A is not read in place (or is to be rounded),
  bool words_by_column_;      // but copied in rows of words, each word beside that of the next row of A
  bool shares_a_, shares_b_;  // packed once for all tasks
  bool defers_;               // bias and activation come after the tile
  bool sums_;                 // C cannot hold sums,
  bool sums_by_panel_;        // and those of one panel are finished before the next one's
  int64_t element_, out_element_, task_m_, task_n_, split_terms_, depth_, splits_ = 1, group_ = 1;
  int64_t a_row_, a_word_, a_bytes_;  // strides of A's words in place or copied; bytes of a task's copy
  size_t task_bytes_ = 0;
};

}  // namespace gemm

NATIVE_BF16_TABLE(gemm::WordTable, words_table)

}  // namespace native
