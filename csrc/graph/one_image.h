// Convolutions of a graph whose batch may not be known.
#pragma once

#include <optional>

#include "graph/graph.h"

namespace native {

// The convolution for one image, where its sizes are known; nothing for other nodes.
std::optional<Problem> conv_of_one_image(const Graph& graph, const Node& node);

}  // namespace native
