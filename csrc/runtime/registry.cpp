#include "runtime/registry.h"

#include <algorithm>
#include <map>

namespace native {
namespace {

using Table = std::map<std::string, std::vector<KernelEntry>>;

// A function-local static, because registrations run in static initialisers of other units; never
// destroyed, because daemon threads run on while the process ends.
Table& table() {
  static Table* entries = new Table;
  return *entries;
}

}  // namespace

Register::Register(const char* op, const char* name, int priority, Prepare prepare) {
  auto& entries = table()[op];
  // Ties are ordered by name, so that link order never decides.
  auto before = [](const KernelEntry& a, const KernelEntry& b) {
    return a.priority != b.priority ? a.priority > b.priority : a.name < b.name;
  };
  KernelEntry entry{op, name, priority, prepare};
  entries.insert(std::upper_bound(entries.begin(), entries.end(), entry, before), entry);
}

std::unique_ptr<Kernel> prepare(const Problem& problem, std::string* chosen) {
  auto found = table().find(problem.op);
  if (found == table().end()) return nullptr;
  for (const KernelEntry& entry : found->second) {
    if (auto kernel = entry.prepare(problem)) {
      if (chosen) *chosen = entry.name;
      return kernel;
    }
  }
  return nullptr;
}

std::vector<KernelEntry> registered_kernels() {
  std::vector<KernelEntry> all;
  for (const auto& [op, entries] : table()) all.insert(all.end(), entries.begin(), entries.end());
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
