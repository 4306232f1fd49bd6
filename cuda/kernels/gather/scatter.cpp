// scatter_add, gather_grad, scatter_along_axis_add and the scatter_nd family.
#include <bit>

#include "kernels/gather/indices.h"
#include "kernels/gather/places.h"
#include "kernels/gather/scatter_params.h"
#include "kernels/gather/sort.h"
#include "kernels/types_of.h"
#include "runtime/device.h"
#include "runtime/gpu.h"

namespace native::cuda {
namespace {

using namespace cuda::scatter;

unsigned blocks_of(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }
size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Sizes of a scatter: updates [outer, count, inner] to rows of [outer, rows, inner].
struct Sizes {
  int64_t outer, count, rows, inner;
};

class Scatter : public Kernel {
 public:
  // x is operand 0, or there is none and indices come first.
  Scatter(const Problem& problem, const Sizes& s, const KeyParams& keys, const std::string& op, bool real, int type)
      : has_x_(problem.in.size() == 3),
        bytes_(static_cast<size_t>(problem.out[0].count()) * size_of(problem.out[0].dtype)),
        keys_(keys),
        sort_(1, s.count, std::bit_width(static_cast<uint64_t>(s.rows > 0 ? s.rows - 1 : 0))),
        make_keys_("gather/scatter", "scatter_keys"),
        join_("gather/scatter", "scatter_" + op + (real ? "_float" : "_int")),
        join_pieces_("gather/scatter", "scatter_pieces_" + op + (real ? "_float" : "_int")) {
    threads_of_pieces_ = s.outer * ((s.count + kPiece - 1) / kPiece) * s.inner;
    p_.elements = static_cast<int>(s.outer * s.count * s.inner);
    p_.count = static_cast<int>(s.count);
    p_.rows = static_cast<int>(s.rows);
    p_.type = type;
    p_.by_inner = divisor(s.inner);
    p_.by_count = divisor(s.count);
  }

  size_t scratch_bytes() const override { return key_bytes() + part_bytes() + sort_.scratch_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    if (bytes_ == 0) return;
    const auto address = [](const void* data) { return reinterpret_cast<Address>(data); };
    if (has_x_)
      device().copy(address(out[0]), address(in[0]), bytes_);
    else
      device().fill(address(out[0]), 0, bytes_);
    if (p_.elements == 0) return;
    KeyParams keys = keys_;
    keys.places.indices = in[has_x_];
    keys.keys = static_cast<uint32_t*>(scratch);
    make_keys_.launch({blocks_of(keys.count)}, kThreads, 0, keys);
    JoinParams p = p_;
    p.keys = keys.keys;
    p.order = sort_.order(keys.keys, static_cast<char*>(scratch) + key_bytes() + part_bytes());
    p.parts = static_cast<char*>(scratch) + key_bytes();
    p.x = has_x_ ? in[0] : nullptr;
    p.updates = in[has_x_ + 1];
    p.out = out[0];
    join_.launch({blocks_of(p.elements)}, kThreads, 0, p);
    if (p.count > kPiece) join_pieces_.launch({blocks_of(threads_of_pieces_)}, kThreads, 0, p);
  }

 private:
  size_t part_bytes() const { return aligned(2 * 4 * static_cast<size_t>(threads_of_pieces_)); }
  size_t key_bytes() const { return aligned(4 * static_cast<size_t>(keys_.count)); }

  const bool has_x_;
  const size_t bytes_;
  const KeyParams keys_;
  const KeySort sort_;
  const Function make_keys_, join_, join_pieces_;
  int64_t threads_of_pieces_;
  JoinParams p_{};
};

std::unique_ptr<Kernel> scatter_to(const Problem& problem, const Sizes& s, const KeyParams& keys,
                                   const std::string& op) {
  const DType dtype = problem.out[0].dtype;
  const auto real = data_type(dtype);
  const auto integer = integer_type(dtype);
  constexpr int64_t kMost = INT32_MAX - sort::kTile;
  if ((!real && !integer) || s.outer * s.count * s.inner > kMost || s.rows > kMost || s.count > kMost) return nullptr;
  const int type = real ? static_cast<int>(*real) : static_cast<int>(*integer);
  return std::make_unique<Scatter>(problem, s, keys, op, real.has_value(), type);
}

// Along one axis: scatter_add(x, indices, updates), gather_grad(indices, ct).
std::unique_ptr<Kernel> prepare_axis(const Problem& problem) {
  const Spec& indices = problem.in[problem.in.size() - 2];
  const AxisView view(problem.out[0].shape, static_cast<size_t>(problem.attrs.integer("axis")));
  KeyParams keys{};
  keys.count = static_cast<int>(indices.count());
  const auto places = places_of(indices.dtype, {view.size});
  if (!places) return nullptr;
  keys.places = *places;
  return scatter_to(problem, {view.outer, indices.count(), view.size, view.inner}, keys, "add");
}

std::unique_ptr<Kernel> prepare_along(const Problem& problem) {
  const Spec &x = problem.in[0], &indices = problem.in[1];
  const auto axis = static_cast<size_t>(problem.attrs.integer("axis"));
  const AxisView view(x.shape, axis);
  const auto places = places_of(indices.dtype, {view.size});
  if (!places) return nullptr;
  KeyParams keys{nullptr, *places, static_cast<int>(indices.count()), divisor(view.inner),
                 divisor(indices.shape[axis])};
  return scatter_to(problem, {1, indices.count(), x.count(), 1}, keys, "add");
}

// scatter_nd_<op>(x, indices, updates).
std::unique_ptr<Kernel> prepare_nd(const Problem& problem) {
  const RowsView view(problem.in[0].shape, problem.in[1].shape);
  const auto places = places_of(problem.in[1].dtype, view.sizes);
  if (!places) return nullptr;
  KeyParams keys{};
  keys.places = *places;
  keys.count = static_cast<int>(view.count);
  return scatter_to(problem, {1, view.count, view.rows, view.inner}, keys, problem.op.substr(problem.op.size() - 3));
}

const RegisterCuda axis{{"scatter_add", "gather_grad"}, "sorted", 0, prepare_axis};
const RegisterCuda along{"scatter_along_axis_add", "sorted", 0, prepare_along};
const RegisterCuda nd{{"scatter_nd_add", "scatter_nd_set", "scatter_nd_max", "scatter_nd_min", "scatter_nd_mul"},
                      "sorted",
                      0,
                      prepare_nd};

}  // namespace
}  // namespace native::cuda
