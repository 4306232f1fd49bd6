// A reduction over any axes as a chain of simple ones.
#pragma once

#include <algorithm>
#include <vector>

#include "core/attrs.h"
#include "core/shape.h"

namespace native {

// Contiguous [outer, reduced, inner] to [outer, inner].
struct Stage {
  int64_t outer, reduced, inner;
  int64_t results() const { return outer * inner; }
};

// Innermost reduced axes first, so that each stage reads contiguous memory; neighbouring axes are one. At
// least one stage. `tail` elements belong together at the end (2 for complex numbers).
inline std::vector<Stage> stages_of(const Shape& dims, const Ints& axes, int64_t tail = 1) {
  struct Group {
    int64_t size;
    bool reduced;
  };
  std::vector<Group> groups;
  for (size_t i = 0; i < dims.size(); ++i) {
    const bool reduced = std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) != axes.end();
    if (dims[i] == 1) continue;
    if (!groups.empty() && groups.back().reduced == reduced)
      groups.back().size *= dims[i];
    else
      groups.push_back({dims[i], reduced});
  }
  std::vector<Stage> stages;
  int64_t inner = tail;
  while (!groups.empty()) {
    const Group last = groups.back();
    groups.pop_back();
    if (!last.reduced) {
      inner *= last.size;
      continue;
    }
    int64_t outer = 1;
    for (const Group& g : groups) outer *= g.size;
    stages.push_back({outer, last.size, inner});
  }
  if (stages.empty()) stages.push_back({1, 1, inner});
  return stages;
}

// The columns of narrow operands are taken several rows at a time: [reduced, inner] is also
// [reduced / g, g * inner], whose rows fill vectors. The smallest such g, a power of 2, for rows of `width`; 1 for wide
// ones.
inline int64_t rows_together(const Stage& stage, int64_t width = 128) {
  int64_t together = 1;
  if (stage.inner >= width) return 1;
  while (together * stage.inner < width || (together < 16 && together * stage.inner % 16 != 0 && stage.inner < 128))
    together *= 2;
  return stage.reduced >= 4 * together ? together : 1;
}

}  // namespace native
