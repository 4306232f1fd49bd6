// Work that gives the same result in every run: prepared weights, tables of positions.
#pragma once

#include "graph/graph.h"

namespace native {

// Takes out of `graph` what depends on its steady inputs and constants alone. Returns a graph that computes
// it, from inputs that are some of the steady ones; its outputs are, in order, further inputs at the end of
// graph.inputs. Without outputs when there is too little to be worth keeping.
Graph take_steady(Graph& graph);

}  // namespace native
