// Drivers of attention: they read the problem, cut it into tasks and give each its scratch memory.
#include <algorithm>

#include "kernels/attention/attention.h"
#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native {
namespace {

template <class Tables>
auto table_of(const Tables& tables, DType dtype) -> decltype(&tables.f32) {
  switch (dtype) {
    case DType::F16: return &tables.f16;
    case DType::BF16: return &tables.bf16;
    case DType::F32: return &tables.f32;
    case DType::F64: return &tables.f64;
    default: return nullptr;
  }
}

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
    return {&shape, in[0], in[1], in[2], optional(bias), static_cast<const uint8_t*>(optional(mask)),
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
    const int64_t size = table_->query_block, blocks = (s.queries + size - 1) / size;
    const size_t bytes = static_cast<size_t>(table_->scratch(s));
    pool::parallel_for(s.batch * s.heads * blocks, [&](int64_t index) {
      // Late queries first: under a causal mask they have the most work.
      const int64_t block = blocks - 1 - index % blocks, head = index / blocks;
      table_->run(task, head / s.heads, head % s.heads, block * size, std::min(size, s.queries - block * size),
                  pool::thread_scratch(bytes));
    });
  }

 private:
  Layout layout_;
  const AttentionForwardTable* table_;
};

std::unique_ptr<Kernel> prepare_forward(const Problem& problem) {
  const auto* table = table_of(attention_forward(), problem.in[0].dtype);
  const Layout layout(problem);
  if (table == nullptr || layout.empty()) return nullptr;
  return std::make_unique<Forward>(layout, table);
}

const Register forward{"attention", "flash", 10, prepare_forward};

}  // namespace
}  // namespace native
