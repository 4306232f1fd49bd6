// A product over the pool: the grid of tasks, and the choice of a path. No vector code here.
#include <algorithm>

#include "kernels/gemm/blocks.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::gemm {
namespace {

// Multiply-adds that are worth a thread: some 20 microseconds, several times what waking it costs.
constexpr double kTaskWork = 0.75e6;
// Multiply-adds of a task where there are enough of them: a smaller tile copies A too often.
constexpr double kLargeTaskWork = 6e6;
// Enough tasks that 16 threads finish together.
constexpr double kMostTasks = 16;
// As many tasks as a small product gets where it can.
constexpr double kFewTasks = 4;
// Columns of a row-major matrix that a task reads when it reads few rows at a time: 2 KB, half a page; and those of a
// product of one row, whose tasks are ranges of terms: shorter pieces of rows are no streams for a prefetcher.
constexpr int64_t kStreamColumns = 512, kRowColumns = 2048;
// Terms of one row's task, which repay its partial sums.
constexpr int64_t kRowTerms = 64;
// Up to so many rows reading B is what takes the time: wide tasks walk along its pages.
constexpr int64_t kStreamRows = 48;
// Up to so many rows a task takes all of them and packs its own columns of B, which stay in its cache.
constexpr int64_t kColumnRows = 256;
// Up to so many elements a B is copied for tasks with rows of their own: 16 MB of float32.
constexpr int64_t kSharedElements = 1 << 22;
// Bytes of B that a task keeps in the second-level cache while so many rows of A pass: the copy of B, which the first
// six of them make, is then 0.3% of the work.
constexpr int64_t kKeptBytes = 512 << 10, kKeptRows = 1024;
// Of the tasks that are wanted, the part without which B is packed for all and rows are cut further.
constexpr double kEnough = 0.45;
// A range of so many terms repays its partial sums.
constexpr int kSplitTerms = 768;
// Columns of a task, where A is read in place and where each range of columns packs it again.
constexpr int64_t kColumns = 512, kPackedColumns = 2048;
// Of a transposed A and a B of so many times its columns, and as many as are worth it, B is packed by tasks that have
// all rows.
constexpr int64_t kMuchWider = 4, kWideColumns = 512;
// Few rows of A times contiguous rows of B^T are dot products where there are terms enough for sums across vectors to
// be little of it, so many for each row: 64x512x512 gains 1%, 32x2048x1000 21%, 16x512x512 26%; 64x256x256 would lose
// 10%, 8x16x2048 half. So many columns for each row repay the copy of a transposed A, but of the fewest rows.
constexpr int64_t kOfDotRow = 8, kLeastTerms = 16, kFewestRows = 16;

}  // namespace

bool takes_path(Path path, int64_t m, int64_t n, int64_t k, bool transpose_b) {
  switch (path) {
    case Path::Vector:
      return m == 1 || n == 1;
    case Path::Dots:
      return transpose_b && m <= gemm_table().f32.dot_rows;
    case Path::Outer:
      return k == 1;
    case Path::SplitK:
      return k >= 16;
    default:
      return true;
  }
}

template <class T>
Path Plan<T>::suitable_path() const {
  const Path whole = m_ <= kColumnRows && !own_rows() ? Path::Columns : Path::Tiles;
  if (b_ == Form::Panels) return m_ == 1 ? Path::Vector : whole;
  if (m_ == 1 || n_ == 1) return Path::Vector;
  if (k_ == 1 && n_ >= kStreamColumns) return Path::Outer;
  const bool long_rows = k_ >= std::max(kLeastTerms, kOfDotRow * m_);
  const bool in_place = !transpose_a_ || m_ <= kFewestRows || n_ >= kOfDotRow * m_;
  if (long_rows && in_place && takes_path(Path::Dots, m_, n_, k_, b_ == Form::Columns)) return Path::Dots;
  return whole;
}

template <class T>
Plan<T>::Plan(const Kernels<T>& kernels, int64_t m, int64_t n, int64_t k, bool transpose_a, Form b,
              std::optional<Path> path)
    : kernels_(kernels), m_(m), n_(n), k_(k), transpose_a_(transpose_a), b_(b) {
  const double work = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  task_m_ = m;
  task_n_ = n;
  if (work == 0) return;
  path_ = path.value_or(suitable_path());
  const double most = std::clamp(work / kTaskWork, 1.0, kMostTasks);
  if (path_ == Path::Vector) {
    // Memory-bound: a task is a matter of bytes, 128 K elements or more.
    const int64_t length = std::max(m, n), tasks = std::clamp<int64_t>(static_cast<int64_t>(work / 131072), 1, 32);
    const bool along = m == 1 ? b != Form::Rows : !transpose_a;
    const int64_t unit = b == Form::Panels ? std::max(kernels.nr, 32) : 32;
    // Ranges of terms, an even number of them, in which a task walks along pages of B.
    if (!along)
      splits_ = std::clamp<int64_t>(k / kRowTerms, 1, std::min<int64_t>(tasks, static_cast<int64_t>(kMostTasks)));
    if (splits_ > 1) {
      splits_ -= splits_ % 2;
      const int64_t ranges = std::min(ceil_div(tasks, splits_), std::max<int64_t>(1, length / kRowColumns));
      task_n_ = std::min(length, round_up(ceil_div(length, ranges), unit));
      return;
    }
    // So do ranges of columns, unless there would be one task where there is work for two.
    const int64_t half = round_up(ceil_div(length, std::min<int64_t>(tasks, 2)), unit);
    const int64_t least = along ? 1 : std::min(kRowColumns, half);
    task_n_ = std::min(length, std::max(round_up(ceil_div(length, tasks), unit), least));
  } else if (path_ == Path::Dots) {
    task_n_ = std::min(n, round_up(ceil_div(n, static_cast<int64_t>(most)), 12));
  } else if (path_ == Path::Outer) {
    // 256 KB of C.
    task_m_ = std::max<int64_t>(1, 65536 / n);
  } else {
    const double wanted = std::clamp(work / kLargeTaskWork, std::min(most, kFewTasks), kMostTasks);
    const int64_t most_splits = path ? k / 8 : k / std::min(2 * kernels.kc, kSplitTerms);
    if (!path && keeps_b()) {
      keep_parts(wanted);
      if (tasks() >= kEnough * wanted) {
        path_ = Path::Columns;
        return;
      }
    }
    double tasks = whole_tasks();
    // Where ranges of terms are tasks enough, tiles stay as large as they are best: cut, they would read all of A or B
    // again each.
    const bool own_rows = this->own_rows();
    if (path || own_rows || wanted < 2 * tasks || tasks * static_cast<double>(most_splits) < wanted)
      tasks = cut(wanted);
    // Few tiles and many terms.
    const bool deep = (own_rows ? wanted > 2 * tasks : wanted >= 2 * tasks) && most_splits >= 2;
    if (path ? path_ != Path::SplitK : !deep) return;
    path_ = Path::SplitK;
    splits_ =
        std::clamp<int64_t>(static_cast<int64_t>(wanted / tasks), path ? 2 : 1, std::min<int64_t>(most_splits, 16));
  }
}

// Whether a task's part of B is to stay in its second-level cache, packed by itself, while many rows of A pass: no
// thread waits until all of B is packed, nor reads what another one wrote. A transpose takes longer to pack than a
// copy, which tiles make as they go: not more than once.
template <class T>
bool Plan<T>::keeps_b() const {
  const bool once = b_ != Form::Columns || m_ <= 2 * kColumnRows;
  return m_ > kColumnRows && once && kernels_.reads_columns && !packs_a(kernels_, at_a(nullptr, 0, 0));
}

// Sets the size of tasks for that. Each range of rows packs B, which costs 0.6% with 512 rows and more with fewer;
// narrow ranges of columns pass over A again, which is not free either.
template <class T>
void Plan<T>::keep_parts(double wanted) {
  const int64_t terms = std::min<int64_t>(k_, kernels_.deep_kc), pair = 2 * kernels_.nr;
  const bool cuts_rows = b_ != Form::Columns;
  task_n_ = even_share(n_, std::max(pair, kKeptBytes / (terms * static_cast<int64_t>(sizeof(T)))), kernels_.nr);
  task_m_ = even_share(m_, kKeptRows, kernels_.mr);
  const auto cut_rows = [&](int64_t from, double least) {
    while (cuts_rows && tasks() < least && task_m_ >= from) task_m_ = round_up(task_m_ / 2, kernels_.mr);
  };
  const auto cut_columns = [&](int64_t to, double least) {
    while (tasks() < least && task_n_ > to) task_n_ = round_up(task_n_ / 2, kernels_.nr);
  };
  cut_rows(kKeptRows, 0.75 * wanted);
  cut_columns(pair, 0.75 * wanted);
  cut_rows(2 * kColumnRows, 0.75 * wanted);
  cut_columns(kernels_.nr, 0.75 * wanted);
  cut_rows(3 * kColumnRows / 2, kEnough * wanted);
  // An even number of them: with an odd one two threads, or four, do not end together.
  const int64_t down = ceil_div(m_, task_m_);
  if (down * ceil_div(n_, task_n_) % 2 == 1) task_m_ = round_up(ceil_div(m_, down + 1), kernels_.mr);
}

// Whether tasks are to have rows of their own and B is packed once for all: where each copies its part of a transposed
// A, tasks of the same rows copy it again. Few rows leave B in place, and a copy of a large B would take its memory; a
// B much wider than A costs more to pack at once than A to copy for each task.
template <class T>
bool Plan<T>::own_rows() const {
  const bool wide = m_ <= kColumnRows && n_ >= kWideColumns && n_ >= kMuchWider * m_;
  return transpose_a_ && !kernels_.reads_columns && m_ > kStreamRows &&
         (b_ == Form::Panels || (!wide && k_ * n_ <= kSharedElements));
}

// Whether B has too few panels for tasks of columns to end together, and A rows enough to be cut instead: each task
// packs all of B, which is small. Two whole panels of a transposed one, which takes longest, are packed once each.
template <class T>
bool Plan<T>::few_panels() const {
  if (b_ == Form::Columns && n_ == 2 * kernels_.nr) return false;
  return static_cast<double>(ceil_div(n_, kernels_.nr)) < kFewTasks && m_ > kStreamRows;
}

template <class T>
double Plan<T>::tasks() const {
  return static_cast<double>(ceil_div(m_, task_m_) * ceil_div(n_, task_n_));
}

// Sets the size of tasks to what is best for one of them; returns how many there are.
template <class T>
double Plan<T>::whole_tasks() {
  if (path_ != Path::Columns) {
    // An even number of them: with an odd one two threads, or four, do not end together.
    const int64_t shares = ceil_div(m_, kernels_.mc);
    task_m_ = round_up(ceil_div(m_, shares > 1 ? round_up(shares, 2) : 1), kernels_.mr);
  }
  const bool packs = packs_a(kernels_, at_a(nullptr, 0, 0));
  task_n_ = even_share(n_, packs ? kPackedColumns : kColumns, kernels_.nr);
  return tasks();
}

// Makes them smaller, so that there are about `wanted` of them; returns how many there are.
template <class T>
double Plan<T>::cut(double wanted) {
  const bool packs = packs_a(kernels_, at_a(nullptr, 0, 0));
  const bool streams = path_ == Path::Columns && b_ == Form::Rows && m_ <= kStreamRows;
  const int64_t narrow = streams ? kStreamColumns / 2 : (packs ? 8 : 4) * kernels_.nr;
  const bool all_rows = path_ == Path::Columns && !few_panels();
  const int64_t low = all_rows ? m_ : (packs ? 16 : 4) * kernels_.mr;
  while (tasks() < 0.75 * wanted && (task_n_ > narrow || task_m_ > low)) {
    // The longer side is cut, as a square tile needs the least of A and B; but rows where A is packed.
    if (task_n_ > narrow && (task_m_ <= low || (!packs && task_n_ >= task_m_)))
      task_n_ = round_up(task_n_ / 2, kernels_.nr);
    else
      task_m_ = round_up(task_m_ / 2, kernels_.mr);
  }
  // Narrow tasks copy A more often than a wide one, which is still better than a thread without work.
  while (path_ == Path::Columns && tasks() < std::min(wanted, kFewTasks) && task_n_ > kernels_.nr)
    task_n_ = round_up(task_n_ / 2, kernels_.nr);
  return tasks();
}

template <class T>
int64_t Plan<T>::scratch_size() const {
  if (m_ == 0 || n_ == 0 || k_ == 0) return 0;
  if (path_ == Path::Tiles) return b_ == Form::Panels ? 0 : packed_b_size(kernels_, k_, n_);
  if (path_ == Path::Dots) return transpose_a_ ? m_ * k_ : 0;
  return splits_ > 1 ? splits_ * m_ * n_ : 0;
}

template <class T>
void Plan<T>::run(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const {
  if (m_ == 0 || n_ == 0) return;
  if (k_ == 0) return no_terms(kernels_, m_, n_, c, n_, false, epilogue);
  switch (path_) {
    case Path::Vector:
      return run_vector(a, b, c, epilogue, scratch);
    case Path::Dots:
      return run_dots(a, b, c, epilogue, scratch);
    case Path::Outer:
      return run_outer(a, b, c, epilogue);
    case Path::Columns:
      return run_columns(a, b, c, epilogue);
    case Path::Tiles:
      return run_tiles(a, b, c, epilogue, scratch);
    case Path::SplitK:
      return run_split(a, b, c, epilogue, scratch);
  }
}

template <class T>
void Plan<T>::run_vector(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const {
  // y = M x, or M^T x: with one column the roles of A and B are swapped.
  const bool row = m_ == 1;
  const T *x = row ? a : b, *matrix = row ? b : a;
  const int64_t length = row ? n_ : m_, across = ceil_div(length, task_n_);
  const bool contiguous_k = row ? b_ == Form::Columns : !transpose_a_;
  const int64_t depth = round_up(ceil_div(k_, splits_), 8), splits = ceil_div(k_, depth);
  T* const sums = splits > 1 ? scratch : c;
  pool::parallel_for(across * splits, [&](int64_t task) {
    const int64_t j = task % across * task_n_, count = std::min(task_n_, length - j);
    const int64_t split = task / across, p = split * depth;
    if (b_ == Form::Panels)
      kernels_.panel_gemv(count, k_, x, at_panels(matrix, 0, j), c + j);
    else if (contiguous_k)
      kernels_.dots(1, count, k_, x, k_, matrix + j * k_, k_, c + j, count);
    else
      kernels_.gemv(count, std::min(depth, k_ - p), x + p, 1, matrix + p * length + j, length,
                    sums + split * length + j);
  });
  if (splits > 1)
    add_splits(splits, c, epilogue, scratch);
  else if (needs_finish(epilogue))
    kernels_.finish(m_, n_, c, n_, epilogue);
}

template <class T>
void Plan<T>::run_dots(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const {
  if (transpose_a_) {
    kernels_.transpose(a, m_, k_, m_, scratch, k_);
    a = scratch;
  }
  pool::parallel_for(ceil_div(n_, task_n_), [&](int64_t task) {
    const int64_t j = task * task_n_, count = std::min(task_n_, n_ - j);
    kernels_.dots(m_, count, k_, a, k_, b + j * k_, k_, c + j, n_);
    if (needs_finish(epilogue)) kernels_.finish(m_, count, c + j, n_, epilogue.from(0, j, n_));
  });
}

template <class T>
Operand<T> Plan<T>::at_a(const T* a, int64_t i, int64_t p) const {
  return transpose_a_ ? Operand<T>{a + p * m_ + i, 1, m_} : Operand<T>{a + i * k_ + p, k_, 1};
}
template <class T>
Operand<T> Plan<T>::at_b(const T* b, int64_t p, int64_t j) const {
  return b_ == Form::Columns ? Operand<T>{b + j * k_ + p, 1, k_} : Operand<T>{b + p * n_ + j, n_, 1};
}
template <class T>
Panels<T> Plan<T>::at_panels(const T* b, int64_t p, int64_t j) const {
  return {b + j * k_ + p * kernels_.nr, kernels_.nr, k_ * kernels_.nr};
}

template <class T>
void Plan<T>::run_outer(const T* a, const T* b, T* c, const Epilogue<T>& epilogue) const {
  pool::parallel_for(ceil_div(m_, task_m_), [&](int64_t task) {
    const int64_t end = std::min(m_, (task + 1) * task_m_);
    for (int64_t i = task * task_m_; i < end; ++i) {
      const Operand<T> row = at_a(a, i, 0);
      kernels_.gemv(n_, k_, row.data, row.column, b, n_, c + i * n_);
      if (needs_finish(epilogue)) kernels_.finish(1, n_, c + i * n_, n_, epilogue.from(i, 0, n_));
    }
  });
}

template <class T>
static T* task_scratch(int64_t elements) {
  return static_cast<T*>(pool::thread_scratch(sizeof(T) * static_cast<size_t>(elements)));
}

template <class T>
void Plan<T>::run_part(const Part& part, const T* a, const T* b, T* c, const Epilogue<T>& epilogue) const {
  const Operand<T> rows = at_a(a, part.i, part.p);
  if (b_ == Form::Panels)
    return block_packed(kernels_, part.rows, part.columns, part.terms, rows, at_panels(b, part.p, part.j), c, n_, false,
                        epilogue, task_scratch<T>(block_packed_scratch_size(kernels_)));
  block(kernels_, part.rows, part.columns, part.terms, rows, at_b(b, part.p, part.j), c, n_, false, epilogue,
        task_scratch<T>(block_scratch_size(kernels_, part.terms, part.columns)));
}

template <class T>
void Plan<T>::run_columns(const T* a, const T* b, T* c, const Epilogue<T>& epilogue) const {
  const int64_t across = ceil_div(n_, task_n_);
  pool::parallel_for(ceil_div(m_, task_m_) * across, [&](int64_t task) {
    const int64_t i = task / across * task_m_, j = task % across * task_n_;
    run_part({i, std::min(task_m_, m_ - i), j, std::min(task_n_, n_ - j), 0, k_}, a, b, c + i * n_ + j,
             epilogue.from(i, j, n_));
  });
}

template <class T>
bool Plan<T>::by_rows() const {
  // Few rows are few ranges, which read B where it lies or copy it as they go: many would each pack it.
  const bool in_place =
      b_ == Form::Panels || (b_ == Form::Rows && m_ <= std::max<int64_t>(kernels_.direct_rows, kStreamRows));
  return path_ == Path::Columns && !keeps_b() && !transpose_a_ && k_ > 0 && in_place;
}

template <class T>
void Plan<T>::run_rows(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, int64_t first, int64_t count) const {
  run_part({first, count, 0, n_, 0, k_}, a, b, c + first * n_, epilogue.from(first, 0, n_));
}

template <class T>
void Plan<T>::run_tiles(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const {
  if (b_ != Form::Panels) {
    pack_panels(kernels_, at_b(b, 0, 0), k_, n_, scratch);
    b = scratch;
  }
  const int64_t across = ceil_div(n_, task_n_), down = ceil_div(m_, task_m_);
  pool::parallel_for(down * across, [&](int64_t task) {
    const int64_t i = share_begin(m_, down, kernels_.mr, task / across), j = task % across * task_n_;
    const int64_t rows = share_begin(m_, down, kernels_.mr, task / across + 1) - i;
    block_packed(kernels_, rows, std::min(task_n_, n_ - j), k_, at_a(a, i, 0), at_panels(b, 0, j), c + i * n_ + j, n_,
                 false, epilogue.from(i, j, n_), task_scratch<T>(block_packed_scratch_size(kernels_)));
  });
}

// Few tiles and many terms: partial sums of fixed ranges of k, added in their order.
template <class T>
void Plan<T>::run_split(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const {
  const int64_t across = ceil_div(n_, task_n_), tiles = ceil_div(m_, task_m_) * across;
  const int64_t depth = round_up(ceil_div(k_, splits_), 8), splits = ceil_div(k_, depth);
  pool::parallel_for(tiles * splits, [&](int64_t task) {
    const int64_t split = task / tiles, tile = task % tiles, p = split * depth;
    const int64_t i = tile / across * task_m_, j = tile % across * task_n_;
    run_part({i, std::min(task_m_, m_ - i), j, std::min(task_n_, n_ - j), p, std::min(depth, k_ - p)}, a, b,
             scratch + split * m_ * n_ + i * n_ + j, {});
  });
  add_splits(splits, c, epilogue, scratch);
}

template <class T>
void Plan<T>::add_splits(int64_t splits, T* c, const Epilogue<T>& epilogue, const T* sums) const {
  // Some rows, or a part of one.
  constexpr int64_t kPiece = 32768;
  const int64_t width = std::min(n_, round_up(std::max<int64_t>(1, kPiece / splits), 16)), across = ceil_div(n_, width);
  const int64_t rows = std::max<int64_t>(1, kPiece / (width * splits));
  pool::parallel_for(ceil_div(m_, rows) * across, [&](int64_t task) {
    const int64_t i = task / across * rows, count = std::min(rows, m_ - i);
    const int64_t j = task % across * width, columns = std::min(width, n_ - j), total = count * columns;
    T* const out = c + i * n_ + j;
    const T* in = sums + i * n_ + j;
    std::copy_n(in, total, out);
    for (int64_t s = 1; s < splits; ++s) {
      in += m_ * n_;
      for (int64_t e = 0; e < total; ++e) out[e] += in[e];
    }
    if (needs_finish(epilogue)) kernels_.finish(count, columns, out, n_, epilogue.from(i, j, n_));
  });
}

template class Plan<float>;
template class Plan<double>;

}  // namespace native::gemm
