#include "runtime/registry.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "core/fork_mutex.h"

namespace native {
namespace {

using Entries = std::vector<KernelEntry>;

// Kernels of one device are registered before any of them is looked for; the lock is for other devices'.
struct Table {
  ForkMutex mutex{ForkMutex::Rank::Leaf};
  std::map<std::string, std::map<std::string, Entries>> entries;  // by device and primitive
};
// A function-local static, because registrations run in static initialisers of other units; never
// destroyed, because daemon threads run on while the process ends.
Table& table() {
  static Table* all = new Table;
  return *all;
}

const std::map<std::string, Entries>& entries_of(const std::string& device) {
  std::lock_guard lock(table().mutex);
  return table().entries[device];
}

}  // namespace

void register_kernel(const KernelEntry& entry) {
  std::lock_guard lock(table().mutex);
  Entries& entries = table().entries[entry.device][entry.op];
  // Ties are ordered by name, so that link order never decides.
  auto before = [](const KernelEntry& a, const KernelEntry& b) {
    return a.priority != b.priority ? a.priority > b.priority : a.name < b.name;
  };
  entries.insert(std::upper_bound(entries.begin(), entries.end(), entry, before), entry);
}

Register::Register(const char* op, const char* name, int priority, Prepare prepare) {
  register_kernel({op, name, priority, prepare});
}

std::unique_ptr<Kernel> prepare(const Problem& problem, std::string* chosen, const std::string& device) {
  const auto& of_device = entries_of(device);
  auto found = of_device.find(problem.op);
  if (found == of_device.end()) return nullptr;
  for (const KernelEntry& entry : found->second) {
    if (auto kernel = entry.prepare(problem)) {
      if (chosen) *chosen = entry.name;
      return kernel;
    }
  }
  return nullptr;
}

std::vector<KernelEntry> registered_kernels(const std::string& device) {
  std::vector<KernelEntry> all;
  for (const auto& [op, entries] : entries_of(device)) all.insert(all.end(), entries.begin(), entries.end());
  return all;
}

std::string to_string(const Problem& problem) {
  auto list = [](const std::vector<Spec>& specs) {
    std::string text;
    for (size_t i = 0; i < specs.size(); ++i) text += (i ? ", " : "") + to_string(specs[i]);
    return text;
  };
  return problem.op + "(" + list(problem.in) + ") -> " + list(problem.out);
}

}  // namespace native
