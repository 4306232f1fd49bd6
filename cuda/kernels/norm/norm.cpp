// Layer, RMS, batch and group normalisation and their gradients: the launches of each.
#include <algorithm>
#include <optional>

#include "kernels/norm/params.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::norm;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t padded(int64_t floats) { return ceil_div(floats, 16) * 16; }

// Takes the operands of a primitive in their order.
struct Operands {
  const void* const* next;
  const void* take(bool there = true) { return there ? *next++ : nullptr; }
};

// The type that parameters and statistics have in common, which may be wider than that of `x` and of what lies like it;
// nothing where types are others.
std::optional<DataType> parameter_type(const Problem& problem, const Spec& x) {
  DType found = x.dtype;
  bool alike = problem.out[0].dtype == x.dtype && problem.in[0].dtype == x.dtype, first = true;
  const bool residual = problem.attrs.integer("residual", 0) != 0 && &x == &problem.in[0];
  if (residual) alike = alike && problem.in.back().dtype == x.dtype;
  const auto look = [&](const Spec& spec) {
    if (first) found = spec.dtype;
    alike = alike && spec.dtype == found;
    first = false;
  };
  std::for_each(problem.in.begin() + (&x - problem.in.data()) + 1, problem.in.end() - residual, look);
  std::for_each(problem.out.begin() + 1, problem.out.end(), look);
  return alike ? data_type(found) : std::nullopt;
}

struct Layout {
  Params p{};
  bool has_gamma, has_beta, has_residual;

  // Throws nothing; x of `samples` samples, its channels the last axes.
  Layout(const Problem& problem, const Spec& x, int64_t samples, int64_t channels) {
    p.type = *data_type(x.dtype);
    p.parameter_type = *parameter_type(problem, x);
    p.samples = static_cast<int>(samples);
    p.channels = static_cast<int>(channels);
    p.rows = x.count() / samples / channels;
    for (p.piece = kMostRows;; p.piece /= 2) {
      p.pieces = static_cast<int>(ceil_div(p.rows, p.piece));
      if (p.piece == kLeastRows || strips() >= kEnoughBlocks) break;
    }
    for (p.lanes = 1; p.lanes < std::min(p.pieces, 32);) p.lanes *= 2;
    p.each = 1;
    p.eps = static_cast<float>(problem.attrs.real("eps"));
    p.centred = problem.op.rfind("rms", 0) != 0;
    has_gamma = problem.attrs.integer("has_gamma", 0) != 0;
    has_beta = problem.attrs.integer("has_beta", 0) != 0;
    has_residual = problem.attrs.integer("residual", 0) != 0;
    const std::string clip = problem.attrs.text("activation", "none");
    p.clip = clip == "relu6" ? Clip::Relu6 : clip == "relu" ? Clip::Relu : Clip::None;
  }
  int64_t parts() const { return padded(int64_t{2} * p.samples * p.pieces * p.channels); }
  int64_t strips() const { return ceil_div(p.channels, 32) * p.pieces * p.samples; }
  void gradients(void* const* out, Params* to) const {
    to->dx = *out++;
    if (has_gamma) to->dgamma = *out++;
    if (has_beta) to->dbeta = *out;
  }
};

void launch(const Function& f, int64_t blocks, const Params& p, size_t shared = 0) {
  f.launch({static_cast<unsigned>(blocks)}, kThreads, shared, p);
}

// A kernel over strips of channels, in two forms: for single channels, and for packs of four where their number and
// addresses allow.
class Strips {
 public:
  explicit Strips(const std::string& name)
      : single_("norm/columns", name + "_1"), packed_("norm/columns", name + "_4") {}
  void launch(const Layout& layout, const Params& p) const {
    const auto arrays = {p.x,
                         p.ct,
                         p.residual,
                         p.gamma,
                         p.beta,
                         p.given_mean,
                         p.given_variance,
                         static_cast<const void*>(p.y),
                         static_cast<const void*>(p.dx)};
    const bool packs = p.channels % 4 == 0 && std::all_of(arrays.begin(), arrays.end(), [](const void* x) {
                         return reinterpret_cast<uintptr_t>(x) % 16 == 0;
                       });
    ::native::cuda::launch(packs ? packed_ : single_, layout.strips(), p);
  }

 private:
  const Function single_, packed_;
};

// layer_norm(x, gamma, beta), rms_norm(x, gamma).
class Rows : public Kernel {
 public:
  Rows(const Layout& layout, const std::string& name)
      : layout_(layout),
        group_(layout.p.channels <= kShortRow ? 32 : kThreads),
        rows_("norm/rows", name + (group_ == 32 ? "short_rows" : "rows")) {
    layout_.p.kept = layout_.p.channels * (kThreads / group_) <= kKept;
  }
  void run(const void* const* in, void* const* out, void*) const override {
    Params p = layout_.p;
    Operands next{in};
    p.x = next.take();
    p.gamma = next.take(layout_.has_gamma);
    p.beta = next.take(layout_.has_beta);
    p.y = out[0];
    launch_rows(p);
  }

 protected:
  void launch_rows(const Params& p) const {
    const int across = kThreads / group_;
    const size_t floats = kThreads / 32 + (p.kept ? static_cast<size_t>(p.channels) * across : 0);
    launch(rows_, ceil_div(p.rows, across), p, floats * sizeof(float));
  }
  Layout layout_;

 private:
  const int group_;
  const Function rows_;
};

// Their gradients (ct, x, gamma).
class RowsGrad : public Rows {
 public:
  explicit RowsGrad(const Layout& layout)
      : Rows(layout, "norm_grad_"), sums_("norm_sums_by_row"), ends_("norm/columns", "norm_parameters") {}
  size_t scratch_bytes() const override {
    return sizeof(float) * static_cast<size_t>(padded(2 * layout_.p.rows) + layout_.parts());
  }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    Params p = layout_.p;
    Operands next{in};
    p.ct = next.take();
    p.x = next.take();
    p.gamma = next.take(layout_.has_gamma);
    layout_.gradients(out, &p);
    p.row_statistics = static_cast<float*>(scratch);
    p.parts = p.row_statistics + padded(2 * p.rows);
    launch_rows(p);
    if (!p.dgamma && !p.dbeta) return;
    sums_.launch(layout_, p);
    launch(ends_, ceil_div(p.channels, 32), p);
  }

 private:
  const Strips sums_;
  const Function ends_;
};

// batch_norm_train(x, gamma, beta, residual) with its statistics, group_norm(x, gamma, beta), and
// batch_norm_inference(x, mean, variance, gamma, beta).
class Channels : public Kernel {
 public:
  Channels(const Layout& layout, bool given, bool gives)
      : layout_(layout),
        given_(given),
        gives_(gives),
        wide_(layout.p.each >= 32),
        statistics_("norm_statistics"),
        merge_("norm/columns", given   ? "norm_given"
                               : wide_ ? "norm_merge_wide"
                                       : "norm_merge"),
        apply_("norm_apply") {}
  size_t scratch_bytes() const override { return sizeof(float) * static_cast<size_t>(factors() + layout_.parts()); }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    Params p = layout_.p;
    Operands next{in};
    p.x = next.take();
    p.given_mean = next.take(given_);
    p.given_variance = next.take(given_);
    p.gamma = next.take(layout_.has_gamma);
    p.beta = next.take(layout_.has_beta);
    p.residual = next.take(layout_.has_residual);
    p.y = out[0];
    if (gives_) p.mean = out[1], p.variance = out[2];
    place_scratch(p, scratch);
    if (given_)
      launch(merge_, ceil_div(p.channels, kThreads), p);
    else
      launch_statistics(p);
    apply_.launch(layout_, p);
  }

 protected:
  void place_scratch(Params& p, void* scratch) const {
    p.factors = static_cast<float*>(scratch);
    p.parts = p.factors + factors();
  }
  // Fills the factors up to the scale.
  void launch_statistics(const Params& p) const {
    statistics_.launch(layout_, p);
    launch(merge_, blocks_of_groups(), p);
  }
  int64_t factors() const { return padded(int64_t{kFactors} * layout_.p.samples * layout_.p.channels); }
  int64_t blocks_of_groups() const {
    const int64_t groups = int64_t{layout_.p.samples} * (layout_.p.channels / layout_.p.each);
    return ceil_div(groups * (wide_ ? 32 : layout_.p.lanes), kThreads);
  }
  const Layout layout_;
  const bool given_, gives_, wide_;

 private:
  const Strips statistics_;
  const Function merge_;
  const Strips apply_;
};

// Gradients: batch_norm_train_grad(ct, x, mean, variance, gamma, beta if clipped), group_norm_grad(ct, x, gamma).
class ChannelsGrad : public Channels {
 public:
  ChannelsGrad(const Layout& layout, bool given)
      : Channels(layout, given, false),
        sums_("norm_sums_by_channel"),
        slopes_("norm/columns", wide_ ? "norm_slopes_wide" : "norm_slopes"),
        grad_("norm_grad"),
        ends_("norm/columns", "norm_parameters") {}
  void run(const void* const* in, void* const* out, void* scratch) const override {
    Params p = layout_.p;
    Operands next{in};
    p.ct = next.take();
    p.x = next.take();
    p.given_mean = next.take(given_);
    p.given_variance = next.take(given_);
    p.gamma = next.take(layout_.has_gamma);
    p.beta = next.take(layout_.has_beta && p.clip != Clip::None);
    layout_.gradients(out, &p);
    place_scratch(p, scratch);
    if (!given_) launch_statistics(p);
    sums_.launch(layout_, p);
    launch(slopes_, blocks_of_groups(), p);
    grad_.launch(layout_, p);
    if (p.samples > 1 && (p.dgamma || p.dbeta)) launch(ends_, ceil_div(p.channels, 32), p);
  }

 private:
  const Strips sums_;
  const Function slopes_;
  const Strips grad_;
  const Function ends_;
};

bool fits(const Problem& problem, const Spec& x, int64_t channels) {
  return data_type(x.dtype) && parameter_type(problem, x) && x.count() > 0 && channels < (1 << 30) &&
         x.count() / channels < INT32_MAX;
}

int64_t channels_of(const Spec& x, int64_t axes) { return element_count({x.shape.end() - axes, x.shape.end()}); }

template <bool grad>
std::unique_ptr<Kernel> prepare_rows(const Problem& problem) {
  const Spec& x = problem.in[grad];
  const int64_t channels = channels_of(x, problem.attrs.integer("axes"));
  if (x.count() == 0 || !fits(problem, x, channels)) return nullptr;
  const Layout layout(problem, x, 1, channels);
  if (grad) return std::make_unique<RowsGrad>(layout);
  return std::make_unique<Rows>(layout, "norm_");
}

enum class Of { Batch, Group, Inference };

template <Of of, bool grad>
std::unique_ptr<Kernel> prepare_channels(const Problem& problem) {
  const Spec& x = problem.in[grad];
  if (x.count() == 0 || !fits(problem, x, x.shape.back())) return nullptr;
  Layout layout(problem, x, of == Of::Group ? x.shape.front() : 1, x.shape.back());
  if (of == Of::Group) layout.p.each = layout.p.channels / static_cast<int>(problem.attrs.integer("groups"));
  if (layout.strips() > INT32_MAX || x.count() > INT32_MAX) return nullptr;
  if (grad) return std::make_unique<ChannelsGrad>(layout, of == Of::Batch);
  return std::make_unique<Channels>(layout, of == Of::Inference, of == Of::Batch);
}

const RegisterCuda layer{"layer_norm", "rows", 10, prepare_rows<false>};
const RegisterCuda layer_grad{"layer_norm_grad", "rows", 10, prepare_rows<true>};
const RegisterCuda rms{"rms_norm", "rows", 10, prepare_rows<false>};
const RegisterCuda rms_grad{"rms_norm_grad", "rows", 10, prepare_rows<true>};
const RegisterCuda batch{"batch_norm_train", "channels", 10, prepare_channels<Of::Batch, false>};
const RegisterCuda batch_grad{"batch_norm_train_grad", "channels", 10, prepare_channels<Of::Batch, true>};
const RegisterCuda inference{"batch_norm_inference", "channels", 10, prepare_channels<Of::Inference, false>};
const RegisterCuda group{"group_norm", "channels", 10, prepare_channels<Of::Group, false>};
const RegisterCuda group_grad{"group_norm_grad", "channels", 10, prepare_channels<Of::Group, true>};

}  // namespace
}  // namespace native::cuda
