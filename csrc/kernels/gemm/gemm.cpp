// Blocking, the grid of tasks, and the choice of a path. No vector code here.
#include "kernels/gemm/gemm.h"

#include <algorithm>

#include "runtime/pool.h"

namespace native::gemm {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Multiply-adds that are worth a task: some 20 microseconds, several times what waking a thread costs.
constexpr double kTaskWork = 0.75e6;
// Enough tasks that 16 threads finish together, few enough that blocks stay large.
constexpr double kMostTasks = 64;
// Up to so many rows B is read where it lies: packing would cost as much as it saves.
constexpr int64_t kDirectRows = 48;
// Up to so many rows of A times contiguous rows of B^T are dot products.
constexpr int64_t kDotRows = 8;

// An equal share of `total` in pieces of about `most`, a multiple of `unit`.
int64_t even_share(int64_t total, int64_t most, int64_t unit) {
  if (total <= most) return total;
  return round_up(ceil_div(total, ceil_div(total, most)), unit);
}

// Rows in one cache set evict each other, rows on pages of their own exhaust the TLB.
template <class T>
bool scattered(const Operand<T>& a) {
  return a.column != 1 || a.row * static_cast<int64_t>(sizeof(T)) >= 2048;
}

template <class T>
void activate(const Kernels<T>& kernels, int64_t m, int64_t n, T* c, int64_t c_row, Activation activation) {
  if (activation != Activation::None && activation != Activation::Relu)
    kernels.finish(m, n, c, c_row, {nullptr, activation});
}

// k == 0.
template <class T>
void no_terms(const Kernels<T>& kernels, int64_t m, int64_t n, T* c, int64_t c_row, bool accumulate,
              const Epilogue<T>& epilogue) {
  if (!accumulate)
    for (int64_t i = 0; i < m; ++i) std::fill_n(c + i * c_row, n, T{});
  kernels.finish(m, n, c, c_row, epilogue);
}

// All of k for at most mc rows. Panels advance by b.row a step of k.
template <class T>
void block_rows(const Kernels<T>& kernels, int64_t m, int64_t n, int64_t k, const Operand<T>& a, const Panels<T>& b,
                T* c, int64_t c_row, bool accumulate, const Epilogue<T>& epilogue, T* packed_a) {
  const bool pack = scattered(a) && n > 2 * kernels.nr && packed_a;
  const int64_t depth = even_share(k, kernels.kc, 8);
  for (int64_t p = 0; p < k; p += depth) {
    const int64_t steps = std::min(depth, k - p);
    const bool last = p + steps == k;
    Block<T> block{m,
                   n,
                   steps,
                   {a.data + p * a.column, a.row, a.column},
                   kernels.mr * a.row,
                   {b.data + p * b.row, b.row, b.panel},
                   c,
                   c_row,
                   accumulate || p > 0,
                   {}};
    if (last) block.epilogue = epilogue;
    if (pack) kernels.pack_a(block, packed_a);
    kernels.block(block);
  }
  activate(kernels, m, n, c, c_row, epilogue.activation);
}

}  // namespace

template <class T>
int64_t block_scratch_size(const Kernels<T>& kernels, int64_t k, int64_t n) {
  return packed_b_size(kernels, k, n) + packed_a_size(kernels);
}

template <class T>
void block_packed(const Kernels<T>& kernels, int64_t m, int64_t n, int64_t k, const Operand<T>& a, const Panels<T>& b,
                  T* c, int64_t c_row, bool accumulate, const Epilogue<T>& epilogue, T* scratch) {
  if (k == 0) return no_terms(kernels, m, n, c, c_row, accumulate, epilogue);
  for (int64_t i = 0; i < m; i += kernels.mc)
    block_rows(kernels, std::min<int64_t>(kernels.mc, m - i), n, k, {a.data + i * a.row, a.row, a.column}, b,
               c + i * c_row, c_row, accumulate, epilogue, scratch);
}

template <class T>
void block(const Kernels<T>& kernels, int64_t m, int64_t n, int64_t k, const Operand<T>& a, const Operand<T>& b, T* c,
           int64_t c_row, bool accumulate, const Epilogue<T>& epilogue, T* scratch) {
  T* const packed_a = scratch + packed_b_size(kernels, k, n);
  const int64_t panel = k * kernels.nr;
  // Whole panels of a row-major B are read in place when few rows would use the copy.
  const int64_t direct = b.column == 1 && m <= kDirectRows ? n / kernels.nr * kernels.nr : 0;
  const Epilogue<T> edge{epilogue.bias ? epilogue.bias + direct : nullptr, epilogue.activation};
  if (direct > 0)
    block_packed(kernels, m, direct, k, a, {b.data, b.row, kernels.nr}, c, c_row, accumulate, epilogue, packed_a);
  if (direct == n) return;
  kernels.pack_b({b.data + direct * b.column, b.row, b.column}, k, n - direct, scratch, panel);
  block_packed(kernels, m, n - direct, k, a, {scratch, kernels.nr, panel}, c + direct, c_row, accumulate, edge,
               packed_a);
}

template <class T>
Plan<T>::Plan(const Kernels<T>& kernels, int64_t m, int64_t n, int64_t k, bool transpose_a, bool transpose_b)
    : kernels_(kernels), m_(m), n_(n), k_(k), transpose_a_(transpose_a), transpose_b_(transpose_b) {
  const double work = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  const double wanted = std::clamp(work / kTaskWork, 1.0, kMostTasks);
  task_m_ = m;
  task_n_ = n;
  if (work == 0) return;
  if (m == 1 || n == 1) {
    path_ = Path::Gemv;
    // Memory-bound: a task is a matter of bytes, 64 K elements or more.
    const int64_t length = std::max(m, n), tasks = std::clamp<int64_t>(static_cast<int64_t>(work / 65536), 1, 64);
    task_n_ = std::min(length, round_up(ceil_div(length, tasks), 64));
    return;
  }
  if (transpose_b && !transpose_a && m <= kDotRows && k >= 16) {
    path_ = Path::Dots;
    task_n_ = std::min(n, round_up(ceil_div(n, static_cast<int64_t>(wanted)), 12));
    return;
  }
  pack_b_ = transpose_b || m > kDirectRows;
  task_m_ = even_share(m, kernels.mc, kernels.mr);
  task_n_ = even_share(n, 512, kernels.nr);
  auto tasks = [&] { return static_cast<double>(ceil_div(m, task_m_) * ceil_div(n, task_n_)); };
  while (tasks() < wanted && (task_n_ > 2 * kernels.nr || task_m_ > 4 * kernels.mr)) {
    // The longer side is cut: a square tile needs the least of A and B.
    if (task_n_ > 2 * kernels.nr && (task_n_ >= task_m_ || task_m_ <= 4 * kernels.mr))
      task_n_ = round_up(task_n_ / 2, kernels.nr);
    else
      task_m_ = round_up(task_m_ / 2, kernels.mr);
  }
  if (wanted >= 2 * tasks() && k >= 4 * kernels.kc) {
    path_ = Path::SplitK;
    splits_ = std::min<int64_t>({static_cast<int64_t>(wanted / tasks()), k / (2 * kernels.kc), 16});
  }
}

template <class T>
int64_t Plan<T>::scratch_size() const {
  if (m_ == 0 || n_ == 0 || k_ == 0 || path_ == Path::Gemv || path_ == Path::Dots) return 0;
  const int64_t packed = pack_b_ ? packed_b_size(kernels_, k_, n_) : k_ * kernels_.nr;
  return round_up(packed, 16) + (path_ == Path::SplitK ? splits_ * m_ * n_ : 0);
}

template <class T>
void Plan<T>::run(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const {
  if (m_ == 0 || n_ == 0) return;
  if (k_ == 0) return no_terms(kernels_, m_, n_, c, n_, false, epilogue);
  switch (path_) {
    case Path::Gemv:
      run_vector(a, b, c);
      if (epilogue.bias || epilogue.activation != Activation::None) kernels_.finish(m_, n_, c, n_, epilogue);
      break;
    case Path::Dots:
      run_dots(a, b, c, epilogue);
      break;
    case Path::Tiles:
      run_tiles(a, b, c, epilogue, scratch);
      break;
    case Path::SplitK:
      run_split(a, b, c, epilogue, scratch);
      break;
  }
}

template <class T>
void Plan<T>::run_vector(const T* a, const T* b, T* c) const {
  // y = M x, or M^T x: with one column the roles of A and B are swapped.
  const bool row = m_ == 1;
  const T *x = row ? a : b, *matrix = row ? b : a;
  const int64_t length = row ? n_ : m_;
  const bool contiguous_k = row ? transpose_b_ : !transpose_a_;
  pool::parallel_for(ceil_div(length, task_n_), [&](int64_t task) {
    const int64_t j = task * task_n_, count = std::min(task_n_, length - j);
    if (contiguous_k)
      kernels_.dots(1, count, k_, x, k_, matrix + j * k_, k_, c + j, count);
    else
      kernels_.gemv(count, k_, x, 1, matrix + j, length, c + j);
  });
}

template <class T>
void Plan<T>::run_dots(const T* a, const T* b, T* c, const Epilogue<T>& epilogue) const {
  pool::parallel_for(ceil_div(n_, task_n_), [&](int64_t task) {
    const int64_t j = task * task_n_, count = std::min(task_n_, n_ - j);
    kernels_.dots(m_, count, k_, a, k_, b + j * k_, k_, c + j, n_);
    if (epilogue.bias || epilogue.activation != Activation::None)
      kernels_.finish(m_, count, c + j, n_, {epilogue.bias ? epilogue.bias + j : nullptr, epilogue.activation});
  });
}

// B as panels: all of it packed into scratch, or read in place but for the columns after the last whole panel.
template <class T>
Panels<T> Plan<T>::panels(const T* b, T* scratch) const {
  const int64_t nr = kernels_.nr, panel = k_ * nr;
  const Operand<T> operand = transpose_b_ ? Operand<T>{b, 1, k_} : Operand<T>{b, n_, 1};
  if (!pack_b_) {
    const int64_t whole = n_ / nr * nr;
    if (whole < n_) kernels_.pack_b({b + whole, n_, 1}, k_, n_ - whole, scratch, panel);
    return {b, n_, nr};
  }
  // A few panels a task, about 64 K elements.
  const int64_t group = std::max<int64_t>(1, 65536 / panel);
  pool::parallel_for(ceil_div(n_, group * nr), [&](int64_t task) {
    const int64_t j = task * group * nr, count = std::min(group * nr, n_ - j);
    kernels_.pack_b({operand.data + j * operand.column, operand.row, operand.column}, k_, count,
                    scratch + j / nr * panel, panel);
  });
  return {scratch, nr, panel};
}

// Rows [i, i + rows), columns [j, j + columns), terms [p, p + depth) into c, which is that tile.
template <class T>
void Plan<T>::compute(const T* a, const Panels<T>& b, const T* edge, int64_t i, int64_t rows, int64_t j,
                      int64_t columns, int64_t p, int64_t depth, T* c, int64_t c_row,
                      const Epilogue<T>& epilogue) const {
  const int64_t nr = kernels_.nr;
  const Operand<T> operand = transpose_a_ ? Operand<T>{a + p * m_ + i, 1, m_} : Operand<T>{a + i * k_ + p, k_, 1};
  T* const scratch = static_cast<T*>(pool::thread_scratch(sizeof(T) * static_cast<size_t>(packed_a_size(kernels_))));
  const int64_t inside = pack_b_ ? columns : std::min(columns, std::max<int64_t>(n_ / nr * nr - j, 0));
  auto part = [&](const Panels<T>& panels, int64_t from, int64_t count) {
    block_packed(kernels_, rows, count, depth, operand, panels, c + from, c_row, false,
                 {epilogue.bias ? epilogue.bias + j + from : nullptr, epilogue.activation}, scratch);
  };
  if (inside > 0) part({b.data + j / nr * b.panel + p * b.row, b.row, b.panel}, 0, inside);
  if (inside < columns) part({edge + p * nr, nr, k_ * nr}, inside, columns - inside);
}

template <class T>
void Plan<T>::run_tiles(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const {
  const Panels<T> packed = panels(b, scratch);
  const int64_t across = ceil_div(n_, task_n_);
  auto task = [&](int64_t index) {
    const int64_t i = index / across * task_m_, j = index % across * task_n_;
    compute(a, packed, scratch, i, std::min(task_m_, m_ - i), j, std::min(task_n_, n_ - j), 0, k_, c + i * n_ + j, n_,
            epilogue);
  };
  const int64_t tasks = ceil_div(m_, task_m_) * across;
  if (static_cast<double>(m_) * static_cast<double>(n_) * static_cast<double>(k_) < 2 * kTaskWork)
    for (int64_t t = 0; t < tasks; ++t) task(t);
  else
    pool::parallel_for(tasks, task);
}

// Few tiles and many terms: partial sums of fixed ranges of k, added in their order.
template <class T>
void Plan<T>::run_split(const T* a, const T* b, T* c, const Epilogue<T>& epilogue, T* scratch) const {
  const Panels<T> packed = panels(b, scratch);
  T* const partial = scratch + round_up(pack_b_ ? packed_b_size(kernels_, k_, n_) : k_ * kernels_.nr, 16);
  const int64_t across = ceil_div(n_, task_n_), tiles = ceil_div(m_, task_m_) * across;
  const int64_t depth = round_up(ceil_div(k_, splits_), 8), splits = ceil_div(k_, depth);
  pool::parallel_for(tiles * splits, [&](int64_t index) {
    const int64_t split = index / tiles, tile = index % tiles, p = split * depth;
    const int64_t i = tile / across * task_m_, j = tile % across * task_n_;
    compute(a, packed, scratch, i, std::min(task_m_, m_ - i), j, std::min(task_n_, n_ - j), p, std::min(depth, k_ - p),
            partial + split * m_ * n_ + i * n_ + j, n_, {});
  });
  const int64_t rows = std::max<int64_t>(1, 32768 / (n_ * splits));
  pool::parallel_for(ceil_div(m_, rows), [&](int64_t task) {
    const int64_t i = task * rows, count = std::min(rows, m_ - i), total = count * n_;
    T* const out = c + i * n_;
    const T* in = partial + i * n_;
    std::copy_n(in, total, out);
    for (int64_t s = 1; s < splits; ++s) {
      in += m_ * n_;
      for (int64_t e = 0; e < total; ++e) out[e] += in[e];
    }
    kernels_.finish(count, n_, out, n_, epilogue);
  });
}

#define NATIVE_GEMM(T)                                                                                                 \
  template int64_t block_scratch_size(const Kernels<T>&, int64_t, int64_t);                                            \
  template void block_packed(const Kernels<T>&, int64_t, int64_t, int64_t, const Operand<T>&, const Panels<T>&, T*,    \
                             int64_t, bool, const Epilogue<T>&, T*);                                                   \
  template void block(const Kernels<T>&, int64_t, int64_t, int64_t, const Operand<T>&, const Operand<T>&, T*, int64_t, \
                      bool, const Epilogue<T>&, T*);                                                                   \
  template class Plan<T>;
NATIVE_GEMM(float)
NATIVE_GEMM(double)
#undef NATIVE_GEMM

}  // namespace native::gemm
