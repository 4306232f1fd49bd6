// Launches recorded as one graph, which the driver is given with one call. Thread safe.
#pragma once

#include "runtime/device.h"

namespace native::cuda {

class GraphObject {
 public:
  // Takes the graph over.
  GraphObject(Device& device, Graph graph);
  ~GraphObject();
  GraphObject(const GraphObject&) = delete;
  GraphObject& operator=(const GraphObject&) = delete;
  // Into the device's stream. All addresses are as they were when it was recorded.
  void launch() const;
  size_t nodes() const { return nodes_; }

 private:
  Device& device_;
  Graph graph_;
  GraphExec handle_ = nullptr;
  size_t nodes_ = 0;
};

}  // namespace native::cuda
