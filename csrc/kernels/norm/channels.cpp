// Batch and group normalisation of x[samples, rows, channels]. Batch normalisation is the case of one
// sample and one channel a group. Statistics are taken in one pass over memory, part by part; the parts
// are merged in their order.
#include <cmath>
#include <string>

#include "kernels/norm/driver.h"
#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native {
namespace {

Clip clip_of(const std::string& activation) {
  return activation == "relu6" ? Clip::Relu6 : activation == "relu" ? Clip::Relu : Clip::None;
}

struct ChannelProblem {
  Elements e;
  int64_t samples, rows, channels, groups;
  double eps;
  bool has_gamma, has_beta, has_residual, far;
  Clip clip;
  RowTasks parts;  // of one sample

  ChannelProblem(const Problem& p, const Spec& x, DType parameters, bool by_group)
      : e(x.dtype, parameters),
        samples(by_group ? x.shape.front() : 1),
        rows(x.count() / x.shape.back() / samples),
        channels(x.shape.back()),
        groups(by_group ? p.attrs.integer("groups") : channels),
        eps(p.attrs.real("eps")),
        has_gamma(p.attrs.integer("has_gamma", 0) != 0),
        has_beta(p.attrs.integer("has_beta", 0) != 0),
        has_residual(p.attrs.integer("residual", 0) != 0),
        far(is_far(static_cast<int64_t>(x.bytes()))),
        clip(clip_of(p.attrs.text("activation", "none"))),
        parts(rows, channels, std::max<int64_t>(1, 64 / samples)) {}

  int64_t tasks() const { return samples * parts.count; }
  // Arrays of [channels] of W in the scratch memory.
  char* array(void* scratch, int64_t index) const { return at(scratch, index * channels, e.wide); }
  int64_t element(int64_t task) const {  // where a task's rows begin
    return (task / parts.count * rows + parts.begin(task % parts.count)) * channels;
  }
  int64_t size(int64_t task) const { return parts.size(task % parts.count); }
  int64_t last() const { return parts.size(parts.count - 1); }
};

// (mean, sum of squared differences) of each sample's channels into mean(sample) and mean(sample) + 1.
template <class Where>
void statistics(const ChannelProblem& p, const void* x, char* pairs, const Where& where) {
  pool::parallel_for(p.tasks(), [&](int64_t task) {
    char* pair = at(pairs, 2 * p.channels * task, p.e.wide);
    p.e.table->channel_stats(at(x, p.element(task), p.e.size), p.size(task), p.channels, pair,
                             at(pair, p.channels, p.e.wide));
  });
  for (int64_t s = 0; s < p.samples; ++s)
    p.e.table->merge_stats(at(pairs, 2 * p.channels * p.parts.count * s, p.e.wide), p.parts.count, p.parts.rows_each,
                           p.last(), p.channels, where(s), at(where(s), p.channels, p.e.wide));
}

// Per-channel (mean, m2) to (mean, variance) of the channel's group, in place.
template <class W>
void merge_groups(const ChannelProblem& p, W* mean, W* m2) {
  const int64_t each = p.channels / p.groups;
  const W rows = static_cast<W>(p.rows), count = rows * static_cast<W>(each);
  for (int64_t g = 0; g < p.groups; ++g, mean += each, m2 += each) {
    W centre = 0, squares = 0;
    for (int64_t c = 0; c < each; ++c) centre += mean[c] / static_cast<W>(each);
    for (int64_t c = 0; c < each; ++c) squares += m2[c] + rows * (mean[c] - centre) * (mean[c] - centre);
    std::fill_n(mean, each, centre);
    std::fill_n(m2, each, squares / count);
  }
}

// What multiplies x - mean.
template <class W>
void scales(const ChannelProblem& p, const W* gamma, const W* variance, W* scale) {
  for (int64_t c = 0; c < p.channels; ++c) scale[c] = gamma[c] / std::sqrt(variance[c] + static_cast<W>(p.eps));
}

template <class F>
void by_type(const Elements& e, const F& body) {
  if (e.wide == 8)
    body(double{});
  else
    body(float{});
}

// Arrays of [channels] in scratch: gamma, beta, then mean, variance and scale of each sample, then pairs.
class Forward : public Kernel {
 public:
  Forward(const ChannelProblem& p, bool gives_statistics) : p_(p), gives_statistics_(gives_statistics) {}
  size_t scratch_bytes() const override {
    return static_cast<size_t>((2 + 3 * p_.samples + 2 * p_.tasks()) * p_.channels) * p_.e.wide;
  }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    const ChannelProblem& p = p_;
    const void* gamma = p.e.parameter(p.has_gamma ? in[1] : nullptr, p.channels, 1.0, p.array(scratch, 0));
    const void* beta = p.e.parameter(p.has_beta ? in[1 + p.has_gamma] : nullptr, p.channels, 0.0, p.array(scratch, 1));
    const void* residual = p.has_residual ? in[1 + p.has_gamma + p.has_beta] : nullptr;
    const auto where = [&](int64_t sample) { return p.array(scratch, 2 + 3 * sample); };
    statistics(p, in[0], p.array(scratch, 2 + 3 * p.samples), where);
    by_type(p.e, [&](auto zero) {
      using W = decltype(zero);
      for (int64_t s = 0; s < p.samples; ++s) {
        W* mean = reinterpret_cast<W*>(where(s));
        W *var = mean + p.channels, *scale = var + p.channels;
        merge_groups(p, mean, var);
        scales(p, static_cast<const W*>(gamma), var, scale);
      }
    });
    if (gives_statistics_) {
      p.e.give(where(0), p.channels, out[1]);
      p.e.give(at(where(0), p.channels, p.e.wide), p.channels, out[2]);
    }
    pool::parallel_for(p.tasks(), [&](int64_t task) {
      char* mean = where(task / p.parts.count);
      p.e.table->channel_apply(at(in[0], p.element(task), p.e.size), p.size(task), p.channels, mean,
                               at(mean, 2 * p.channels, p.e.wide), beta,
                               residual ? at(residual, p.element(task), p.e.size) : nullptr, p.clip,
                               at(out[0], p.element(task), p.e.size), p.far);
    });
  }

 private:
  ChannelProblem p_;
  bool gives_statistics_;
};

// batch_norm_inference(x, mean, var, gamma, beta): the statistics are given.
class Inference : public Kernel {
 public:
  explicit Inference(const ChannelProblem& p) : p_(p) {}
  size_t scratch_bytes() const override { return static_cast<size_t>(5 * p_.channels) * p_.e.wide; }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    const ChannelProblem& p = p_;
    const void* mean = p.e.parameter(in[1], p.channels, 0.0, p.array(scratch, 0));
    const void* var = p.e.parameter(in[2], p.channels, 0.0, p.array(scratch, 1));
    const void* gamma = p.e.parameter(p.has_gamma ? in[3] : nullptr, p.channels, 1.0, p.array(scratch, 2));
    const void* beta = p.e.parameter(p.has_beta ? in[3 + p.has_gamma] : nullptr, p.channels, 0.0, p.array(scratch, 3));
    void* scale = p.array(scratch, 4);
    by_type(p.e, [&](auto zero) {
      using W = decltype(zero);
      scales(p, static_cast<const W*>(gamma), static_cast<const W*>(var), static_cast<W*>(scale));
    });
    pool::parallel_for(p.tasks(), [&](int64_t task) {
      p.e.table->channel_apply(at(in[0], p.element(task), p.e.size), p.size(task), p.channels, mean, scale, beta,
                               nullptr, p.clip, at(out[0], p.element(task), p.e.size), p.far);
    });
  }

 private:
  ChannelProblem p_;
};

// Arrays of [channels] in scratch: gamma, beta, scale; then for each sample mean, variance (later the factor of
// x - mean), factor of ct, constant, sum of ct, sum of ct x^; then two for each task; then two sums. With a clip
// (of batch normalisation) ct is that of the clipped result and beta is an input.
class Backward : public Kernel {
 public:
  Backward(const ChannelProblem& p, bool given_statistics) : p_(p), given_statistics_(given_statistics) {}
  size_t scratch_bytes() const override {
    return static_cast<size_t>((5 + 6 * p_.samples + 2 * p_.tasks()) * p_.channels) * p_.e.wide;
  }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    const ChannelProblem& p = p_;
    const void *ct = in[0], *x = in[1];
    const int gamma_at = given_statistics_ ? 4 : 2;
    const void* gamma = p.e.parameter(p.has_gamma ? in[gamma_at] : nullptr, p.channels, 1.0, p.array(scratch, 0));
    const bool shifts = p.has_beta && p.clip != Clip::None;
    const void* beta =
        p.e.parameter(shifts ? in[gamma_at + p.has_gamma] : nullptr, p.channels, 0.0, p.array(scratch, 1));
    const Passing passing{p.clip, p.array(scratch, 2), beta};
    const auto where = [&](int64_t sample) { return p.array(scratch, 3 + 6 * sample); };
    char* parts = p.array(scratch, 3 + 6 * p.samples);
    char* room = p.array(scratch, 3 + 6 * p.samples + 2 * p.tasks());
    if (given_statistics_) {
      p.e.take(in[2], p.channels, where(0));
      p.e.take(in[3], p.channels, at(where(0), p.channels, p.e.wide));
    } else {
      statistics(p, x, parts, where);
    }
    by_type(p.e, [&](auto zero) {
      using W = decltype(zero);
      for (int64_t s = 0; s < p.samples && !given_statistics_; ++s) {
        W* mean = reinterpret_cast<W*>(where(s));
        merge_groups(p, mean, mean + p.channels);
      }
      if (p.clip != Clip::None)
        scales(p, static_cast<const W*>(gamma), reinterpret_cast<const W*>(at(where(0), p.channels, p.e.wide)),
               reinterpret_cast<W*>(p.array(scratch, 2)));
    });
    pool::parallel_for(p.tasks(), [&](int64_t task) {
      char* sums = at(parts, 2 * p.channels * task, p.e.wide);
      p.e.table->channel_sums(at(ct, p.element(task), p.e.size), at(x, p.element(task), p.e.size), p.size(task),
                              p.channels, where(task / p.parts.count), passing, sums, at(sums, p.channels, p.e.wide));
    });
    by_type(p.e, [&](auto zero) {
      using W = decltype(zero);
      for (int64_t s = 0; s < p.samples; ++s) {
        W* mean = reinterpret_cast<W*>(where(s));
        p.e.table->sum_parts(at(parts, 2 * p.channels * p.parts.count * s, p.e.wide), p.parts.count, 2 * p.channels,
                             2 * p.channels, mean + 4 * p.channels);
        factors(static_cast<const W*>(gamma), mean);
      }
    });
    pool::parallel_for(p.tasks(), [&](int64_t task) {
      char* mean = where(task / p.parts.count);
      p.e.table->channel_grad(at(ct, p.element(task), p.e.size), at(x, p.element(task), p.e.size), p.size(task),
                              p.channels, mean, passing, at(mean, 2 * p.channels, p.e.wide),
                              at(mean, p.channels, p.e.wide), at(mean, 3 * p.channels, p.e.wide),
                              at(out[0], p.element(task), p.e.size), p.far);
    });
    p.e.table->sum_parts(at(where(0), 4 * p.channels, p.e.wide), p.samples, 6 * p.channels, 2 * p.channels, room);
    if (p.has_gamma) p.e.give(at(room, p.channels, p.e.wide), p.channels, out[1]);
    if (p.has_beta) p.e.give(room, p.channels, out[1 + p.has_gamma]);
  }

 private:
  // dx = gamma rstd (ct) - x^ rstd mean(g x^) - rstd mean(g), means over the group, as three factors.
  template <class W>
  void factors(const W* gamma, W* mean) const {
    const int64_t each = p_.channels / p_.groups;
    W *slope = mean + p_.channels, *a = mean + 2 * p_.channels, *offset = mean + 3 * p_.channels;
    W *sum = mean + 4 * p_.channels, *product = mean + 5 * p_.channels;
    const W count = static_cast<W>(p_.rows) * static_cast<W>(each);
    for (int64_t g = 0; g < p_.channels; g += each) {
      const W rstd = 1 / std::sqrt(slope[g] + static_cast<W>(p_.eps));
      W mean_g = 0, mean_gx = 0;
      for (int64_t c = g; c < g + each; ++c) {
        // Each channel of batch normalisation has its own variance; a group shares one.
        product[c] *= rstd;
        mean_g += gamma[c] * sum[c];
        mean_gx += gamma[c] * product[c];
      }
      mean_g /= count;
      mean_gx /= count;
      for (int64_t c = g; c < g + each; ++c) {
        a[c] = gamma[c] * rstd;
        slope[c] = -rstd * rstd * mean_gx;
        offset[c] = -rstd * mean_g;
      }
    }
  }
  ChannelProblem p_;
  bool given_statistics_;
};

bool ours(const Spec& x) { return norm_table(x.dtype) != nullptr && x.count() != 0; }

template <bool by_group>
std::unique_ptr<Kernel> prepare_forward(const Problem& problem) {
  const Spec& x = problem.in[0];
  if (!ours(x)) return nullptr;
  const DType parameters = by_group ? x.dtype : problem.out[1].dtype;
  return std::make_unique<Forward>(ChannelProblem(problem, x, parameters, by_group), !by_group);
}
template <bool by_group>
std::unique_ptr<Kernel> prepare_backward(const Problem& problem) {
  const Spec& x = problem.in[1];
  if (!ours(x)) return nullptr;
  const DType parameters = by_group ? x.dtype : problem.in[2].dtype;
  return std::make_unique<Backward>(ChannelProblem(problem, x, parameters, by_group), !by_group);
}
std::unique_ptr<Kernel> prepare_inference(const Problem& problem) {
  const Spec& x = problem.in[0];
  if (!ours(x)) return nullptr;
  return std::make_unique<Inference>(ChannelProblem(problem, x, problem.in[1].dtype, false));
}

const Register batch{"batch_norm_train", "channels", 10, prepare_forward<false>};
const Register batch_grad{"batch_norm_train_grad", "channels", 10, prepare_backward<false>};
const Register inference{"batch_norm_inference", "channels", 10, prepare_inference};
const Register group{"group_norm", "channels", 10, prepare_forward<true>};
const Register group_grad{"group_norm_grad", "channels", 10, prepare_backward<true>};

}  // namespace
}  // namespace native
