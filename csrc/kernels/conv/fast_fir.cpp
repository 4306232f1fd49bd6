#include "kernels/conv/fast_fir.h"

#include <algorithm>
#include <numeric>

namespace native::conv {
namespace {

enum Point { Zero, One, MinusOne, Infinity };

Terms sum(Terms a, const Terms& b, float factor = 1) {
  for (const Term& term : b) {
    const auto same = std::find_if(a.begin(), a.end(), [&](const Term& t) { return t.row == term.row; });
    if (same == a.end())
      a.push_back({term.row, factor * term.factor});
    else
      same->factor += factor * term.factor;
  }
  return a;
}

Terms half(const Terms& a) { return sum({}, a, 0.5f); }

// Every other item, from `first` on.
template <class T>
std::vector<T> alternate(const std::vector<T>& all, size_t first) {
  std::vector<T> some;
  for (size_t i = first; i < all.size(); i += 2) some.push_back(all[i]);
  return some;
}

class Builder {
 public:
  explicit Builder(FastFir& fir) : fir_(fir) {}

  // Two results of all taps over the rows, or over their differences to the others, at the positions of a convolution.
  void add_two(const std::vector<int>& rows, const std::vector<int>& less, const std::vector<Terms>& taps,
               int convolution) {
    for (size_t first = 0; first < taps.size(); first += 3) {
      FirChunk chunk{};
      chunk.taps = static_cast<int>(std::min<size_t>(3, taps.size() - first));
      chunk.differences = !less.empty();
      chunk.position = kPoints * convolution;
      for (int i = 0; i <= chunk.taps; ++i) {
        chunk.rows[i] = rows[first + i];
        if (chunk.differences) chunk.less[i] = less[first + i];
      }
      chunk.weights = weights_of(&taps[first], chunk.taps);
      for (int point = 0; point < kPoints; ++point)
        chunk.part[point] = chunk.weights[point].empty() ? -1 : static_cast<int>(fir_.parts[chunk.position + point]++);
      fir_.chunks.push_back(std::move(chunk));
    }
  }

  void add_four(const std::vector<int>& rows, const std::vector<Terms>& taps) {
    const std::vector<int> even = alternate(rows, 0), odd = alternate(rows, 1), next = alternate(rows, 2);
    const std::vector<Terms> even_taps = alternate(taps, 0), odd_taps = alternate(taps, 1);
    std::vector<Terms> both = even_taps;
    for (size_t i = 0; i < odd_taps.size(); ++i) both[i] = sum(both[i], odd_taps[i]);
    add_two(even, odd, even_taps, 0);
    add_two(odd, {}, both, 1);
    add_two(next, odd, odd_taps, 2);
  }

 private:
  static std::array<Terms, kPoints> weights_of(const Terms* g, int taps) {
    if (taps == 1) return {g[0], {}, {}, g[0]};
    if (taps == 2) return {g[0], sum(g[0], g[1]), {}, g[1]};
    const Terms even = sum(g[0], g[2]);
    return {g[0], half(sum(even, g[1])), half(sum(even, g[1], -1)), g[2]};
  }

  FastFir& fir_;
};

}  // namespace

int64_t FastFir::products() const { return std::accumulate(parts.begin(), parts.end(), int64_t{0}); }

FastFir fast_fir(std::vector<FirTap> taps, int64_t step, int results) {
  FastFir fir{results, {}, {}, std::vector<int64_t>(results == 2 ? kPoints : kMostPositions)};
  Builder builder(fir);
  const auto row_of = [&](int64_t offset) {
    const auto known = std::find(fir.reads.begin(), fir.reads.end(), offset);
    const int row = static_cast<int>(known - fir.reads.begin());
    if (known == fir.reads.end()) fir.reads.push_back(offset);
    return row;
  };
  std::sort(taps.begin(), taps.end(), [](const FirTap& a, const FirTap& b) { return a.offset < b.offset; });
  // Taps that are whole steps apart read the same sources for different results.
  while (!taps.empty()) {
    std::vector<Terms> run;
    const int64_t first = taps.front().offset;
    int64_t next = first;
    std::erase_if(taps, [&](const FirTap& tap) {
      if (tap.offset != next) return false;
      run.push_back({{tap.tap, 1}});
      next += step;
      return true;
    });
    std::vector<int> rows;
    for (size_t i = 0; i + 1 < run.size() + results; ++i)
      rows.push_back(row_of(first + static_cast<int64_t>(i) * step));
    if (results == 2)
      builder.add_two(rows, {}, run, 0);
    else
      builder.add_four(rows, run);
  }
  return fir;
}

}  // namespace native::conv
