// Blocking, the grid of tasks and the choice of a path for products of words. No vector code here.
#include "kernels/gemm/words.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::gemm {
namespace {

// Words multiplied that are worth a task, and those of a task where there are enough of them.
constexpr double kTaskWork = 0.75e6, kLargeTaskWork = 8e6, kSmallTaskWork = 5e5;
// The same by packed words, where a task packs nothing: threads that start late take fewer.
constexpr double kPackedTaskWork = 3e6;
// Enough tasks that 16 threads finish together.
constexpr double kMostTasks = 16;
// Rows and columns of a task: packing A costs one part in so many columns, packing B in so many rows.
constexpr int64_t kTaskSide = 512;
// Up to so many rows times contiguous columns are dot products.
constexpr int64_t kDotRows = 8;
// Up to so many rows times row-major columns walk along rows of B which are about a page or longer: tiles meet those in
// a few sets of the cache. One row always does.
constexpr int64_t kStreamRows = 2;
// Up to so many rows a task takes all of them, and so B is read once.
// Where A is turned as well: else it is packed again for each range of columns. And where B is packed already.
constexpr int64_t kColumnRows = 512, kTurnedColumnRows = 256, kPackedColumnRows = 192;
// Up to so many rows reading B is what takes the time: wide tasks walk along its pages.
constexpr int64_t kDirectRows = 48, kStreamColumns = 512;
// Terms of their blocks: so many of B's rows are fetched ahead while few pages are at hand and, where they are a
// multiple of a page apart, few lines meet in a set of the second level.
constexpr int64_t kDirectTerms = 512;
// From so many rows on those of packed words are taken in halves.
constexpr int64_t kSplitRows = 96;
// Bytes of a matrix that are a task where one row or column multiplies it.
constexpr double kVectorBytes = 262144;

// Terms of A that are packed at a time where they are rows, at least.
constexpr int64_t kStreamTerms = 32;
// Rows of a task are a multiple of these, so that threads have as many each, and no fewer than those: the first rows
// read B. Tiles of 6 and 4 rows make up any such number.
constexpr int64_t kRowUnit = 8, kLeastRows = 96;
// Rows of a task that turns all columns of B for itself; and terms of a task that has all columns and turns its rows,
// which stay in its cache.
constexpr int64_t kPackingRows = 128, kOwnTerms = 1024;

// Rows a multiple of a page apart fall into one cache set.
constexpr int64_t kPage = 4096;

template <class T>
void copy_strided(const char* in, int64_t step, int64_t count, char* out) {
  for (int64_t p = 0; p < count; ++p) reinterpret_cast<T*>(out)[p] = reinterpret_cast<const T*>(in)[p * step];
}

}  // namespace

// Where a task keeps what is its own.
struct WordPlan::Memory {
  uint32_t* panel;
  char* a;
  int32_t* start;
  char* sums;
  int64_t sum_row;        // elements
  float* room;            // two rows of floats
  float *rows, *columns;  // what sums are multiplied by
  size_t bytes;
};

WordPlan::WordPlan(const WordKernels& kernels, const Problem& problem)
    : kernels_(kernels), packed_(kernels, problem.k, problem.n), p_(problem) {
  element_ = 4 / kernels.terms;
  out_element_ = p_.out_bf16 ? 2 : 4;
  swaps_ = !p_.packed && p_.n == 1 && p_.m > 1;
  if (swaps_) {
    std::swap(p_.m, p_.n);
    std::swap(p_.index_a, p_.index_b);
    p_.transpose_b = !p_.transpose_a;
  }
  // A vector has no direction.
  if (p_.m == 1) p_.transpose_a = false;
  if (p_.n == 1 && !p_.packed) p_.transpose_b = true;
  const int64_t most = p_.transpose_b ? kDotRows : p_.n * element_ >= kPage - 64 ? kStreamRows : 1;
  few_ = !p_.packed && p_.m <= most;
  choose_grid();
  split_terms_ = splits_ > 1 ? round_up(ceil_div(p_.k, splits_), 64) : p_.k;
  const bool direct = !p_.packed && !p_.transpose_b && p_.m <= kDirectRows;
  depth_ = few_ ? p_.k : even_share(split_terms_, direct ? kDirectTerms : kernels.kc, 64);
  // Six rows of A leave room in a cache set for the panel that streams by; eight beside columns of B do not.
  const bool scattered = few_ && p_.m > 2 && p_.k * element_ % kPage == 0 && task_n_ > 2 * kernels.nr;
  copies_a_ = p_.wide_a || p_.transpose_a || scattered || (p_.k % kernels.terms != 0 && !(few_ && p_.transpose_b));
  defers_ = few_ || splits_ > 1 || p_.activation > Activation::Relu6;
  sums_ = p_.out_bf16 && splits_ == 1 && (defers_ || p_.k > depth_);
  sums_by_panel_ = !few_ && p_.k <= depth_;
  shares_a_ = copies_a_ && p_.batch == 1 && task_n_ < p_.n;
  // A task of many rows and all columns packs B sooner than it is fetched from another thread.
  const bool alone = p_.transpose_a && task_n_ == p_.n && task_m_ >= kPackingRows && p_.k <= kOwnTerms;
  shares_b_ = p_.transpose_b && !few_ && p_.batch == 1 && task_m_ < p_.m && !alone;
  const int64_t words = ceil_div(shares_a_ ? p_.k : depth_, kernels.terms);
  words_by_column_ = p_.transpose_a && !few_;
  if (words_by_column_) {
    a_row_ = 4;
    // A line between rows, which would fall into one cache set.
    a_word_ = 4 * round_up(task_m_, 16 * kernels.terms) + 64;
    a_bytes_ = words * a_word_;
  } else {
    a_row_ = copies_a_ ? round_up(4 * words, 64) + 64 : p_.k * element_;
    a_word_ = 4;
    a_bytes_ = task_m_ * a_row_;
  }
  task_bytes_ = memory(tile(0), nullptr).bytes;
}

void WordPlan::choose_grid() {
  const double work =
      static_cast<double>(p_.m) * static_cast<double>(p_.n) * static_cast<double>(ceil_div(p_.k, kernels_.terms));
  const double all = work * static_cast<double>(p_.batch);
  const double wanted = std::clamp(all / (p_.packed ? kPackedTaskWork : kLargeTaskWork),
                                   std::clamp(all / kTaskWork, 1.0, 4.0), kMostTasks) /
                        static_cast<double>(p_.batch);
  group_ = std::max<int64_t>(1, static_cast<int64_t>(kSmallTaskWork / work));
  task_m_ = p_.m;
  task_n_ = p_.n;
  if (few_ || (p_.packed && p_.m <= kDotRows)) {
    const double bytes = static_cast<double>(p_.n) * static_cast<double>(p_.k * element_);
    const double tasks = std::clamp(bytes / kVectorBytes, 1.0, 2 * kMostTasks);
    const int64_t share =
        round_up(static_cast<int64_t>(static_cast<double>(p_.n) / tasks), p_.packed ? kernels_.nr : 32);
    const bool in_pieces = p_.packed || p_.transpose_b;
    task_n_ = std::min(p_.n, in_pieces ? share : std::max(round_up(share, kernels_.nr), kStreamColumns));
    return;
  }
  const int64_t most_rows = p_.packed ? kPackedColumnRows : p_.transpose_a ? kTurnedColumnRows : kColumnRows;
  const bool all_rows = p_.m <= most_rows;
  const bool all_columns = !all_rows && p_.transpose_a && p_.n <= kTaskSide && p_.k <= kOwnTerms;
  task_n_ = even_share(p_.n, kTaskSide, kernels_.nr);
  if (!all_rows) {
    // An even number of tasks: with an odd one two threads, or four, do not end together.
    const int64_t unit = ceil_div(p_.n, task_n_) % 2 == 0 ? 1 : 2;
    task_m_ = round_up(ceil_div(p_.m, round_up(ceil_div(p_.m, kTaskSide), unit)), kRowUnit);
  }
  auto tasks = [&] { return static_cast<double>(ceil_div(p_.m, task_m_) * ceil_div(p_.n, task_n_)); };
  int64_t narrow = !p_.transpose_b && p_.m <= kDirectRows ? kStreamColumns / 2 : 4 * kernels_.nr;
  // A task that has all rows packs its columns for itself, one that has all columns its rows: no thread waits for the
  // other, nor reads what it wrote. Fewer columns cost nothing then.
  if (all_rows && p_.m > kPackedColumnRows && !p_.transpose_a) narrow = kernels_.nr;
  if (all_columns) narrow = p_.n;
  const int64_t low = all_rows ? p_.m : all_columns && p_.transpose_b ? kPackingRows : kLeastRows;
  while (tasks() < 0.75 * wanted && (task_n_ > narrow || task_m_ > low)) {
    // The longer side is cut: a square tile needs the least of A and B.
    if (task_n_ > narrow && (task_n_ >= task_m_ || task_m_ <= low))
      task_n_ = round_up(task_n_ / 2, kernels_.nr);
    else
      task_m_ = round_up(task_m_ / 2, kRowUnit);
  }
  // Copying A once more costs less than a thread without work.
  while (all_rows && tasks() < std::min(wanted, p_.packed ? 8.0 : 4.0) && task_n_ > kernels_.nr)
    task_n_ = round_up(task_n_ / 2, kernels_.nr);
  // A thread that takes the same rows of one product after the other reads little of what others wrote.
  if (p_.packed && p_.m >= kSplitRows && all_rows && tasks() >= 4) {
    task_m_ = ceil_div(p_.m, 2);
    task_n_ = std::min(p_.n, 2 * task_n_);
  }
  if (p_.batch == 1 && !p_.quantised && wanted >= 2 * tasks() && p_.k >= 2 * kernels_.kc) {
    const int64_t most = std::min(static_cast<int64_t>(wanted / tasks()), p_.k / kernels_.kc);
    splits_ = ceil_div(p_.k, round_up(ceil_div(p_.k, most), 64));
  }
}

void PackedWords::pack(const void* b, bool transposed, uint32_t* out) const {
  pool::parallel_for(tasks(), [&](int64_t task) { pack_task(b, transposed, out, task); });
}

void PackedWords::pack_task(const void* b, bool transposed, uint32_t* out, int64_t task) const {
  const int64_t index = task / ranges(), first = task % ranges() * kernels_.kc;
  const int64_t element = 4 / kernels_.terms, column = index * kernels_.nr;
  const int64_t terms = std::min<int64_t>(kernels_.kc, k_ - first),
                columns = std::min<int64_t>(kernels_.nr, n_ - column);
  const char* const from = static_cast<const char*>(b);
  out += index * panel(k_) + panel(first);
  if (transposed)
    kernels_.pack_columns(from + (column * k_ + first) * element, k_ * element, terms, columns, out);
  else
    kernels_.interleave_rows(from + (first * n_ + column) * element, n_ * element, terms, columns, out);
}

// A's words for all tasks, panels of B for all tasks, partial sums, bias.
size_t WordPlan::scratch_size() const {
  const int64_t sums = splits_ > 1 ? 4 * splits_ * p_.m * p_.n : 0;
  return static_cast<size_t>(shared_a_bytes() + shared_b_bytes() + sums);
}
int64_t WordPlan::shared_a_bytes() const { return shares_a_ ? round_up(ceil_div(p_.m, task_m_) * a_bytes_, 64) : 0; }
int64_t WordPlan::shared_b_bytes() const { return shares_b_ ? 4 * packed_.size() : 0; }

WordPlan::Tile WordPlan::tile(int64_t task) const {
  const int64_t across = ceil_div(p_.n, task_n_), down = ceil_div(p_.m, task_m_);
  Tile t{};
  t.column = task % across * task_n_;
  t.row = task / across % down * task_m_;
  t.split = task / (across * down) % splits_;
  t.product = task / (across * down * splits_);
  t.first = t.split * split_terms_;
  t.rows = std::min(task_m_, p_.m - t.row);
  t.columns = std::min(task_n_, p_.n - t.column);
  t.terms = std::min(split_terms_, p_.k - t.first);
  return t;
}

WordPlan::Memory WordPlan::memory(const Tile& t, char* base) const {
  Memory memory{};
  const int64_t rows = t.alone ? t.rows : task_m_, columns = t.alone ? p_.n : task_n_;
  auto take = [&](int64_t bytes) {
    const size_t at = memory.bytes;
    memory.bytes += static_cast<size_t>(round_up(bytes, 64));
    return base ? base + at : nullptr;
  };
  if (!few_ && !shares_b_ && !p_.packed) memory.panel = reinterpret_cast<uint32_t*>(take(panel_bytes(depth_)));
  if (kernels_.row_start) memory.start = reinterpret_cast<int32_t*>(take(4 * rows));
  if (copies_a_ && (t.alone || !shares_a_)) memory.a = take(t.alone ? rows * a_row_ : a_bytes_);
  memory.sum_row = sums_by_panel_ ? kernels_.nr : columns;
  if (sums_) memory.sums = take(4 * rows * memory.sum_row);
  if (p_.quantised) {
    memory.rows = reinterpret_cast<float*>(take(4 * rows));
    memory.columns = reinterpret_cast<float*>(take(4 * columns));
  }
  if (defers_) memory.room = reinterpret_cast<float*>(take(8 * columns));
  return memory;
}

void WordPlan::run(const void* a, const void* b, void* c, const Epilogue<uint16_t>& epilogue, void* scratch,
                   const Scales& scales) const {
  if (swaps_) std::swap(a, b);
  const Operands operands{static_cast<const char*>(a), static_cast<const char*>(b),
                          static_cast<char*>(c),       epilogue,
                          static_cast<char*>(scratch), scales};
  const int64_t of_a = share_tasks(), of_b = shares_b_ ? packed_.tasks() : 0;
  pool::parallel_for(of_a + of_b, [&](int64_t task) {
    if (task < of_a) return share_a(operands, task);
    packed_.pack_task(operands.b, true, reinterpret_cast<uint32_t*>(operands.scratch + shared_a_bytes()), task - of_a);
  });
  const int64_t each = ceil_div(p_.n, task_n_) * ceil_div(p_.m, task_m_) * splits_, all = each * p_.batch;
  pool::parallel_for(ceil_div(all, group_), [&](int64_t group) {
    for (int64_t task = group * group_; task < std::min(all, (group + 1) * group_); ++task)
      run_tile(tile(task), operands);
  });
  if (splits_ > 1) add_splits(operands);
}

void WordPlan::run_rows(const void* a, const void* b, void* c, const Epilogue<uint16_t>& epilogue, int64_t first,
                        int64_t count, const Scales& scales) const {
  Tile t{};
  t.row = first;
  t.rows = count;
  t.columns = p_.n;
  t.terms = p_.k;
  t.alone = true;
  run_tile(
      t, {static_cast<const char*>(a), static_cast<const char*>(b), static_cast<char*>(c), epilogue, nullptr, scales});
}

WordPlan::Piece WordPlan::shared_piece() const {
  // A few rows of a transposed A from end to end, as many streams as prefetchers follow. Else rows of a task, which
  // the same thread takes next.
  return words_by_column_ ? Piece{kStreamTerms, p_.m} : Piece{depth_, task_m_};
}

int64_t WordPlan::share_tasks() const {
  const Piece piece = shared_piece();
  return shares_a_ ? ceil_div(p_.k, piece.terms) * ceil_div(p_.m, piece.rows) : 0;
}

void WordPlan::share_a(const Operands& operands, int64_t task) const {
  const Piece piece = shared_piece();
  const int64_t ranges = ceil_div(p_.k, piece.terms), top = task / ranges * piece.rows;
  const int64_t first = task % ranges * piece.terms, count = std::min(piece.terms, p_.k - first);
  char* out = operands.scratch + first / kernels_.terms * a_word_ + top / task_m_ * a_bytes_;
  for (int64_t row = top; row < std::min(p_.m, top + piece.rows); row += task_m_, out += a_bytes_)
    copy_a(at_a(operands.a, row, first), std::min(task_m_, p_.m - row), count, out);
}

const char* WordPlan::at_a(const char* a, int64_t row, int64_t term) const {
  return a + (p_.transpose_a ? term * p_.m + row : row * p_.k + term) * (p_.wide_a ? 4 : element_);
}

// Words of A, its terms completed with zeros.
void WordPlan::copy_a(const char* a, int64_t rows, int64_t terms, char* out) const {
  if (words_by_column_) return kernels_.pack_rows(a, p_.m * element_, terms, rows, out, a_word_);
  for (int64_t i = 0; i < rows; ++i, out += a_row_) {
    if (p_.wide_a)
      vectors_.narrow_bf16(reinterpret_cast<const float*>(at_a(a, i, 0)), reinterpret_cast<uint16_t*>(out), terms);
    else if (!p_.transpose_a)
      std::memcpy(out, at_a(a, i, 0), static_cast<size_t>(terms * element_));
    else if (element_ == 2)
      copy_strided<uint16_t>(at_a(a, i, 0), p_.m, terms, out);
    else
      copy_strided<uint8_t>(at_a(a, i, 0), p_.m, terms, out);
    if (terms % kernels_.terms != 0) std::memset(out + terms * element_, 0, 3);
  }
}

void WordPlan::run_tile(const Tile& t, Operands operands) const {
  operands.a += (p_.index_a ? p_.index_a[t.product] : t.product) * p_.m * p_.k * element_;
  operands.b += (p_.index_b ? p_.index_b[t.product] : t.product) * p_.k * p_.n * element_;
  const int64_t at = t.row * p_.n + t.column;
  char* const c = operands.c + (t.product * p_.m * p_.n + at) * out_element_;
  Epilogue<uint16_t> epilogue = operands.epilogue.from(t.product * p_.m + t.row, t.column, p_.n);
  epilogue.activation = p_.activation;
  if (swaps_) epilogue.bias = operands.epilogue.bias;
  const size_t bytes = t.alone ? memory(t, nullptr).bytes : task_bytes_;
  const Memory memory = this->memory(t, static_cast<char*>(pool::thread_scratch(bytes)));
  char* sum = sums_ ? memory.sums : c;
  if (splits_ > 1) sum = partial_sums(operands) + 4 * (t.split * p_.m * p_.n + at);
  WordBlock block{};
  block.sum = sum;
  block.sum_row = sums_ ? memory.sum_row : p_.n;
  if (p_.quantised) block.scales = factors(t, operands.scales, memory);
  if (!defers_ || p_.quantised) {
    block.out = c;
    block.out_row = p_.n;
    block.out_bf16 = p_.out_bf16;
  }
  if (!defers_) block.epilogue = epilogue;
  if (!few_) return run_blocks(t, operands, memory, block, epilogue, c);
  run_rows(t, operands, memory, block);
  finish(t.rows, t.columns, sum, block.sum_row, c, epilogue, memory.room);
}

// The words of A for a range of k that begins at `first`: where they lie, or copied now.
const char* WordPlan::place_a(const Tile& t, const Operands& operands, int64_t first, int64_t terms,
                              const Memory& memory) const {
  const char* const a = at_a(operands.a, t.row, first);
  if (kernels_.row_start) {
    const int64_t row = p_.transpose_a ? element_ : p_.k * element_,
                  column = p_.transpose_a ? p_.m * element_ : element_;
    kernels_.row_start(t.rows, terms, a, row, column, memory.start);
  }
  if (!copies_a_) return a;
  if (shares_a_ && !t.alone) return operands.scratch + t.row / task_m_ * a_bytes_ + first / kernels_.terms * a_word_;
  copy_a(a, t.rows, terms, memory.a);
  return memory.a;
}

// C is divided by the scales.
Scales WordPlan::factors(const Tile& t, const Scales& scales, const Memory& memory) const {
  for (int64_t i = 0; i < t.rows; ++i) memory.rows[i] = 1 / scales.rows[t.row + i];
  for (int64_t j = 0; j < t.columns; ++j) memory.columns[j] = 1 / scales.columns[t.column + j];
  return {memory.rows, memory.columns, scales.bias ? scales.bias + t.column : nullptr};
}

void WordPlan::run_rows(const Tile& t, const Operands& operands, const Memory& memory, WordBlock block) const {
  const int64_t b_column = p_.transpose_b ? p_.k * element_ : element_;
  block.m = t.rows;
  block.n = t.columns;
  block.k = p_.k;
  block.a = place_a(t, operands, 0, p_.k, memory);
  block.a_row = a_row_;
  block.b = operands.b + t.column * b_column;
  block.b_row = p_.transpose_b ? b_column : p_.n * element_;
  block.start = memory.start;
  (p_.transpose_b ? kernels_.dots : kernels_.stream)(block);
}

// Ranges of k one after another, and in each range panels of B.
void WordPlan::run_blocks(const Tile& t, const Operands& operands, const Memory& memory, WordBlock block,
                          const Epilogue<uint16_t>& epilogue, char* c) const {
  const WordBlock whole = block;
  const int64_t b_column = p_.transpose_b ? p_.k * element_ : element_;
  const int64_t b_row = p_.transpose_b ? element_ : p_.n * element_;
  block.m = t.rows;
  block.a_row = a_row_;
  block.a_word = a_word_;
  block.b_row = b_row;
  block.start = memory.start;
  block.panel = memory.panel;
  // Words for all tasks; nothing is written where block.b is null.
  uint32_t* panels = nullptr;
  if (p_.packed) panels = reinterpret_cast<uint32_t*>(const_cast<char*>(operands.b));
  if (shares_b_) panels = reinterpret_cast<uint32_t*>(operands.scratch + shared_a_bytes());
  for (int64_t done = 0; done < t.terms; done += depth_) {
    const int64_t first = t.first + done;
    block.k = std::min(depth_, t.terms - done);
    block.accumulate = done > 0;
    block.a = place_a(t, operands, first, block.k, memory);
    for (int64_t j = 0; j < t.columns; j += kernels_.nr) {
      const char* const b = operands.b + first * b_row + (t.column + j) * b_column;
      block.n = std::min<int64_t>(kernels_.nr, t.columns - j);
      if (panels)
        block.panel = panels + packed_.panel(first) + (t.column + j) / kernels_.nr * packed_.panel(p_.k);
      else if (p_.transpose_b)
        kernels_.pack_columns(b, b_column, block.k, block.n, memory.panel);
      else
        block.b = b;
      block.sum = static_cast<char*>(whole.sum) + (sums_ && sums_by_panel_ ? 0 : 4 * j);
      // Until the last range there are sums and no result.
      const bool last = done + depth_ >= t.terms;
      block.out = whole.out && last ? static_cast<char*>(whole.out) + j * out_element_ : nullptr;
      block.epilogue = whole.epilogue.from(0, j, 0);
      if (p_.quantised) {
        block.scales.columns = whole.scales.columns + j;
        if (whole.scales.bias) block.scales.bias = whole.scales.bias + j;
      }
      kernels_.block(block);
      // While they are in the second-level cache.
      if (last && defers_ && splits_ == 1)
        finish(t.rows, block.n, static_cast<char*>(block.sum), block.sum_row, c + j * out_element_,
               swaps_ ? epilogue.from(0, 0, 0) : epilogue.from(0, j, 0), memory.room);
    }
  }
}

char* WordPlan::partial_sums(const Operands& operands) const {
  return operands.scratch + shared_a_bytes() + shared_b_bytes();
}

// Partial sums of fixed ranges of k, added in their order.
void WordPlan::add_splits(const Operands& operands) const {
  const int64_t rows = std::max<int64_t>(1, 32768 / (p_.n * splits_)), size = p_.m * p_.n;
  char* const partial = partial_sums(operands);
  pool::parallel_for(ceil_div(p_.m, rows), [&](int64_t task) {
    const int64_t row = task * rows, count = std::min(rows, p_.m - row), total = count * p_.n;
    char* const first = partial + 4 * row * p_.n;
    auto add = [&](auto* sum) {
      for (int64_t s = 1; s < splits_; ++s)
        for (int64_t e = 0; e < total; ++e) sum[e] += sum[s * size + e];
    };
    // Unsigned, as integers wrap.
    if (kernels_.row_start)
      add(reinterpret_cast<uint32_t*>(first));
    else
      add(reinterpret_cast<float*>(first));
    Epilogue<uint16_t> epilogue = operands.epilogue.from(row, 0, p_.n);
    epilogue.activation = p_.activation;
    finish(count, p_.n, first, p_.n, operands.c + row * p_.n * out_element_, epilogue,
           static_cast<float*>(pool::thread_scratch(static_cast<size_t>(8 * p_.n))));
  });
}

// The epilogue over sums, in place or on their way into C. `room`: two rows of floats.
void WordPlan::finish(int64_t rows, int64_t columns, char* sum, int64_t sum_row, char* c,
                      const Epilogue<uint16_t>& epilogue, float* room) const {
  if (p_.out_bf16 && !swaps_)
    return vectors_.finish_bf16(rows, columns, reinterpret_cast<const float*>(sum), sum_row, epilogue,
                                reinterpret_cast<uint16_t*>(c), p_.n);
  Epilogue<float> wide{.activation = epilogue.activation};
  if (epilogue.bias) {
    vectors_.widen_bf16(epilogue.bias, room, swaps_ ? 1 : columns);
    wide.bias = room;
  }
  const bool nothing = !wide.bias && !epilogue.added && wide.activation == Activation::None;
  for (int64_t i = 0; i < rows && !nothing; ++i) {
    float* const row = reinterpret_cast<float*>(sum) + i * sum_row;
    if (epilogue.added) {
      vectors_.widen_bf16(epilogue.added + i * p_.n, room + columns, columns);
      wide.added = room + columns;
    }
    if (swaps_)
      floats_.finish(columns, 1, row, 1, wide);
    else
      floats_.finish(1, columns, row, sum_row, wide);
  }
  if (sum == c) return;
  for (int64_t i = 0; i < rows; ++i, sum += 4 * sum_row, c += p_.n * out_element_)
    if (p_.out_bf16)
      vectors_.narrow_bf16(reinterpret_cast<const float*>(sum), reinterpret_cast<uint16_t*>(c), columns);
    else
      std::memcpy(c, sum, static_cast<size_t>(4 * columns));
}

}  // namespace native::gemm
