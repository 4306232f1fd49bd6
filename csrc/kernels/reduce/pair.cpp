// moments and logsumexp: a pair of doubles for each block, merged in a fixed order.
#include <cmath>

#include "kernels/reduce/collapse.h"
#include "kernels/reduce/reduce.h"
#include "kernels/shape/scalar.h"
#include "kernels/shape/tasks.h"
#include "runtime/registry.h"

namespace native {
namespace {

// Blocks are read twice, so they stay in the second-level cache: 64 K elements of at most 4 bytes.
constexpr int64_t kRowBlock = 32 << 10;
constexpr int64_t kBlock = 64 << 10;
constexpr int64_t kStrip = kPairWidth;

struct Pair {
  double first, second;
};

// (mean, sum of squared deviations) of n values.
struct Moments {
  // `part(i)` is the i-th of m pairs, each of `count(i)` values.
  template <class Part, class Count>
  static Pair merge(int64_t m, const Part& part, const Count& count) {
    double total = 0, mean = 0, squares = 0;
    for (int64_t i = 0; i < m; ++i) {
      total += count(i);
      mean += count(i) * part(i).first;
    }
    mean /= total;
    for (int64_t i = 0; i < m; ++i) {
      const Pair p = part(i);
      squares += p.second + count(i) * (p.first - mean) * (p.first - mean);
    }
    return {mean, squares};
  }
};

// (shift, sum of exp(x - shift)), the shift being finite.
struct LogSumExp {
  template <class Part, class Count>
  static Pair merge(int64_t m, const Part& part, const Count&) {
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < m; ++i)
      if (const Pair p = part(i); p.second > 0 && p.second < INFINITY) top = std::max(top, p.first);
    if (top == -INFINITY) top = 0;
    for (int64_t i = 0; i < m; ++i) {
      const Pair p = part(i);
      // Nothing and infinity keep their meaning under any shift; the product with exp() might not.
      sum += p.second > 0 && p.second < INFINITY ? p.second * std::exp(p.first - top) : p.second;
    }
    return {top, sum};
  }
};

template <class Merge>
class PairReduction : public Kernel {
 public:
  PairReduction(const Problem& p, PairTable::Rows rows, PairTable::Columns columns)
      : out_(p.out[0]), rows_(rows), columns_(columns), in_(static_cast<int64_t>(size_of(p.in[0].dtype))) {
    stages_ = stages_of(p.in[0].shape, p.attrs.ints("axes"));
    for (const Stage& s : stages_) count_ *= static_cast<double>(s.reduced);
    const Stage& s = stages_.front();
    if (s.inner == 1) {
      chunk_ = std::min(s.reduced, kRowBlock);
      whole_ = slots_ = ceil_div(s.reduced, chunk_);
    } else {
      together_ = rows_together(s);
      chunk_ = std::clamp<int64_t>(kBlock / std::min(kStrip, together_ * s.inner), 16, 1024);
      whole_ = ceil_div(s.reduced / together_, chunk_);
      slots_ = whole_ * together_ + (s.reduced % together_ != 0);
    }
    partials_ = s.results() * slots_;
  }
  // Pairs of blocks, then pairs between stages in two buffers in turn.
  size_t scratch_bytes() const override {
    return sizeof(double) * 2 * static_cast<size_t>(partials_ + 2 * stages_.front().results());
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    double* first = static_cast<double*>(scratch);
    double* second = first + partials_;
    blocks(static_cast<const char*>(in[0]), first, second);
    const Stage& s = stages_.front();
    const int64_t n = s.results();
    double* buffers[2] = {second + partials_, second + partials_ + 2 * n};
    double seen = static_cast<double>(s.reduced);
    if (slots_ > 1) {
      merge(
          {s.outer, slots_, s.inner}, first, second, [this](int64_t i) { return slot_count(i); }, buffers[0],
          buffers[0] + n);
      first = buffers[0];
      second = buffers[0] + n;
    }
    for (size_t i = 1; i < stages_.size(); ++i) {
      double* to = buffers[i % 2];
      merge(stages_[i], first, second, [seen](int64_t) { return seen; }, to, to + n);
      first = to;
      second = to + n;
      seen *= static_cast<double>(stages_[i].reduced);
    }
    finish(first, second, stages_.back().results(), out);
  }

 private:
  // How many values the i-th pair of a result covers.
  double slot_count(int64_t i) const {
    const Stage& s = stages_.front();
    const int64_t rows = s.reduced / together_, chunk = i / together_;
    if (chunk >= whole_) return static_cast<double>(s.reduced % together_);
    return static_cast<double>(std::min(chunk_, rows - chunk * chunk_));
  }

  void blocks(const char* x, double* first, double* second) const {
    const Stage& s = stages_.front();
    const int64_t n = s.reduced, inner = s.inner, bytes = s.outer * n * inner * in_;
    if (inner == 1) {
      parallel_ranges(s.outer * slots_, bytes, [&](int64_t from, int64_t to) {
        if (slots_ == 1) return rows_(x + from * n * in_, to - from, n, first + from, second + from);
        for (int64_t unit = from; unit < to; ++unit) {
          const int64_t at = unit % slots_ * chunk_;
          rows_(x + (unit / slots_ * n + at) * in_, 1, std::min(chunk_, n - at), first + unit, second + unit);
        }
      });
      return;
    }
    const int64_t rest = n % together_, chunks = whole_ + (rest != 0), width = together_ * inner;
    const int64_t strips = ceil_div(width, kStrip);
    parallel_ranges(s.outer * chunks * strips, bytes, [&](int64_t from, int64_t to) {
      for (int64_t unit = from; unit < to; ++unit) {
        const int64_t o = unit / strips / chunks, chunk = unit / strips % chunks, j = unit % strips * kStrip;
        const bool whole = chunk < whole_;
        const int64_t row = whole ? chunk * chunk_ * together_ : n - rest;
        const int64_t rows = whole ? std::min(chunk_, n / together_ - chunk * chunk_) : rest;
        const int64_t columns = whole ? width : inner;
        if (j >= columns) continue;
        const int64_t at = (o * slots_ + chunk * together_) * inner + j;
        columns_(x + ((o * n + row) * inner + j) * in_, rows, columns, std::min(kStrip, columns - j), first + at,
                 second + at);
      }
    });
  }

  template <class Count>
  static void merge(const Stage& s, const double* first, const double* second, const Count& count, double* to_first,
                    double* to_second) {
    parallel_ranges(s.results(), s.results() * s.reduced * 4 * static_cast<int64_t>(sizeof(double)),
                    [&](int64_t from, int64_t to) {
                      for (int64_t r = from; r < to; ++r) {
                        const int64_t start = r / s.inner * s.reduced * s.inner + r % s.inner;
                        const auto part = [&](int64_t i) -> Pair {
                          return {first[start + i * s.inner], second[start + i * s.inner]};
                        };
                        const Pair result = Merge::merge(s.reduced, part, count);
                        to_first[r] = result.first;
                        to_second[r] = result.second;
                      }
                    });
  }

  void finish(const double* first, const double* second, int64_t n, void* const* out) const {
    switch (out_.dtype) {
      case DType::F16:
        return finish_as<F16>(first, second, n, out);
      case DType::BF16:
        return finish_as<Bf16>(first, second, n, out);
      case DType::F32:
        return finish_as<float>(first, second, n, out);
      default:
        return finish_as<double>(first, second, n, out);
    }
  }
  template <class T>
  static T rounded(double x) {
    if constexpr (sizeof(T) == 2)
      return T(static_cast<float>(x));
    else
      return static_cast<T>(x);
  }
  template <class T>
  void finish_as(const double* first, const double* second, int64_t n, void* const* out) const {
    T* y = static_cast<T*>(out[0]);
    if constexpr (std::is_same_v<Merge, Moments>) {
      for (int64_t i = 0; i < n; ++i) {
        y[i] = rounded<T>(first[i]);
        static_cast<T*>(out[1])[i] = rounded<T>(second[i] / count_);
      }
    } else {
      for (int64_t i = 0; i < n; ++i) y[i] = rounded<T>(first[i] + std::log(second[i]));
    }
  }

  Spec out_;
  PairTable::Rows rows_;
  PairTable::Columns columns_;
  int64_t in_;
  std::vector<Stage> stages_;
  double count_ = 1;
  int64_t together_ = 1, chunk_ = 1, whole_ = 1, slots_ = 1, partials_ = 0;
};

template <class Merge>
std::unique_ptr<Kernel> make(const Problem& p, const PairTable::Rows* rows, const PairTable::Columns* columns) {
  const DType dtype = p.in[0].dtype;
  const int t = static_cast<int>(dtype);
  if (dtype < DType::F16 || dtype > DType::F64 || p.in[0].count() == 0) return nullptr;
  return std::make_unique<PairReduction<Merge>>(p, rows[t], columns[t]);
}

std::unique_ptr<Kernel> prepare_moments(const Problem& p) {
  return make<Moments>(p, pair_table().moments_rows, pair_table().moments_columns);
}
std::unique_ptr<Kernel> prepare_logsumexp(const Problem& p) {
  return make<LogSumExp>(p, pair_table().logsumexp_rows, pair_table().logsumexp_columns);
}

const Register moments{"moments", "blocked", 0, prepare_moments};
const Register logsumexp{"reduce_logsumexp", "blocked", 0, prepare_logsumexp};

}  // namespace
}  // namespace native
