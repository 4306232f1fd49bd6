// Distributions drawn by rejection. An element's bits depend on its place alone, so any ranges serve as tasks.
#include "kernels/random/random.h"
#include "kernels/shape/tasks.h"
#include "runtime/registry.h"

namespace native {
namespace {

// A trial is some hundred operations of vectors, as moving so many bytes.
constexpr int64_t kCost = 100;

// The place in tables; half precision comes as float32: see src/random.py.
int table_index(DType dtype) { return dtype == DType::F32 ? 0 : dtype == DType::F64 ? 1 : -1; }

class Gamma : public Kernel {
 public:
  Gamma(const Problem& p, int index)
      : index_(index), count_(p.out[0].count()), lane_(1 + 2 * static_cast<uint32_t>(p.attrs.integer("stream"))) {}
  void run(const void* const* in, void* const* out, void*) const override {
    parallel_ranges(count_, kCost * count_, [&](int64_t first, int64_t last) {
      rejection_table().gamma[index_](static_cast<const uint32_t*>(in[0]), lane_, first, last, in[1], out[0]);
    });
  }

 private:
  int index_;
  int64_t count_;
  uint32_t lane_;
};

class Binomial : public Kernel {
 public:
  Binomial(const Problem& p, int index) : index_(index), count_(p.out[0].count()) {}
  void run(const void* const* in, void* const* out, void*) const override {
    parallel_ranges(count_, kCost * count_, [&](int64_t first, int64_t last) {
      rejection_table().binomial[index_](static_cast<const uint32_t*>(in[0]), first, last, in[1], in[2], out[0]);
    });
  }

 private:
  int index_;
  int64_t count_;
};

template <class Draw>
std::unique_ptr<Kernel> prepare(const Problem& p) {
  const int index = table_index(p.out[0].dtype);
  return index < 0 ? nullptr : std::make_unique<Draw>(p, index);
}

const Register gamma_variates{"random_gamma", "marsaglia-tsang", 0, prepare<Gamma>};
const Register binomial_variates{"random_binomial", "btrs", 0, prepare<Binomial>};

}  // namespace
}  // namespace native
