#include "runtime/registry.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "core/fork_mutex.h"
#include "runtime/choices.h"

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

// The first that accepts, of those with that name if one is given.
std::unique_ptr<Kernel> first_of(const Entries& entries, const Problem& problem, std::string* chosen,
                                 const std::string& name = "") {
  for (const KernelEntry& entry : entries) {
    if (name.empty() ? entry.priority < 0 : entry.name != name) continue;
    if (auto kernel = entry.prepare(problem)) {
      if (chosen) *chosen = entry.name;
      return kernel;
    }
  }
  return nullptr;
}

}  // namespace

size_t HashProblem::operator()(const Problem& p) const {
  size_t h = std::hash<std::string>{}(p.op) ^ p.attrs.hash();
  auto mix = [&h](size_t v) { h = (h ^ v) * 1099511628211ull; };
  for (const auto* specs : {&p.in, &p.out})
    for (const Spec& spec : *specs) {
      mix(static_cast<size_t>(spec.dtype) + 1000);
      for (int64_t d : spec.shape) mix(static_cast<size_t>(d));
    }
  return h;
}

void register_kernel(const KernelEntry& entry) {
  std::lock_guard lock(table().mutex);
  Entries& entries = table().entries[entry.device][entry.op];
  // Ties are ordered by name, so that link order never decides.
  auto before = [](const KernelEntry& a, const KernelEntry& b) {
    return a.priority != b.priority ? a.priority > b.priority : a.name < b.name;
  };
  entries.insert(std::upper_bound(entries.begin(), entries.end(), entry, before), entry);
}

Register::Register(const char* op, const char* name, int priority, Prepare prepare, const char* problems) {
  register_kernel({op, name, priority, prepare, "cpu", problems});
}

Register::Register(std::initializer_list<const char*> ops, const char* name, int priority, Prepare prepare,
                   const char* problems) {
  for (const char* op : ops) Register(op, name, priority, prepare, problems);
}

std::unique_ptr<Kernel> prepare(const Problem& problem, std::string* chosen, const std::string& device) {
  const auto& of_device = entries_of(device);
  auto found = of_device.find(problem.op);
  if (found == of_device.end()) return nullptr;
  if (const Choice choice = device == "cpu" ? choice_of(problem) : Choice{}; !choice.name.empty()) {
    auto kernel = first_of(found->second, problem, chosen, choice.name);
    if (kernel || choice.forced) return kernel;
  }
  return first_of(found->second, problem, chosen);
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
