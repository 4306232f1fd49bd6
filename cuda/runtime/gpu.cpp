#include "runtime/gpu.h"

#include "runtime/device.h"
#include "runtime/graph.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

std::vector<KernelEntry>& entries() {
  static auto* all = new std::vector<KernelEntry>;
  return *all;
}
const Companion* companion = nullptr;

Address address(const void* data) { return reinterpret_cast<Address>(data); }

class GraphRecording final : public Recording {
 public:
  explicit GraphRecording(std::unique_ptr<GraphObject> graph) : graph_(std::move(graph)) {}
  void replay() const override { graph_->launch(); }

 private:
  const std::unique_ptr<GraphObject> graph_;
};

class Gpu final : public native::Device {
 public:
  explicit Gpu(int ordinal) : ordinal_(ordinal), device_(cuda::device(ordinal)) {}

  std::string name() const override { return "gpu:" + std::to_string(ordinal_); }
  std::string kernels() const override { return kKernels; }

  void* allocate(size_t bytes) override { return reinterpret_cast<void*>(device_.allocate(bytes)); }
  void release(void* data, size_t) noexcept override { device_.release(address(data)); }
  void copy_in(void* to, const void* from, size_t bytes) override { device_.copy_in(address(to), from, bytes); }
  void copy_out(void* to, const void* from, size_t bytes) override { device_.copy_out(to, address(from), bytes); }
  void copy(void* to, const void* from, size_t bytes) override { device_.copy(address(to), address(from), bytes); }
  void wait() override { device_.synchronize(); }

  std::unique_ptr<Recording> record(const std::function<void()>& enqueue) override {
    auto graph = device_.record(enqueue);
    return graph ? std::make_unique<GraphRecording>(std::move(graph)) : nullptr;
  }
  bool records() const override { return true; }

 private:
  const int ordinal_;
  cuda::Device& device_;
};

}  // namespace

RegisterCuda::RegisterCuda(const char* op, const char* name, int priority, Prepare prepare) {
  entries().push_back({op, name, priority, prepare, kKernels});
}
RegisterCuda::RegisterCuda(std::initializer_list<const char*> ops, const char* name, int priority, Prepare prepare) {
  for (const char* op : ops) RegisterCuda(op, name, priority, prepare);
}

void attach(const Companion& core) {
  if (core.version != kCompanionVersion)
    throw DeviceError("keras_native._cuda and keras_native._core are of different versions (" +
                      std::to_string(kCompanionVersion) + " and " + std::to_string(core.version) +
                      "): install both from one build");
  if (companion) return;
  if (image_names().empty())
    throw DeviceError("the GPU part of this build has no kernels: it was made without nvcc. Build it where nvcc is.");
  auto gpu = std::make_shared<Gpu>(0);  // first of all, because it may fail
  for (const KernelEntry& entry : entries()) core.register_kernel(entry);
  core.register_device(gpu);
  companion = &core;
}

std::string tile_program(const Problem& problem) { return companion->tile_program(problem); }

}  // namespace native::cuda
