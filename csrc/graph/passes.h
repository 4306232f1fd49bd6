// Passes: functions from graph to graph. Each is a file in graph/passes that registers itself; they run in
// the order of their stages. NATIVE_DISABLE_PASSES=name,name switches passes off, for tests and to find a
// culprit.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace native {

// Where a pass runs.
struct PassScope {
  bool wanted = true;     // else only where it is asked for by name
  bool cpu_only = false;  // it makes nodes that other devices have no kernels for
  // Regions are not left until the passes of the graph around them are done.
  bool regions_at_once = false;
};

struct Pass {
  int stage;  // ascending
  std::string name;
  void (*run)(Graph&);
  PassScope scope;
};

struct RegisterPass {
  RegisterPass(int stage, const char* name, void (*run)(Graph&), PassScope scope = {});
};

std::vector<Pass> registered_passes();

// Called after each pass with its name ("recorded" at first) and the graph.
using PassObserver = std::function<void(const std::string& name, const Graph& graph)>;

// Which passes run: those that are wanted always or named in `added`, but for those in `disabled`, and for those of
// the CPU only where the graph will run elsewhere.
struct PassChoice {
  std::vector<std::string> disabled, added;
  bool on_cpu = true;
};

// Runs passes over the graph and its regions.
void run_passes(Graph& graph, const PassChoice& choice, const PassObserver& observe = nullptr);

}  // namespace native
