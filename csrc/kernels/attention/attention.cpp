// Drivers of attention: they read the problem, cut it into tasks and give each its scratch memory.
#include "kernels/attention/attention.h"

#include <algorithm>
#include <cstring>

#include "kernels/floating.h"
#include "kernels/grid.h"
#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native {

// Each task packs all keys and values once more, but queries and results are to stay in the second-level cache, and
// there should be tasks for some threads.
int64_t attention_query_block(const AttentionShape& s) {
  constexpr int64_t least = 128, elements = 65536, tasks = 32;
  int64_t block = kMostQueries;
  const auto too_large = [&s](int64_t queries) {
    return queries * (s.size + s.value_size) > elements || s.batch * s.heads * ceil_div(s.queries, queries) < tasks;
  };
  while (block > least && too_large(block)) block /= 2;
  return block;
}

namespace {

// Strides along [batch, head, query, key] of an operand that broadcasts to them.
void broadcast_strides(const Shape& shape, int64_t* strides) {
  const Shape own = row_major_strides(shape);
  std::fill_n(strides, 4, 0);
  const size_t lead = 4 - shape.size();
  for (size_t i = 0; i < shape.size(); ++i) strides[lead + i] = shape[i] == 1 ? 0 : own[i];
}

// The shape, and where in the inputs the optional ones and what follows them stand (-1: not there).
struct Layout {
  AttentionShape shape{};
  int bias = -1, mask = -1, key = -1, rest;

  explicit Layout(const Problem& p) {
    const Shape &q = p.in[0].shape, &k = p.in[1].shape, &v = p.in[2].shape;
    shape.batch = q[0];
    shape.queries = q[1];
    shape.heads = q[2];
    shape.size = q[3];
    shape.keys = k[1];
    shape.key_heads = k[2];
    shape.value_size = v[3];
    shape.scale = p.attrs.real("scale");
    shape.causal = p.attrs.integer("causal") != 0;
    shape.dropout = p.attrs.real("dropout", 0.0);
    int next = 3;
    if (p.attrs.integer("has_bias") != 0) broadcast_strides(p.in[bias = next++].shape, shape.bias_strides);
    if (p.attrs.integer("has_mask") != 0) broadcast_strides(p.in[mask = next++].shape, shape.mask_strides);
    if (shape.dropout > 0) key = next++;
    rest = next;
  }
  bool empty() const {
    const AttentionShape& s = shape;
    return std::min({s.batch, s.queries, s.heads, s.size, s.keys, s.key_heads, s.value_size}) == 0;
  }
  AttentionInputs inputs(const void* const* in) const {
    const auto optional = [in](int i) { return i < 0 ? nullptr : in[i]; };
    return {&shape,
            in[0],
            in[1],
            in[2],
            optional(bias),
            static_cast<const uint8_t*>(optional(mask)),
            static_cast<const uint32_t*>(optional(key))};
  }
};

class Forward : public Kernel {
 public:
  Forward(const Layout& layout, const AttentionForwardTable* table) : layout_(layout), table_(table) {}
  void run(const void* const* in, void* const* out, void*) const override {
    const AttentionShape& s = layout_.shape;
    AttentionForward task;
    static_cast<AttentionInputs&>(task) = layout_.inputs(in);
    task.out = out[0];
    task.lse = out[1];
    const int64_t size = even_share(s.queries, attention_query_block(s), table_->query_unit);
    const int64_t blocks = ceil_div(s.queries, size);
    const size_t bytes = static_cast<size_t>(table_->scratch(s));
    const int64_t tasks = s.batch * s.heads * blocks;
    const auto queries = [&](int64_t index) -> AttentionQueries {
      if (index == tasks) return {};
      // Late queries first: under a causal mask they have the most work.
      const int64_t first = (blocks - 1 - index % blocks) * size, head = index / blocks;
      return {head / s.heads, head % s.heads, first, std::min(size, s.queries - first)};
    };
    pool::parallel_for(tasks, [&](int64_t index) {
      table_->run(task, queries(index), queries(index + 1), pool::thread_scratch(bytes));
    });
  }

 private:
  Layout layout_;
  const AttentionForwardTable* table_;
};

std::unique_ptr<Kernel> prepare_forward(const Problem& problem) {
  const auto* table = floating_entry(attention_forward(), problem.in[0].dtype);
  const Layout layout(problem);
  if (table == nullptr || layout.empty()) return nullptr;
  return std::make_unique<Forward>(layout, table);
}

// attention_grad and attention_score_grad, which have the same inputs.
class Backward : public Kernel {
 public:
  Backward(const Layout& layout, bool has_lse_ct, bool scores, const Problem& p, const AttentionBackwardTable* table)
      : layout_(layout),
        has_lse_ct_(has_lse_ct),
        scores_(scores),
        result_bytes_(p.out[0].bytes()),
        query_elements_(p.in[0].count()),
        wide_(p.in[0].dtype == DType::F64 ? 8 : 4),
        table_(table) {
    // Few heads: their keys are shared out, so that about eight tasks have work.
    const AttentionShape& s = layout_.shape;
    const int64_t blocks = ceil_div(s.keys, table->key_block), heads = s.batch * s.key_heads;
    const int64_t wanted = std::clamp<int64_t>(ceil_div(8, heads), 1, blocks);
    range_ = ceil_div(blocks, wanted) * table->key_block;
    ranges_ = ceil_div(s.keys, range_);
  }
  size_t scratch_bytes() const override {
    return ranges_ == 1 || scores_ ? 0 : static_cast<size_t>(ranges_ * query_elements_) * wide_;
  }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    const AttentionShape& s = layout_.shape;
    AttentionBackward all{};
    static_cast<AttentionInputs&>(all) = layout_.inputs(in);
    const void* const* rest = in + layout_.rest;
    all.out = rest[0];
    all.lse = rest[1];
    all.ct = rest[2];
    all.ct_lse = has_lse_ct_ ? rest[3] : nullptr;
    if (scores_) {
      all.ds = out[0];
      std::memset(out[0], 0, result_bytes_);  // causal work leaves out what is 0
    } else {
      all.dq = out[0];
      all.dk = out[1];
      all.dv = out[2];
    }
    const size_t bytes = static_cast<size_t>(table_->scratch(all));
    const bool parts = scratch_bytes() != 0;
    const int64_t tasks = s.batch * s.key_heads * ranges_;
    const auto keys = [&](int64_t index) -> AttentionKeys {
      if (index == tasks) return {};
      const int64_t head = index / ranges_, first = index % ranges_ * range_;
      return {head / s.key_heads, head % s.key_heads, first, std::min(range_, s.keys - first)};
    };
    pool::parallel_for(tasks, [&](int64_t index) {
      AttentionBackward task = all;
      if (parts)
        task.dq_part = static_cast<char*>(scratch) + index % ranges_ * query_elements_ * static_cast<int64_t>(wide_);
      table_->run(task, keys(index), keys(index + 1), pool::thread_scratch(bytes));
    });
    if (!parts) return;
    constexpr int64_t kPiece = 32768;
    pool::parallel_for((query_elements_ + kPiece - 1) / kPiece, [&](int64_t index) {
      const int64_t first = index * kPiece;
      table_->sum_parts(scratch, ranges_, query_elements_, first, std::min(kPiece, query_elements_ - first), out[0]);
    });
  }

 private:
  Layout layout_;
  bool has_lse_ct_, scores_;
  size_t result_bytes_;
  int64_t query_elements_, range_, ranges_;
  size_t wide_;
  const AttentionBackwardTable* table_;
};

template <bool scores>
std::unique_ptr<Kernel> prepare_backward(const Problem& problem) {
  const auto* table = floating_entry(attention_backward(), problem.in[0].dtype);
  const Layout layout(problem);
  if (table == nullptr || layout.empty()) return nullptr;
  return std::make_unique<Backward>(layout, problem.attrs.integer("has_lse_ct") != 0, scores, problem, table);
}

const Register forward{"attention", "flash", 10, prepare_forward};
const Register backward{"attention_grad", "flash", 10, prepare_backward<false>};
const Register score_grad{"attention_score_grad", "flash", 10, prepare_backward<true>};

}  // namespace
}  // namespace native
