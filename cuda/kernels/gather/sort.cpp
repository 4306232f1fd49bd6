// sort, argsort, top_k.
#include "kernels/gather/sort.h"

#include <algorithm>

#include "kernels/gather/indices.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"

namespace native::cuda {

using namespace cuda::sort;

namespace {
unsigned blocks_of(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }
size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }
}  // namespace

KeySort::KeySort(int64_t lines, int64_t n, int bits)
    : lines_{static_cast<int>(lines), static_cast<int>(n), divisor(n), divisor(1)},
      passes_(std::max(1, (bits + 7) / 8)),
      tiles_(static_cast<int>((n + kTile - 1) / kTile)),
      short_("gather/sort", "sort_short"),
      count_("gather/sort", "sort_count"),
      scan_("gather/sort", "sort_scan"),
      move_("gather/sort", "sort_move") {}

size_t KeySort::elements() const { return static_cast<size_t>(lines_.lines) * static_cast<size_t>(lines_.n); }

size_t KeySort::scratch_bytes() const {
  const size_t words = aligned(4 * elements());
  if (short_lines()) return words;
  return 4 * words + sizeof(int32_t) * static_cast<size_t>(lines_.lines) * kDigits * static_cast<size_t>(tiles_);
}

const int32_t* KeySort::order(uint32_t* keys, void* scratch) const {
  const size_t words = aligned(4 * elements());
  const auto part = [&](size_t i) { return static_cast<void*>(static_cast<char*>(scratch) + i * words); };
  if (short_lines()) {
    const ShortParams p{keys, static_cast<int32_t*>(scratch), lines_};
    short_.launch({blocks_of(static_cast<int64_t>(elements()))}, kThreads, 0, p);
    return p.order;
  }
  PassParams p{keys, nullptr, nullptr, nullptr, static_cast<int32_t*>(part(4)), lines_.lines, lines_.n, tiles_, 0};
  const unsigned blocks = static_cast<unsigned>(lines_.lines) * static_cast<unsigned>(tiles_);
  for (int pass = 0; pass < passes_; ++pass) {
    p.shift = 8 * pass;
    p.next_keys = static_cast<uint32_t*>(part(pass % 2));
    p.next_order = static_cast<int32_t*>(part(2 + pass % 2));
    count_.launch({blocks}, kThreads, 0, p);
    scan_.launch({static_cast<unsigned>(lines_.lines)}, kThreads, 0, p);
    move_.launch({blocks}, kThreads, 0, p);
    p.keys = p.next_keys;
    p.order = p.next_order;
  }
  return p.order;
}

namespace {

// What is written of the order: positions, values, or both, the first k of each line.
class Sort : public Kernel {
 public:
  Sort(const Problem& problem, const AxisView& view, int64_t k, int bits, int type, bool real)
      : sort_(view.outer * view.inner, view.size, bits),
        lines_(sort_.lines()),
        k_(k),
        values_(problem.op != "argsort"),
        positions_(problem.op != "sort"),
        keys_{nullptr, nullptr, {}, type, problem.op == "top_k"},
        make_keys_("gather/sort", real ? "sort_keys_float" : "sort_keys_int"),
        take_("gather/sort", "sort_take_" + std::to_string(size_of(problem.in[0].dtype))),
        take_positions_("gather/sort", "sort_take_4") {
    lines_.by_inner = divisor(view.inner);
    keys_.lines = lines_;
  }

  size_t scratch_bytes() const override { return key_bytes() + sort_.scratch_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t elements = int64_t{lines_.lines} * lines_.n;
    if (elements == 0) return;
    KeyParams keys = keys_;
    keys.x = in[0];
    keys.keys = static_cast<uint32_t*>(scratch);
    make_keys_.launch({blocks_of(elements)}, kThreads, 0, keys);
    const int32_t* order = sort_.order(keys.keys, static_cast<char*>(scratch) + key_bytes());
    const unsigned blocks = blocks_of(lines_.lines * k_);
    if (!blocks) return;
    if (values_) take_.launch({blocks}, kThreads, 0, TakeParams{in[0], order, out[0], lines_, divisor(k_)});
    if (positions_)
      take_positions_.launch({blocks}, kThreads, 0, TakeParams{nullptr, order, out[values_], lines_, divisor(k_)});
  }

 private:
  size_t key_bytes() const { return aligned(4 * static_cast<size_t>(lines_.lines) * static_cast<size_t>(lines_.n)); }

  const KeySort sort_;
  Lines lines_;
  const int64_t k_;
  const bool values_, positions_;
  KeyParams keys_;
  const Function make_keys_, take_, take_positions_;
};

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const Spec& x = problem.in[0];
  const auto real = data_type(x.dtype);
  const auto integer = integer_type(x.dtype);
  if ((!real && !integer) || x.count() == 0 || x.count() > INT32_MAX - kTile) return nullptr;
  const size_t last = x.shape.size() - 1;
  const AxisView view(x.shape, problem.op == "top_k" ? last : static_cast<size_t>(problem.attrs.integer("axis")));
  const int64_t k = problem.op == "top_k" ? problem.attrs.integer("k") : view.size;
  const int bits = 8 * static_cast<int>(size_of(x.dtype)),
            type = static_cast<int>(real ? static_cast<int>(*real) : static_cast<int>(*integer));
  return std::make_unique<Sort>(problem, view, k, bits, type, real.has_value());
}

const RegisterCuda sorted{"sort", "radix", 0, prepare};
const RegisterCuda positions{"argsort", "radix", 0, prepare};
const RegisterCuda largest{"top_k", "radix", 0, prepare};

}  // namespace
}  // namespace native::cuda
