// Passes: functions from graph to graph. Each is a file in graph/passes that registers itself; they run in
// the order of their stages. NATIVE_DISABLE_PASSES=name,name switches passes off, for tests and to find a
// culprit.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace native {

struct Pass {
  int stage;  // ascending
  std::string name;
  void (*run)(Graph&);
  bool wanted;  // else only where it is asked for by name
};

struct RegisterPass {
  RegisterPass(int stage, const char* name, void (*run)(Graph&), bool wanted = true);
};

std::vector<Pass> registered_passes();

// Called after each pass with its name ("recorded" at first) and the graph.
using PassObserver = std::function<void(const std::string& name, const Graph& graph)>;

// Which passes run: those that are wanted always or named in `added`, but for those in `disabled`.
struct PassChoice {
  std::vector<std::string> disabled, added;
};

// Runs passes over the graph and its regions.
void run_passes(Graph& graph, const PassChoice& choice, const PassObserver& observe = nullptr);

}  // namespace native
