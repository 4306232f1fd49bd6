#include "runtime/eager.h"

#include <map>
#include <mutex>
#include <unordered_map>

#include "core/errors.h"
#include "core/fork_mutex.h"
#include "runtime/through_host.h"

namespace native {
namespace {

constexpr size_t kMostKernels = 4096;

using Kernels = std::unordered_map<Problem, std::shared_ptr<const Kernel>, HashProblem>;
struct Cache {
  ForkMutex mutex{ForkMutex::Rank::KernelCache};
  std::map<DevicePtr, Kernels> kernels;
};
Cache& cache() {
  static Cache* all = new Cache;
  return *all;
}

}  // namespace

std::shared_ptr<const Kernel> cached_kernel(const Problem& problem, const DevicePtr& device) {
  std::lock_guard lock(cache().mutex);
  Kernels& kernels = cache().kernels[device];
  if (auto found = kernels.find(problem); found != kernels.end()) return found->second;
  std::shared_ptr<const Kernel> kernel = prepare_on(device, problem);
  if (kernels.size() >= kMostKernels) kernels.clear();
  kernels.emplace(problem, kernel);
  return kernel;
}

void clear_kernel_cache() {
  std::lock_guard lock(cache().mutex);
  cache().kernels.clear();
}

bool has_kernel(const Problem& problem) { return cached_kernel(problem) != nullptr; }

std::optional<std::vector<Array>> run_eager(const Problem& problem, const std::vector<Array>& inputs) {
  DevicePtr device = cpu_device();
  for (const Array& array : inputs)
    if (array.device() != cpu_device()) device = array.device();
  auto kernel = cached_kernel(problem, device);
  if (!kernel) return std::nullopt;
  std::vector<Array> brought;
  std::vector<Array> outputs;
  std::vector<const void*> in;
  std::vector<void*> out;
  for (const Array& array : inputs) {
    if (array.device() != device) brought.push_back(array.to(device));
    const Array& here = array.device() == device ? array : brought.back();
    in.push_back(device->kernel_address(here.data()));
  }
  try {
    for (const Spec& spec : problem.out) {
      outputs.push_back(Array::empty(spec, device));
      out.push_back(device->kernel_address(outputs.back().data()));
    }
    Buffer scratch(device, kernel->scratch_bytes());
    kernel->run(in.data(), out.data(), device->kernel_address(scratch.data()));
  } catch (const MemoryLimitError& error) {
    throw MemoryLimitError(std::string(error.what()) + ", for " + to_string(problem));
  }
  return outputs;
}

}  // namespace native
