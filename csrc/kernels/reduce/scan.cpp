// Running reductions along one axis; other axes are independent and shared among threads.
#include "kernels/reduce/reduce.h"
#include "kernels/shape/tasks.h"
#include "runtime/registry.h"

namespace native {
namespace {

class Scan : public Kernel {
 public:
  Scan(const Problem& p, ScanTable::Scan scan, ScanTable::Recurrence recurrence)
      : scan_(scan), recurrence_(recurrence), size_(static_cast<int64_t>(size_of(p.in[0].dtype))) {
    const Shape& dims = p.in[0].shape;
    const size_t axis = static_cast<size_t>(p.attrs.integer("axis"));
    n_ = dims[axis];
    for (size_t i = 0; i < axis; ++i) outer_ *= dims[i];
    for (size_t i = axis + 1; i < dims.size(); ++i) inner_ *= dims[i];
    reverse_ = p.attrs.integer("reverse", 0) != 0;
  }
  void run(const void* const* in, void* const* out, void*) const override {
    if (n_ == 0) return;
    const int64_t strips = ceil_div(inner_, kScanWidth), step = reverse_ ? -inner_ : inner_;
    parallel_ranges(outer_ * strips, 2 * outer_ * n_ * inner_ * size_, [&](int64_t first, int64_t last) {
      for (int64_t unit = first; unit < last; ++unit) {
        const int64_t j = unit % strips * kScanWidth, width = std::min(kScanWidth, inner_ - j);
        const int64_t at = (unit / strips * n_ * inner_ + (reverse_ ? (n_ - 1) * inner_ : 0) + j) * size_;
        void* y = static_cast<char*>(out[0]) + at;
        if (scan_)
          scan_(static_cast<const char*>(in[0]) + at, n_, step, width, y);
        else
          recurrence_(static_cast<const char*>(in[0]) + at, static_cast<const char*>(in[1]) + at, n_, step, width, y);
      }
    });
  }

 private:
  ScanTable::Scan scan_;
  ScanTable::Recurrence recurrence_;
  int64_t size_, n_ = 0, outer_ = 1, inner_ = 1;
  bool reverse_ = false;
};

template <ReduceOp op>
std::unique_ptr<Kernel> prepare_scan(const Problem& p) {
  if (p.in[0].dtype > DType::F64) return nullptr;
  const auto scan = scan_table().scan[static_cast<int>(op)][static_cast<int>(p.in[0].dtype)];
  return scan ? std::make_unique<Scan>(p, scan, nullptr) : nullptr;
}
std::unique_ptr<Kernel> prepare_recurrence(const Problem& p) {
  const DType dtype = p.in[0].dtype;
  if (dtype < DType::F16 || dtype > DType::F64) return nullptr;
  return std::make_unique<Scan>(p, nullptr, scan_table().recurrence[static_cast<int>(dtype)]);
}

const Register cumsum{"cumsum", "columns", 0, prepare_scan<ReduceOp::Sum>};
const Register cumprod{"cumprod", "columns", 0, prepare_scan<ReduceOp::Prod>};
const Register cummax{"cummax", "columns", 0, prepare_scan<ReduceOp::Max>};
const Register cummin{"cummin", "columns", 0, prepare_scan<ReduceOp::Min>};
const Register recurrence{"linear_recurrence", "columns", 0, prepare_recurrence};

}  // namespace
}  // namespace native
