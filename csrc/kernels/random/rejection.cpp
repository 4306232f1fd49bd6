// Distributions drawn by rejection, an element at a time in float64. An element's trials have counters of their
// own, so how many it takes moves no other element's bits.
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/shape/tasks.h"
#include "runtime/registry.h"

namespace native {
namespace {

// A trial is some hundred operations, and there is more than one.
constexpr int64_t kCost = 400;

struct Pair {
  uint64_t first, second;
};

// The two 64-bit words of one block of Philox4x32-10.
Pair philox(const uint32_t* key, std::array<uint32_t, 4> c) {
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c[0] | uint64_t{c[1]} << 32, c[2] | uint64_t{c[3]} << 32};
}

// Trial after trial of one element, each in up to 2^32 lanes; lane 0 is that of whole tensors of random bits.
class Trials {
 public:
  Trials(const uint32_t* key, int64_t element) : key_(key), element_(static_cast<uint64_t>(element)) {}
  Pair draw(uint32_t lane) const {
    return philox(key_, {static_cast<uint32_t>(element_), static_cast<uint32_t>(element_ >> 32), trial_, lane});
  }
  void next() { ++trial_; }

 private:
  const uint32_t* key_;
  uint64_t element_;
  uint32_t trial_ = 0;
};

// A word as a number in (0, 1).
double unit(uint64_t word) { return (static_cast<double>(word >> 11) + 0.5) * 0x1p-53; }

// Marsaglia and Tsang, 2000: the cube of a normal number that is stretched and moved; a squeeze saves most
// logarithms. Below 1 it is drawn for alpha + 1 and shrunk.
double draw_gamma(Trials trials, double alpha, uint32_t lane) {
  if (!(alpha >= 0)) return std::numeric_limits<double>::quiet_NaN();
  if (alpha == 0 || std::isinf(alpha)) return alpha;
  const double d = (alpha < 1 ? alpha + 1 : alpha) - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;; trials.next()) {
    const Pair polar = trials.draw(lane), rest = trials.draw(lane + 1);
    const double angle = M_PI * static_cast<double>(static_cast<int64_t>(polar.second) >> 11) * 0x1p-52;
    const double x = std::sqrt(-2 * std::log(unit(polar.first))) * std::cos(angle), side = 1 + c * x;
    const double v = side * side * side;
    if (v <= 0) continue;
    const double u = unit(rest.first), square = x * x;
    if (u >= 1 - 0.0331 * square * square && std::log(u) >= 0.5 * square + d - d * v + d * std::log(v)) continue;
    return alpha < 1 ? d * v * std::pow(unit(rest.second), 1 / alpha) : d * v;
  }
}

// The rest of Stirling's series for log(k!).
double stirling(double k) {
  constexpr double small[] = {0.08106146679532726, 0.04134069595540929, 0.02767792568499834, 0.02079067210376509,
                              0.01664469118982119, 0.01387612882307075, 0.01189670994589177, 0.01041126526197209,
                              0.00925546218271273, 0.00833056343336287};
  if (k < 10) return small[static_cast<int>(k)];
  const double next = k + 1, square = next * next;
  return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / square) / square) / next;
}

// For few successes: how often a geometric waiting time fits into n trials.
double count_waits(Trials trials, double n, double p) {
  const double scale = std::log1p(-p);
  double waited = 0;
  for (double k = 0;; ++k, trials.next()) {
    waited += std::ceil(std::log(unit(trials.draw(1).first)) / scale);
    if (waited > n) return k;
  }
}

// Hörmann, 1993: transformed rejection with a squeeze (BTRS), for n p >= 10 and p <= 1 / 2.
double transformed_rejection(Trials trials, double n, double p) {
  const double odds = p / (1 - p), deviation = std::sqrt(n * p * (1 - p));
  const double b = 1.15 + 2.53 * deviation, a = -0.0873 + 0.0248 * b + 0.01 * p, centre = n * p + 0.5;
  const double sure = 0.92 - 4.2 / b, hat = (2.83 + 5.1 / b) * deviation, mode = std::floor((n + 1) * p);
  for (;; trials.next()) {
    const Pair words = trials.draw(1);
    const double u = unit(words.first) - 0.5, v = unit(words.second), edge = 0.5 - std::abs(u);
    const double k = std::floor((2 * a / edge + b) * u + centre);
    if (edge >= 0.07 && v <= sure) return k;
    if (k < 0 || k > n) continue;
    const double bound = (mode + 0.5) * std::log((mode + 1) / (odds * (n - mode + 1))) +
                         (n + 1) * std::log((n - mode + 1) / (n - k + 1)) +
                         (k + 0.5) * std::log(odds * (n - k + 1) / (k + 1)) + stirling(mode) + stirling(n - mode) -
                         stirling(k) - stirling(n - k);
    if (std::log(v * hat / (a / (edge * edge) + b)) <= bound) return k;
  }
}

double draw_binomial(const Trials& trials, double count, double p) {
  const double n = std::trunc(count);
  if (!(count >= 0 && count < 0x1p63 && p >= 0 && p <= 1)) return std::numeric_limits<double>::quiet_NaN();
  const double rare = p <= 0.5 ? p : 1 - p;
  const double k = rare == 0       ? 0
                   : n * rare < 10 ? count_waits(trials, n, rare)
                                   : transformed_rejection(trials, n, rare);
  return p <= 0.5 ? k : n - k;
}

template <class T>
class Gamma : public Kernel {
 public:
  explicit Gamma(const Problem& p)
      : count_(p.out[0].count()), lane_(1 + 2 * static_cast<uint32_t>(p.attrs.integer("stream"))) {}
  void run(const void* const* in, void* const* out, void*) const override {
    const uint32_t* key = static_cast<const uint32_t*>(in[0]);
    const T* alpha = static_cast<const T*>(in[1]);
    T* y = static_cast<T*>(out[0]);
    parallel_ranges(count_, kCost * count_, [=, this](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i)
        y[i] = static_cast<T>(draw_gamma(Trials(key, i), static_cast<double>(alpha[i]), lane_));
    });
  }

 private:
  int64_t count_;
  uint32_t lane_;
};

template <class T>
class Binomial : public Kernel {
 public:
  explicit Binomial(const Problem& p) : count_(p.out[0].count()) {}
  void run(const void* const* in, void* const* out, void*) const override {
    const uint32_t* key = static_cast<const uint32_t*>(in[0]);
    const T *counts = static_cast<const T*>(in[1]), *probabilities = static_cast<const T*>(in[2]);
    T* y = static_cast<T*>(out[0]);
    parallel_ranges(count_, kCost * count_, [=](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i)
        y[i] = static_cast<T>(
            draw_binomial(Trials(key, i), static_cast<double>(counts[i]), static_cast<double>(probabilities[i])));
    });
  }

 private:
  int64_t count_;
};

// Half precision comes as float32: see src/random.py.
template <template <class> class Draw>
std::unique_ptr<Kernel> prepare(const Problem& p) {
  if (p.out[0].dtype == DType::F32) return std::make_unique<Draw<float>>(p);
  if (p.out[0].dtype == DType::F64) return std::make_unique<Draw<double>>(p);
  return nullptr;
}

const Register gamma_variates{"random_gamma", "marsaglia-tsang", 0, prepare<Gamma>};
const Register binomial_variates{"random_binomial", "btrs", 0, prepare<Binomial>};

}  // namespace
}  // namespace native
