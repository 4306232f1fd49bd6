// Layer and RMS normalisation: every row by itself, the parameters' gradients as sums over tasks.
#include "kernels/norm/driver.h"
#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native {
namespace {

struct RowProblem {
  Elements e;
  int64_t n, rows;
  double eps;
  bool centred, has_gamma, has_beta, far;
  RowTasks tasks;

  RowProblem(const Problem& p, const Spec& x, DType parameters, bool centred)
      : e(x.dtype, parameters),
        n(element_count({x.shape.end() - p.attrs.integer("axes"), x.shape.end()})),
        rows(x.count() / std::max<int64_t>(n, 1)),
        eps(p.attrs.real("eps")),
        centred(centred),
        has_gamma(p.attrs.integer("has_gamma", 0) != 0),
        has_beta(p.attrs.integer("has_beta", 0) != 0),
        far(is_far(static_cast<int64_t>(x.bytes()))),
        tasks(rows, n) {}
};

class Forward : public Kernel {
 public:
  explicit Forward(const RowProblem& p) : p_(p) {}
  size_t scratch_bytes() const override { return 2 * static_cast<size_t>(p_.n) * p_.e.wide; }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    const Parameters parameters = this->parameters(in, scratch);
    pool::parallel_for(p_.tasks.count, [&](int64_t task) {
      forward(in, out, parameters, p_.tasks.begin(task), p_.tasks.size(task), p_.far);
    });
  }
  std::optional<uint64_t> by_rows(int64_t rows) const override {
    return p_.rows % rows == 0 ? std::optional<uint64_t>(1) : std::nullopt;
  }
  void run_rows(const void* const* in, void* const* out, const RowRange& range) const override {
    const int64_t each = p_.rows / range.all;
    forward(in, out, parameters(in, pool::thread_scratch(scratch_bytes())), range.first * each, range.count * each,
            /*far=*/false);  // whoever reads them is next in the chain
  }

 private:
  struct Parameters {
    const void *gamma, *beta;
  };
  Parameters parameters(const void* const* in, void* room) const {
    const RowProblem& p = p_;
    return {p.e.parameter(p.has_gamma ? in[1] : nullptr, p.n, 1.0, room),
            p.e.parameter(p.has_beta ? in[1 + p.has_gamma] : nullptr, p.n, 0.0, at(room, p.n, p.e.wide))};
  }
  void forward(const void* const* in, void* const* out, const Parameters& parameters, int64_t row, int64_t rows,
               bool far) const {
    const RowProblem& p = p_;
    p.e.table->row_forward(at(in[0], row * p.n, p.e.size), parameters.gamma, parameters.beta,
                           at(out[0], row * p.n, p.e.size), rows, p.n, p.eps, p.centred, far);
  }
  RowProblem p_;
};

class Backward : public Kernel {
 public:
  explicit Backward(const RowProblem& p) : p_(p) {}
  size_t scratch_bytes() const override {  // gamma, a sum, and (dgamma, dbeta) of each task
    return static_cast<size_t>(2 + 2 * p_.tasks.count) * static_cast<size_t>(p_.n) * p_.e.wide;
  }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    const RowProblem& p = p_;
    const void* gamma = p.e.parameter(p.has_gamma ? in[2] : nullptr, p.n, 1.0, scratch);
    char* parts = at(scratch, 2 * p.n, p.e.wide);
    pool::parallel_for(p.tasks.count, [&](int64_t task) {
      const int64_t first = p.tasks.begin(task) * p.n;
      char* sums = at(parts, 2 * p.n * task, p.e.wide);
      p.e.table->row_backward(at(in[0], first, p.e.size), at(in[1], first, p.e.size), gamma,
                              at(out[0], first, p.e.size), sums, at(sums, p.n, p.e.wide), p.tasks.size(task), p.n,
                              p.eps, p.centred, p.far);
    });
    if (p.has_gamma) finish(parts, at(scratch, p.n, p.e.wide), out[1]);
    if (p.has_beta) finish(at(parts, p.n, p.e.wide), at(scratch, p.n, p.e.wide), out[1 + p.has_gamma]);
  }

 private:
  void finish(const void* parts, void* room, void* out) const {
    p_.e.table->sum_parts(parts, p_.tasks.count, 2 * p_.n, p_.n, room);
    p_.e.give(room, p_.n, out);
  }
  RowProblem p_;
};

template <class K, bool centred>
std::unique_ptr<Kernel> prepare_rows(const Problem& problem) {
  constexpr bool backward = std::is_same_v<K, Backward>;
  const Spec& x = problem.in[backward ? 1 : 0];
  if (norm_table(x.dtype) == nullptr || x.count() == 0) return nullptr;
  const std::vector<Spec>& with_parameters = backward ? problem.out : problem.in;
  const DType parameters = with_parameters.size() > 1 ? with_parameters[1].dtype : x.dtype;
  return std::make_unique<K>(RowProblem(problem, x, parameters, centred));
}

const Register layer{"layer_norm", "rows", 10, prepare_rows<Forward, true>};
const Register layer_grad{"layer_norm_grad", "rows", 10, prepare_rows<Backward, true>};
const Register rms{"rms_norm", "rows", 10, prepare_rows<Forward, false>};
const Register rms_grad{"rms_norm_grad", "rows", 10, prepare_rows<Backward, false>};

}  // namespace
}  // namespace native
