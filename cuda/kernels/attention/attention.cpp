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

// What kernels of both directions for warp groups, on GPUs of compute capability 9.0, know of their tensors.
struct Warpgroups {
  const int width, batch;
  const TensorType type;

  explicit Warpgroups(const Params& p)
      : width(std::max(p.size, p.value_size) <= 64 ? 64 : 128),
        batch(p.batch),
        type(p.type == DataType::BF16 ? TensorType::BF16 : TensorType::F16) {}

  Tile tile(const Tile& narrow, const Tile& wide) const { return width == 64 ? narrow : wide; }
  // "bf16_64_warpgroup"
  std::string suffix() const {
    return (type == TensorType::BF16 ? "bf16_" : "f16_") + std::to_string(width) + "_warpgroup";
  }
  // Of a tensor [batch, length, heads, size], for boxes of rows of one head.
  TensorMap map(const void* data, int length, int heads, int size, int rows) const {
    return tensor_map(type, data, {axis(size, kSwizzledRow), axis(heads, 1), axis(length, rows), axis(batch, 1)});
  }
  static TensorAxis axis(int64_t size, int box) { return {static_cast<uint64_t>(size), static_cast<uint32_t>(box)}; }
  // Of unequal work each block runs by itself, and of some heads, whose operands stay in the second cache, the longest
  // first.
  static int heads_at_once(const Params& p, int64_t length) {
    constexpr int64_t kCached = int64_t{32} << 20, kHeads = 8;
    const int64_t of_head = length * (p.size + p.value_size) * 2;
    return p.causal ? static_cast<int>(std::clamp<int64_t>(kCached / of_head, 1, kHeads)) : 1;
  }
  static constexpr int kWarpRows = 16;  // written by one copy
};

bool copied_in_bulk(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

class WarpgroupForward : public Kernel {
 public:
  WarpgroupForward(const Layout& layout, std::unique_ptr<Kernel> otherwise)
      : layout_(layout),
        groups_(layout.p),
        tile_(groups_.tile(kWarpgroup64, kWarpgroup128)),
        function_("attention/warpgroup", "attention_" + groups_.suffix()),
        otherwise_(std::move(otherwise)) {
    const Params& p = p_.problem = layout.p;
    const int64_t tiles = ceil_div(p.queries, tile_.rows), heads = int64_t{p.batch} * p.heads;
    p_.blocks = static_cast<int>(tiles * heads);
    // Blocks of equal work, and short ones, are dealt out to as many as run at once.
    constexpr int64_t kFewTiles = 4;
    p_.heads_at_once = groups_.heads_at_once(p, p.keys);
    grid_ = p.causal && tiles > kFewTiles ? p_.blocks : std::min(p_.blocks, device().multiprocessors());
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    WarpgroupParams w = p_;
    Params& p = w.problem;
    layout_.place(in, &p);
    if (!p.q.aligned || !p.k.aligned || !p.v.aligned || !copied_in_bulk(out[0]))
      return otherwise_->run(in, out, scratch);
    p.out = out[0];
    p.lse = static_cast<float*>(out[1]);
    w.q = groups_.map(p.q.data, p.queries, p.heads, p.size, tile_.rows);
    w.k = groups_.map(p.k.data, p.keys, p.key_heads, p.size, tile_.columns);
    w.v = groups_.map(p.v.data, p.keys, p.key_heads, p.value_size, tile_.columns);
    w.out = groups_.map(p.out, p.queries, p.heads, p.value_size, groups_.kWarpRows);
    function_.launch({static_cast<unsigned>(grid_)}, tile_.threads, warpgroup_shared(tile_, groups_.width), w);
  }

 private:
  const Layout layout_;
  const Warpgroups groups_;
  const Tile tile_;
  const Function function_;
  const std::unique_ptr<Kernel> otherwise_;  // at addresses that bulk copies do not take
  WarpgroupParams p_{};
  int grid_ = 0;
};

// Places what gradients are given beside the forward pass's inputs.
void place_gradients(const Layout& layout, const void* const* in, bool has_lse_ct, void* scratch, Params* to) {
  const void* const* rest = in + layout.rest;
  to->given_out = rest[0];
  to->given_lse = static_cast<const float*>(rest[1]);
  to->ct = layout.operand(to->ct.row, to->value_size, rest[2]);
  to->ct_lse = has_lse_ct ? static_cast<const float*>(rest[3]) : nullptr;
  to->statistics = static_cast<float*>(scratch);
}

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

  size_t scratch_bytes() const override { return 4 * sizeof(float) * static_cast<size_t>(layout_.query_rows()); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    Params p = layout_.p;
    layout_.place(in, &p);
    place_gradients(layout_, in, has_lse_ct_, scratch, &p);
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

// attention_grad by warp groups.
class WarpgroupBackward : public Kernel {
 public:
  WarpgroupBackward(const Layout& layout, bool has_lse_ct, std::unique_ptr<Kernel> otherwise)
      : layout_(layout),
        has_lse_ct_(has_lse_ct),
        groups_(layout.p),
        of_keys_(groups_.tile(kWarpgroupKeys64, kWarpgroupKeys128)),
        of_queries_(groups_.tile(kWarpgroupQueries64, kWarpgroupQueries128)),
        statistics_("attention/statistics", "attention_statistics_packs"),
        keys_("attention/warpgroup_grad", "attention_grad_keys_" + groups_.suffix()),
        queries_("attention/warpgroup_grad", "attention_grad_queries_" + groups_.suffix()),
        otherwise_(std::move(otherwise)) {
    problem_ = layout.p;
    problem_.statistics_pitch = static_cast<int>(ceil_div(problem_.queries, kStatisticsChunk) * kStatisticsChunk);
  }

  size_t scratch_bytes() const override {
    return std::max(otherwise_->scratch_bytes(), 2 * sizeof(float) * static_cast<size_t>(statistics_rows()));
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    Params p = problem_;
    layout_.place(in, &p);
    place_gradients(layout_, in, has_lse_ct_, scratch, &p);
    const bool aligned = p.q.aligned && p.k.aligned && p.v.aligned && p.ct.aligned && copied_in_bulk(p.given_out) &&
                         copied_in_bulk(scratch) && std::all_of(out, out + 3, copied_in_bulk);
    if (!aligned) return otherwise_->run(in, out, scratch);
    statistics_.launch({static_cast<unsigned>(ceil_div(statistics_rows(), kPackRows))}, kPackLanes * kPackRows, 0, p);

    const auto of_queries = [&](const void* data, int size, int rows) {
      return groups_.map(data, p.queries, p.heads, size, rows);
    };
    const auto of_keys = [&](const void* data, int size, int rows) {
      return groups_.map(data, p.keys, p.key_heads, size, rows);
    };
    WarpgroupGradParams w{};
    const auto launch = [&](const Function& function, const Tile& tile, int length, int heads, int other_length) {
      w.problem = p;
      w.heads_at_once = groups_.heads_at_once(p, other_length);
      const int64_t blocks = ceil_div(length, tile.rows) * heads * p.batch;
      function.launch({static_cast<unsigned>(blocks)}, tile.threads, warpgroup_grad_shared(tile, groups_.width), w);
    };
    w.own = of_keys(p.k.data, p.size, of_keys_.rows);
    w.own_2 = of_keys(p.v.data, p.value_size, of_keys_.rows);
    w.other = of_queries(p.q.data, p.size, of_keys_.columns);
    w.other_2 = of_queries(p.ct.data, p.value_size, of_keys_.columns);
    w.out = of_keys(out[1], p.size, groups_.kWarpRows);
    w.out_2 = of_keys(out[2], p.value_size, groups_.kWarpRows);
    w.statistics = tensor_map(TensorType::F32, p.statistics,
                              {groups_.axis(p.statistics_pitch, of_keys_.columns),
                               groups_.axis(int64_t{p.batch} * p.heads, 1), groups_.axis(2, 2)},
                              TensorSwizzle::None);
    launch(keys_, of_keys_, p.keys, p.key_heads, p.queries);
    w.own = of_queries(p.q.data, p.size, of_queries_.rows);
    w.own_2 = of_queries(p.ct.data, p.value_size, of_queries_.rows);
    w.other = of_keys(p.k.data, p.size, of_queries_.columns);
    w.other_2 = of_keys(p.v.data, p.value_size, of_queries_.columns);
    w.out = of_queries(out[0], p.size, groups_.kWarpRows);
    launch(queries_, of_queries_, p.queries, p.heads, p.keys);
  }

 private:
  int64_t statistics_rows() const { return int64_t{problem_.batch} * problem_.heads * problem_.statistics_pitch; }

  const Layout layout_;
  const bool has_lse_ct_;
  const Warpgroups groups_;
  const Tile of_keys_, of_queries_;
  const Function statistics_, keys_, queries_;
  const std::unique_ptr<Kernel> otherwise_;  // at addresses that bulk copies do not take
  Params problem_;
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
         q[0] * q[2] * (q[1] + kStatisticsChunk + k[1]) <= INT32_MAX;
}

std::unique_ptr<Kernel> prepare_forward(const Problem& problem) {
  if (!fits(problem)) return nullptr;
  return std::make_unique<Forward>(Layout(problem));
}
// Whether those for warp groups do.
bool fits_warpgroups(const Problem& problem) {
  constexpr int kCapability = 90;
  if (device().capability() != kCapability || !fits(problem)) return false;
  const Layout layout(problem);
  return layout.p.type != DataType::F32 && layout.plain() && layout.p.size % 8 == 0 && layout.p.value_size % 8 == 0;
}
std::unique_ptr<Kernel> prepare_warpgroup(const Problem& problem) {
  if (!fits_warpgroups(problem)) return nullptr;
  return std::make_unique<WarpgroupForward>(Layout(problem), prepare_forward(problem));
}
template <bool scores>
std::unique_ptr<Kernel> prepare_backward(const Problem& problem) {
  if (!fits(problem)) return nullptr;
  return std::make_unique<Backward>(Layout(problem), problem.attrs.integer("has_lse_ct") != 0, scores);
}
std::unique_ptr<Kernel> prepare_warpgroup_backward(const Problem& problem) {
  if (!fits_warpgroups(problem)) return nullptr;
  return std::make_unique<WarpgroupBackward>(Layout(problem), problem.attrs.integer("has_lse_ct") != 0,
                                             prepare_backward<false>(problem));
}

const RegisterCuda forward{"attention", "flash", 10, prepare_forward};
const RegisterCuda warpgroup{"attention", "warpgroup", 20, prepare_warpgroup};
const RegisterCuda backward{"attention_grad", "flash", 10, prepare_backward<false>};
const RegisterCuda warpgroup_backward{"attention_grad", "warpgroup", 20, prepare_warpgroup_backward};
const RegisterCuda score_grad{"attention_score_grad", "flash", 10, prepare_backward<true>};

}  // namespace
}  // namespace native::cuda
