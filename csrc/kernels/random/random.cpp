// Random numbers. Tasks are ranges of groups: an element's bits depend on its place alone.
#include "kernels/random/random.h"

#include <cmath>
#include <cstring>

#include "kernels/shape/tasks.h"
#include "runtime/registry.h"

namespace native {
namespace {

// Generating costs about as much as moving a few times the bytes.
constexpr int64_t kCost = 4;

int float_index(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return 0;
    case DType::BF16:
      return 1;
    case DType::F32:
      return 2;
    default:
      return 3;
  }
}

// Calls fill(group, groups, to) to fill `count` elements, in parallel; a last group that sticks out goes
// through a buffer.
template <class Fill>
void generate(void* out, int64_t count, int64_t element, int64_t per_group, const Fill& fill) {
  char* y = static_cast<char*>(out);
  parallel_ranges(ceil_div(count, per_group), kCost * count * element, [&](int64_t first, int64_t last) {
    const int64_t whole = std::min(last, count / per_group);
    if (whole > first) fill(first, whole - first, y + first * per_group * element);
    if (whole == last) return;
    alignas(64) char rest[kGroupWords * 8];
    fill(whole, 1, rest);
    std::memcpy(y + whole * per_group * element, rest, (count - whole * per_group) * element);
  });
}

class Filled : public Kernel {
 public:
  Filled(const Problem& p, RandomTable::Fill fill)
      : fill_(fill), count_(p.out[0].count()), element_(static_cast<int64_t>(size_of(p.out[0].dtype))) {}
  void run(const void* const* in, void* const* out, void*) const override {
    const uint32_t* key = static_cast<const uint32_t*>(in[0]);
    generate(out[0], count_, element_, element_ == 8 ? kGroupWords / 2 : kGroupWords,
             [&](int64_t first, int64_t groups, void* to) { fill_(key, first, groups, to); });
  }

 private:
  RandomTable::Fill fill_;
  int64_t count_, element_;
};

// 64-bit words of one group, two words of a block each.
void wide_words(RandomTable::Fill bits, const uint32_t* key, int64_t group, uint64_t* to) {
  uint32_t words[kGroupWords];
  bits(key, group, 1, words);
  for (int64_t i = 0; i < kGroupWords / 2; ++i) {
    const int64_t low = i / kGroupBlocks * 2 * kGroupBlocks + i % kGroupBlocks;
    to[i] = words[low] | static_cast<uint64_t>(words[low + kGroupBlocks]) << 32;
  }
}

// Elements made from the 64-bit words of a group by make(words, results), 32 at a time.
template <class T, class Make>
void from_wide_words(const uint32_t* key, void* out, int64_t count, RandomTable::Fill bits, const Make& make) {
  generate(out, count, sizeof(T), kGroupWords / 2, [&](int64_t first, int64_t groups, void* to) {
    for (int64_t g = 0; g < groups; ++g) {
      uint64_t words[kGroupWords / 2];
      wide_words(bits, key, first + g, words);
      make(words, static_cast<T*>(to) + g * (kGroupWords / 2));
    }
  });
}

void normal_doubles(const uint64_t* words, double* y) {
  for (int64_t j = 0; j < kGroupBlocks; ++j) {
    const double u = static_cast<double>((words[j] >> 11) + 1) * 0x1p-53;
    const double angle = M_PI * static_cast<double>(static_cast<int64_t>(words[kGroupBlocks + j]) >> 11) * 0x1p-52;
    const double radius = std::sqrt(-2 * std::log(u));
    y[j] = radius * std::cos(angle);
    y[kGroupBlocks + j] = radius * std::sin(angle);
  }
}

// sqrt(2) erfinv(y) for |y| < 0.96: Newton's method from a cubic.
double truncated_from(double y) {
  double x = y * (0.886 + 0.33 * y * y);
  for (int i = 0; i < 8; ++i) x -= (std::erf(x) - y) * 0.88622692545275801 * std::exp(x * x);
  return std::clamp(M_SQRT2 * x, -2.0, 2.0);
}
void truncated_doubles(const uint64_t* words, double* y) {
  const double bound = std::erf(M_SQRT2);
  for (int64_t i = 0; i < kGroupWords / 2; ++i)
    y[i] = truncated_from(bound * (static_cast<double>(static_cast<int64_t>(words[i]) >> 11) + 0.5) * 0x1p-52);
}

using MakeDoubles = void (*)(const uint64_t*, double*);
class Doubles : public Kernel {
 public:
  Doubles(const Problem& p, MakeDoubles make) : make_(make), count_(p.out[0].count()), bits_(random_table().bits) {}
  void run(const void* const* in, void* const* out, void*) const override {
    from_wide_words<double>(static_cast<const uint32_t*>(in[0]), out[0], count_, bits_, make_);
  }

 private:
  MakeDoubles make_;
  int64_t count_;
  RandomTable::Fill bits_;
};

// low + the high half of word * (high - low).
template <class T>
class RandInt : public Kernel {
 public:
  explicit RandInt(const Problem& p) : count_(p.out[0].count()), bits_(random_table().bits) {}
  void run(const void* const* in, void* const* out, void*) const override {
    const T low = *static_cast<const T*>(in[1]), high = *static_cast<const T*>(in[2]);
    const uint64_t span = high > low ? static_cast<uint64_t>(high) - static_cast<uint64_t>(low) : 1;
    from_wide_words<T>(static_cast<const uint32_t*>(in[0]), out[0], count_, bits_, [=](const uint64_t* words, T* y) {
      for (int64_t i = 0; i < kGroupWords / 2; ++i)
        y[i] = static_cast<T>(static_cast<uint64_t>(low) + high_product(words[i], span));
    });
  }

 private:
  static uint64_t high_product(uint64_t a, uint64_t b) {
    const uint64_t a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
    const uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (middle & 0xffffffff);
    return a1 * b1 + (middle >> 32) + (other >> 32);
  }
  int64_t count_;
  RandomTable::Fill bits_;
};

class Dropout : public Kernel {
 public:
  explicit Dropout(const Problem& p)
      : dropout_(random_table().dropout[float_index(p.in[0].dtype)]),
        count_(p.in[0].count()),
        element_(static_cast<int64_t>(size_of(p.in[0].dtype))) {
    const double rate = p.attrs.real("rate");
    const double threshold = std::nearbyint(rate * 0x1p32);
    all_ = threshold >= 0x1p32;
    threshold_ = all_ ? 0 : static_cast<uint32_t>(threshold);
    scale_ = rate < 1 ? 1 / (1 - rate) : 0;
  }
  void run(const void* const* in, void* const* out, void*) const override {
    const char* x = static_cast<const char*>(in[0]);
    char* y = static_cast<char*>(out[0]);
    if (all_) {
      std::memset(y, 0, count_ * element_);
      return;
    }
    const uint32_t* key = static_cast<const uint32_t*>(in[1]);
    parallel_ranges(ceil_div(count_, kGroupWords), kCost * count_ * element_, [&](int64_t first, int64_t last) {
      const int64_t at = first * kGroupWords * element_;
      const int64_t count = std::min(count_, last * kGroupWords) - first * kGroupWords;
      dropout_(key, first, count, x + at, threshold_, scale_, y + at);
    });
  }

 private:
  RandomTable::Dropout dropout_;
  int64_t count_, element_;
  bool all_;
  uint32_t threshold_;
  double scale_;
};

std::unique_ptr<Kernel> prepare_bits(const Problem& p) { return std::make_unique<Filled>(p, random_table().bits); }
std::unique_ptr<Kernel> prepare_uniform(const Problem& p) {
  return std::make_unique<Filled>(p, random_table().uniform[float_index(p.out[0].dtype)]);
}
std::unique_ptr<Kernel> prepare_normal(const Problem& p) {
  const int i = float_index(p.out[0].dtype);
  if (i == 3) return std::make_unique<Doubles>(p, normal_doubles);
  return std::make_unique<Filled>(p, random_table().normal[i]);
}
std::unique_ptr<Kernel> prepare_truncated(const Problem& p) {
  const int i = float_index(p.out[0].dtype);
  if (i == 3) return std::make_unique<Doubles>(p, truncated_doubles);
  return std::make_unique<Filled>(p, random_table().truncated[i]);
}
std::unique_ptr<Kernel> prepare_randint(const Problem& p) {
  switch (p.out[0].dtype) {
    case DType::U8:
      return std::make_unique<RandInt<uint8_t>>(p);
    case DType::U16:
      return std::make_unique<RandInt<uint16_t>>(p);
    case DType::U32:
      return std::make_unique<RandInt<uint32_t>>(p);
    case DType::U64:
      return std::make_unique<RandInt<uint64_t>>(p);
    case DType::I8:
      return std::make_unique<RandInt<int8_t>>(p);
    case DType::I16:
      return std::make_unique<RandInt<int16_t>>(p);
    case DType::I32:
      return std::make_unique<RandInt<int32_t>>(p);
    default:
      return std::make_unique<RandInt<int64_t>>(p);
  }
}
std::unique_ptr<Kernel> prepare_dropout(const Problem& p) { return std::make_unique<Dropout>(p); }

const Register bits{"random_bits", "philox", 0, prepare_bits};
const Register uniform{"random_uniform", "philox", 0, prepare_uniform};
const Register normal{"random_normal", "philox", 0, prepare_normal};
const Register truncated{"random_truncated_normal", "philox", 0, prepare_truncated};
const Register randint{"randint", "philox", 0, prepare_randint};
const Register dropout{"random_bernoulli_scale", "philox", 0, prepare_dropout};

}  // namespace
}  // namespace native
