#include "runtime/choices.h"

#include <atomic>
#include <map>
#include <mutex>
#include <unordered_map>

#include "core/fork_mutex.h"
#include "runtime/cpu.h"

namespace native {
namespace {

struct Choices {
  ForkMutex mutex{ForkMutex::Rank::Leaf};
  std::map<std::string, std::string> forced;                                             // by primitive
  std::map<std::string, std::unordered_map<Problem, std::string, HashProblem>> choices;  // by instruction set
  std::atomic<bool> any = false;                                                         // without it no lock is taken
};
Choices& choices() {
  static Choices* all = new Choices;
  return *all;
}

}  // namespace

void force_kernel(const std::string& op, const std::string& name) {
  std::lock_guard lock(choices().mutex);
  if (name.empty())
    choices().forced.erase(op);
  else
    choices().forced[op] = name;
  choices().any = true;
}

void choose_kernel(const Problem& problem, const std::string& isa, const std::string& name) {
  std::lock_guard lock(choices().mutex);
  if (name.empty())
    choices().choices[isa].erase(problem);
  else
    choices().choices[isa][problem] = name;
  choices().any = true;
}

Choice choice_of(const Problem& problem) {
  if (!choices().any) return {};
  const std::string isa = name_of(current_isa());
  std::lock_guard lock(choices().mutex);
  if (auto found = choices().forced.find(problem.op); found != choices().forced.end()) return {found->second, true};
  const auto& of_isa = choices().choices[isa];
  auto found = of_isa.find(problem);
  return found == of_isa.end() ? Choice{} : Choice{found->second, false};
}

}  // namespace native
