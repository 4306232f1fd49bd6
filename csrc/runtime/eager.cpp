#include "runtime/eager.h"

#include <mutex>
#include <unordered_map>

#include "core/errors.h"
#include "core/fork_mutex.h"

namespace native {
namespace {

struct HashProblem {
  size_t operator()(const Problem& p) const {
    size_t h = std::hash<std::string>{}(p.op) ^ p.attrs.hash();
    auto mix = [&h](size_t v) { h = (h ^ v) * 1099511628211ull; };
    for (const auto* specs : {&p.in, &p.out})
      for (const Spec& spec : *specs) {
        mix(static_cast<size_t>(spec.dtype) + 1000);
        for (int64_t d : spec.shape) mix(static_cast<size_t>(d));
      }
    return h;
  }
};

constexpr size_t kMostKernels = 4096;

struct Cache {
  ForkMutex mutex{ForkMutex::Rank::KernelCache};
  std::unordered_map<Problem, std::shared_ptr<const Kernel>, HashProblem> kernels;
};
Cache& cache() {
  static Cache* all = new Cache;
  return *all;
}

}  // namespace

std::shared_ptr<const Kernel> cached_kernel(const Problem& problem) {
  Cache& all = cache();
  std::lock_guard lock(all.mutex);
  if (auto found = all.kernels.find(problem); found != all.kernels.end()) return found->second;
  std::shared_ptr<const Kernel> kernel = prepare(problem);
  if (all.kernels.size() >= kMostKernels) all.kernels.clear();
  all.kernels.emplace(problem, kernel);
  return kernel;
}

void clear_kernel_cache() {
  std::lock_guard lock(cache().mutex);
  cache().kernels.clear();
}

bool has_kernel(const Problem& problem) { return cached_kernel(problem) != nullptr; }

std::optional<std::vector<Array>> run_eager(const Problem& problem, const std::vector<Array>& inputs) {
  auto kernel = cached_kernel(problem);
  if (!kernel) return std::nullopt;
  const DevicePtr device = inputs.empty() ? cpu_device() : inputs.front().device();
  std::vector<Array> outputs;
  std::vector<const void*> in;
  std::vector<void*> out;
  for (const Array& array : inputs) {
    if (array.device() != device)
      throw UnsupportedError(problem.op + ": operands on '" + device->name() + "' and '" + array.device()->name() +
                             "'");
    in.push_back(device->kernel_address(array.data()));
  }
  for (const Spec& spec : problem.out) {
    outputs.push_back(Array::empty(spec, device));
    out.push_back(device->kernel_address(outputs.back().data()));
  }
  Buffer scratch(cpu_device(), kernel->scratch_bytes());
  kernel->run(in.data(), out.data(), scratch.data());
  return outputs;
}

}  // namespace native
