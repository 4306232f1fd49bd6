#include "kernels/conv/fast_fir.h"

#include <algorithm>

namespace native::conv {
namespace {

using Sequence = std::vector<Terms>;

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

Terms difference(const Terms& a, const Terms& b) { return sum(a, b, -1); }
Terms half(const Terms& a) { return sum({}, a, 0.5f); }

Sequence differences(const Sequence& a, const Sequence& b) {
  Sequence all;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) all.push_back(difference(a[i], b[i]));
  return all;
}

// Every other item, from `first` on.
Sequence alternate(const Sequence& all, size_t first) {
  Sequence some;
  for (size_t i = first; i < all.size(); i += 2) some.push_back(all[i]);
  return some;
}

// Two results of all taps, at four positions.
void add_pair(const Sequence& x, const Sequence& taps, FirPosition* at) {
  enum { Zero, One, MinusOne, Infinity };
  for (size_t first = 0; first < taps.size(); first += 3) {
    const Terms *const d = &x[first], *const g = &taps[first];
    switch (taps.size() - first) {
      case 1:
        at[Zero].products.push_back({d[0], g[0]});
        at[Infinity].products.push_back({d[1], g[0]});
        break;
      case 2:
        at[Zero].products.push_back({difference(d[0], d[1]), g[0]});
        at[One].products.push_back({d[1], sum(g[0], g[1])});
        at[Infinity].products.push_back({difference(d[2], d[1]), g[1]});
        break;
      default: {
        const Terms even = sum(g[0], g[2]);
        at[Zero].products.push_back({difference(d[0], d[2]), g[0]});
        at[One].products.push_back({sum(d[1], d[2]), half(sum(even, g[1]))});
        at[MinusOne].products.push_back({difference(d[2], d[1]), half(difference(even, g[1]))});
        at[Infinity].products.push_back({difference(d[3], d[1]), g[2]});
      }
    }
  }
}

// Two results at four positions, each of them standing for some results of the strip.
std::vector<FirPosition> pair_of(const Terms& first, const Terms& second) {
  return {{first, {}}, {sum(first, second), {}}, {difference(first, second), {}}, {second, {}}};
}

void add_four(const Sequence& x, const Sequence& taps, FirPosition* at) {
  const Sequence even = alternate(x, 0), odd = alternate(x, 1), next = alternate(x, 2);
  const Sequence even_taps = alternate(taps, 0), odd_taps = alternate(taps, 1);
  Sequence both = even_taps;
  for (size_t i = 0; i < odd_taps.size(); ++i) both[i] = sum(both[i], odd_taps[i]);
  add_pair(differences(even, odd), even_taps, at);
  add_pair(odd, both, at + 4);
  add_pair(differences(next, odd), odd_taps, at + 8);
}

std::vector<FirPosition> positions_of(int results) {
  if (results == 2) return pair_of({{0, 1}}, {{1, 1}});
  std::vector<FirPosition> all = pair_of({{0, 1}}, {{2, 1}});
  for (const FirPosition& p : pair_of({{0, 1}, {1, 1}}, {{2, 1}, {3, 1}})) all.push_back(p);
  for (const FirPosition& p : pair_of({{1, 1}}, {{3, 1}})) all.push_back(p);
  return all;
}

}  // namespace

int64_t FastFir::products() const {
  int64_t count = 0;
  for (const FirPosition& position : positions) count += static_cast<int64_t>(position.products.size());
  return count;
}

FastFir fast_fir(std::vector<FirTap> taps, int64_t step, int results) {
  FastFir fir{results, {}, positions_of(results)};
  const auto row_of = [&](int64_t offset) {
    const auto known = std::find(fir.reads.begin(), fir.reads.end(), offset);
    const int row = static_cast<int>(known - fir.reads.begin());
    if (known == fir.reads.end()) fir.reads.push_back(offset);
    return row;
  };
  std::sort(taps.begin(), taps.end(), [](const FirTap& a, const FirTap& b) { return a.offset < b.offset; });
  // Taps that are whole steps apart read the same sources for different results.
  while (!taps.empty()) {
    Sequence run, x;
    int64_t next = taps.front().offset;
    const int64_t first = next;
    for (size_t i = 0; i < taps.size();) {
      if (taps[i].offset != next) {
        ++i;
        continue;
      }
      run.push_back({{taps[i].tap, 1}});
      next += step;
      taps.erase(taps.begin() + static_cast<int64_t>(i));
    }
    const size_t length = run.size() + results - 1;
    for (size_t i = 0; i < length; ++i) x.push_back({{row_of(first + static_cast<int64_t>(i) * step), 1}});
    (results == 2 ? add_pair : add_four)(x, run, fir.positions.data());
  }
  std::erase_if(fir.positions, [](const FirPosition& p) { return p.products.empty(); });
  return fir;
}

}  // namespace native::conv
