#include "runtime/through_host.h"

#include <mutex>
#include <vector>

#include "core/fork_mutex.h"

namespace native {
namespace {

struct Counts {
  ForkMutex mutex{ForkMutex::Rank::Leaf};
  std::map<std::string, int64_t> runs;
};
Counts& counts() {
  static Counts* all = new Counts;
  return *all;
}

LongTail& long_tail() {
  static LongTail* compute = new LongTail;
  return *compute;
}

class ThroughHost final : public Kernel {
 public:
  ThroughHost(DevicePtr device, const Problem& problem, std::unique_ptr<Kernel> kernel)
      : device_(std::move(device)), problem_(problem), kernel_(std::move(kernel)) {}

  void run(const void* const* in, void* const* out, void*) const override {
    if (long_tail() && long_tail()(problem_, in, out)) return;
    std::vector<Array> held;
    std::vector<const void*> from;
    std::vector<void*> to;
    for (size_t i = 0; i < problem_.in.size(); ++i) {
      held.push_back(Array::empty(problem_.in[i]));
      device_->copy_out(held.back().data(), in[i], problem_.in[i].bytes());
      from.push_back(held.back().data());
    }
    for (const Spec& spec : problem_.out) {
      held.push_back(Array::empty(spec));
      to.push_back(held.back().data());
    }
    Buffer scratch(cpu_device(), kernel_->scratch_bytes());
    kernel_->run(from.data(), to.data(), scratch.data());
    for (size_t i = 0; i < to.size(); ++i) device_->copy_in(out[i], to[i], problem_.out[i].bytes());
    std::lock_guard lock(counts().mutex);
    ++counts().runs[problem_.op];
  }

 private:
  const DevicePtr device_;
  const Problem problem_;
  const std::unique_ptr<Kernel> kernel_;
};

constexpr const char* kBorrowed = "cpu:";

}  // namespace

bool borrowed(const std::string& chosen) { return chosen.starts_with(kBorrowed); }

void set_long_tail(LongTail compute) { long_tail() = std::move(compute); }

std::unique_ptr<Kernel> prepare_on(const DevicePtr& device, const Problem& problem, std::string* chosen) {
  const std::string own = device->kernels();
  if (auto kernel = prepare(problem, chosen, own)) return kernel;
  if (own == cpu_device()->kernels()) return nullptr;
  auto kernel = prepare(problem, chosen);
  if (!kernel) return nullptr;
  if (chosen) *chosen = kBorrowed + *chosen;
  return std::make_unique<ThroughHost>(device, problem, std::move(kernel));
}

std::map<std::string, int64_t> runs_through_host() {
  std::lock_guard lock(counts().mutex);
  return counts().runs;
}

}  // namespace native
