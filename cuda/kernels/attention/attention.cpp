// Attention and its gradients: which kernel, which tile, and the launch.
#include <algorithm>
#include <cmath>

#include "kernels/attention/params.h"
#include "kernels/attention/tiles.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"
#include "runtime/images.h"
#include "runtime/tensor_map.h"

namespace native::cuda {
namespace {

using namespace cuda::attention;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Strides of an operand that broadcasts to [batch, head, query, key].
Strides broadcast_strides(const Shape& shape) {
  int64_t by[4] = {};
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0; stride *= shape[i]) by[4 - shape.size() + i] = shape[i] == 1 ? 0 : stride;
  return {by[0], by[1], static_cast<int>(by[2]), static_cast<int>(by[3])};
}

// What a problem is to kernels, and where in the inputs the optional ones and what follows them stand (-1: not
// there).
struct Layout {
  Params p{};
  int bias = -1, mask = -1, key = -1, rest = 3;

  explicit Layout(const Problem& problem) {
    const Shape &q = problem.in[0].shape, &k = problem.in[1].shape, &v = problem.in[2].shape;
    p.type = *data_type(problem.in[0].dtype);
    p.batch = static_cast<int>(q[0]);
    p.queries = static_cast<int>(q[1]);
    p.heads = static_cast<int>(q[2]);
    p.size = static_cast<int>(q[3]);
    p.keys = static_cast<int>(k[1]);
    p.key_heads = static_cast<int>(k[2]);
    p.value_size = static_cast<int>(v[3]);
    p.q.row = int64_t{p.heads} * p.size;
    p.k.row = int64_t{p.key_heads} * p.size;
    p.v.row = int64_t{p.key_heads} * p.value_size;
    p.ct.row = int64_t{p.heads} * p.value_size;
    p.causal = problem.attrs.integer("causal") != 0;
    const double scale = problem.attrs.real("scale");
    p.scale = static_cast<float>(scale);
    p.scale_2 = static_cast<float>(scale * 1.4426950408889634);
    if (problem.attrs.integer("has_bias")) p.bias_strides = broadcast_strides(problem.in[bias = rest++].shape);
    if (problem.attrs.integer("has_mask")) p.mask_strides = broadcast_strides(problem.in[mask = rest++].shape);
    if (const double dropout = problem.attrs.real("dropout", 0.0); dropout > 0) {
      key = rest++;
      p.threshold = static_cast<uint32_t>(std::nearbyint(dropout * 0x1p32));
      p.kept = static_cast<float>(1 / (1 - dropout));
    }
  }

  // Sets what the inputs are.
  void place(const void* const* in, Params* to) const {
    to->q = operand(p.q.row, p.size, in[0]);
    to->k = operand(p.k.row, p.size, in[1]);
    to->v = operand(p.v.row, p.value_size, in[2]);
    if (bias >= 0) to->bias = in[bias];
    if (mask >= 0) to->mask = static_cast<const uint8_t*>(in[mask]);
    if (key >= 0) to->key = static_cast<const uint32_t*>(in[key]);
  }
  gemm::Operand operand(int64_t row, int width, const void* data) const {
    const int chunk = p.type == DataType::F32 ? 4 : 8;
    return {data, row, width % chunk == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0};
  }
  // Whether scores are given neither bias, mask nor dropout.
  // Where the largest product is the largest score: what is not seen is minus infinity before the scale is applied.
  bool plain() const { return bias < 0 && mask < 0 && key < 0 && p.scale_2 > 0; }
  int64_t query_rows() const { return int64_t{p.batch} * p.heads * p.queries; }
};

// A kernel and its tile: the narrowest that the heads fit.
struct Choice {
  Tile tile;
  std::string name;  // "bf16_64"
  int width, bytes;
};
template <size_t n>
Choice choose(const Layout& layout, const Tile (&tensor)[n], const Tile (&exact)[4]) {
  const DataType type = layout.p.type;
  const int needed = std::max(layout.p.size, layout.p.value_size);
  int at = 0, width = 32;
  for (; width < needed; width *= 2) ++at;
  const bool wide = type == DataType::F32;
  return {wide ? exact[at] : tensor[at],
          (wide                     ? "f32_"
           : type == DataType::BF16 ? "bf16_"
                                    : "f16_") +
              std::to_string(width),
          width, wide ? 4 : 2};
}

class Forward : public Kernel {
 public:
  explicit Forward(const Layout& layout)
      : layout_(layout),
        plain_(layout.p.type != DataType::F32 && layout.plain()),
        choice_(plain_ ? choose(layout, {kPlain32, kPlain64, kPlain128}, kExact)
                       : choose(layout, {kTensor32, kTensor64, kTensor128}, kExact)),
        function_(choice_.bytes == 4 ? "attention/exact" : "attention/tensor",
                  "attention_" + choice_.name + (plain_ ? "_plain" : "")) {}

  void run(const void* const* in, void* const* out, void*) const override {
    Params p = layout_.p;
    layout_.place(in, &p);
    p.out = out[0];
    p.lse = static_cast<float*>(out[1]);
    const int64_t blocks = ceil_div(p.queries, choice_.tile.rows) * p.heads * p.batch;
    function_.launch({static_cast<unsigned>(blocks)}, choice_.tile.threads,
                     forward_shared(choice_.tile, choice_.width, choice_.bytes), p);
  }

 private:
  static constexpr Tile kExact[] = {kExact32, kExact64, kExact128, kExact256};
  const Layout layout_;
  const bool plain_;
  const Choice choice_;
  const Function function_;
};

// The same by warp groups, on GPUs of compute capability 9.0.
class WarpgroupForward : public Kernel {
 public:
  WarpgroupForward(const Layout& layout, std::unique_ptr<Kernel> otherwise)
      : layout_(layout),
        width_(std::max(layout.p.size, layout.p.value_size) <= 64 ? 64 : 128),
        tile_(width_ == 64 ? kWarpgroup64 : kWarpgroup128),
        type_(layout.p.type == DataType::BF16 ? TensorType::BF16 : TensorType::F16),
        function_("attention/warpgroup", std::string("attention_") + (type_ == TensorType::BF16 ? "bf16_" : "f16_") +
                                             std::to_string(width_) + "_warpgroup"),
        otherwise_(std::move(otherwise)) {
    const Params& p = p_.problem = layout.p;
    const int64_t tiles = ceil_div(p.queries, tile_.rows), heads = int64_t{p.batch} * p.heads;
    p_.blocks = static_cast<int>(tiles * heads);
    // Blocks of equal work, and short ones, are dealt out to as many as run at once. Of unequal work each runs by
    // itself, and of some heads, whose keys and values stay in the second cache, the longest first.
    constexpr int64_t kCached = int64_t{32} << 20, kHeads = 8, kFewTiles = 4;
    const int64_t of_head = int64_t{p.keys} * (p.size + p.value_size) * 2;
    p_.heads_at_once = p.causal ? static_cast<int>(std::clamp<int64_t>(kCached / of_head, 1, kHeads)) : 1;
    grid_ = p.causal && tiles > kFewTiles ? p_.blocks : std::min(p_.blocks, device().multiprocessors());
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    WarpgroupParams w = p_;
    Params& p = w.problem;
    layout_.place(in, &p);
    if (!p.q.aligned || !p.k.aligned || !p.v.aligned || reinterpret_cast<uintptr_t>(out[0]) % 16 != 0)
      return otherwise_->run(in, out, scratch);
    p.out = out[0];
    p.lse = static_cast<float*>(out[1]);
    constexpr int kWarpRows = 16;  // written by one copy
    w.q = map(p.q.data, p.queries, p.heads, p.size, tile_.rows);
    w.k = map(p.k.data, p.keys, p.key_heads, p.size, tile_.columns);
    w.v = map(p.v.data, p.keys, p.key_heads, p.value_size, tile_.columns);
    w.out = map(p.out, p.queries, p.heads, p.value_size, kWarpRows);
    function_.launch({static_cast<unsigned>(grid_)}, tile_.threads, warpgroup_shared(tile_, width_), w);
  }

 private:
  // Of a tensor [batch, length, heads, size], for boxes of rows of one head.
  TensorMap map(const void* data, int length, int heads, int size, int rows) const {
    const auto axis = [](int size, int box) {
      return TensorAxis{static_cast<uint64_t>(size), static_cast<uint32_t>(box)};
    };
    return tensor_map(type_, data,
                      {axis(size, kSwizzledRow), axis(heads, 1), axis(length, rows), axis(p_.problem.batch, 1)});
  }

  const Layout layout_;
  const int width_;
  const Tile tile_;
  const TensorType type_;
  const Function function_;
  const std::unique_ptr<Kernel> otherwise_;  // at addresses that bulk copies do not take
  WarpgroupParams p_{};
  int grid_ = 0;
};

// attention_grad and attention_score_grad, which have the same inputs.
class Backward : public Kernel {
 public:
  Backward(const Layout& layout, bool has_lse_ct, bool scores)
      : layout_(layout),
        has_lse_ct_(has_lse_ct),
        scores_(scores),
        choice_(choose(layout, {kTensorGrad32, kTensorGrad64, kTensorGrad128},
                       {kExactGrad32, kExactGrad64, kExactGrad128, kExactGrad256})),
        statistics_("attention/statistics", "attention_statistics"),
        queries_(image(), "attention_grad_queries_" + choice_.name),
        keys_(image(), "attention_grad_keys_" + choice_.name) {}

  size_t scratch_bytes() const override { return 3 * sizeof(float) * static_cast<size_t>(layout_.query_rows()); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    Params p = layout_.p;
    layout_.place(in, &p);
    const void* const* rest = in + layout_.rest;
    p.given_out = rest[0];
    p.given_lse = static_cast<const float*>(rest[1]);
    p.ct = layout_.operand(p.ct.row, p.value_size, rest[2]);
    p.ct_lse = has_lse_ct_ ? static_cast<const float*>(rest[3]) : nullptr;
    p.statistics = static_cast<float*>(scratch);
    statistics_.launch({static_cast<unsigned>(ceil_div(layout_.query_rows(), kStatisticsRows))}, 32 * kStatisticsRows,
                       0, p);
    if (scores_) {
      p.ds = out[0];
    } else {
      p.dq = out[0];
      p.dk = out[1];
      p.dv = out[2];
      launch(keys_, ceil_div(p.keys, choice_.tile.rows) * p.key_heads * p.batch, p);
    }
    launch(queries_, ceil_div(p.queries, choice_.tile.rows) * p.heads * p.batch, p);
  }

 private:
  std::string image() const { return choice_.bytes == 4 ? "attention/exact_grad" : "attention/tensor_grad"; }
  void launch(const Function& function, int64_t blocks, const Params& p) const {
    function.launch({static_cast<unsigned>(blocks)}, choice_.tile.threads,
                    backward_shared(choice_.tile, choice_.width, choice_.bytes), p);
  }

  const Layout layout_;
  const bool has_lse_ct_, scores_;
  const Choice choice_;
  const Function statistics_, queries_, keys_;
};

// Whether kernels take the problem: heads not too wide, and offsets in 32 bits where they are counted so.
bool fits(const Problem& problem) {
  const auto type = data_type(problem.in[0].dtype);
  if (!type) return false;
  for (int i = 0; i < 3; ++i)
    if (problem.in[i].count() == 0) return false;
  const Shape &q = problem.in[0].shape, &k = problem.in[1].shape, &v = problem.in[2].shape;
  constexpr int64_t kLongestRow = 1 << 22;
  return std::max(q[3], v[3]) <= (*type == DataType::F32 ? kWidestExact : kWidestTensor) &&
         q[2] * std::max(q[3], v[3]) <= kLongestRow && q[1] * k[1] <= INT32_MAX &&
         q[0] * q[2] * (q[1] + k[1]) <= INT32_MAX;
}

std::unique_ptr<Kernel> prepare_forward(const Problem& problem) {
  if (!fits(problem)) return nullptr;
  return std::make_unique<Forward>(Layout(problem));
}
std::unique_ptr<Kernel> prepare_warpgroup(const Problem& problem) {
  constexpr int kCapability = 90;
  if (device().capability() != kCapability || !fits(problem)) return nullptr;
  const Layout layout(problem);
  if (layout.p.type == DataType::F32 || !layout.plain() || layout.p.size % 8 != 0 || layout.p.value_size % 8 != 0)
    return nullptr;
  return std::make_unique<WarpgroupForward>(layout, prepare_forward(problem));
}
template <bool scores>
std::unique_ptr<Kernel> prepare_backward(const Problem& problem) {
  if (!fits(problem)) return nullptr;
  return std::make_unique<Backward>(Layout(problem), problem.attrs.integer("has_lse_ct") != 0, scores);
}

const RegisterCuda forward{"attention", "flash", 10, prepare_forward};
const RegisterCuda warpgroup{"attention", "warpgroup", 20, prepare_warpgroup};
const RegisterCuda backward{"attention_grad", "flash", 10, prepare_backward<false>};
const RegisterCuda score_grad{"attention_score_grad", "flash", 10, prepare_backward<true>};

}  // namespace
}  // namespace native::cuda
