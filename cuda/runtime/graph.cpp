#include "runtime/graph.h"

namespace native::cuda {
namespace {

// The stream that this thread records, of the device that it does so for.
thread_local struct {
  const Device* device = nullptr;
  Stream stream = nullptr;
} recording;

// To end a recording on every path.
struct Recorded {
  Recorded(const Device* device, Stream stream) { recording = {device, stream}; }
  ~Recorded() { recording = {}; }
};

}  // namespace

Stream Device::stream() const { return recording.device == this ? recording.stream : stream_; }

void Device::refuse_recording(const char* what) const {
  if (recording.device == this) throw DeviceError(std::string(what) + " cannot be recorded");
}

std::unique_ptr<GraphObject> Device::record(const std::function<void()>& enqueue) {
  refuse_recording("recording");
  bind();
  constexpr unsigned kNonBlocking = 1;
  Stream stream = nullptr;
  check(driver_.cuStreamCreate(&stream, kNonBlocking), "making a stream");
  const std::unique_ptr<StreamTag, Result (*)(Stream)> owner(stream, driver_.cuStreamDestroy_v2);
  check(driver_.cuStreamBeginCapture_v2(stream, kCaptureThread), "recording launches");
  bool whole = true;
  const auto end = [&] {
    Graph graph = nullptr;
    return driver_.cuStreamEndCapture(stream, &graph) == kSuccess ? graph : nullptr;
  };
  try {
    const Recorded here(this, stream);
    enqueue();
  } catch (const DeviceError&) {
    whole = false;  // it is done without being recorded, and says then what is wrong, if anything
  } catch (...) {
    if (Graph graph = end()) driver_.cuGraphDestroy(graph);
    throw;
  }
  Graph graph = end();
  if (graph && !whole) driver_.cuGraphDestroy(graph);
  return graph && whole ? std::make_unique<GraphObject>(*this, graph) : nullptr;
}

GraphObject::GraphObject(Device& device, Graph graph) : device_(device), graph_(graph) {
  const Driver& driver = device_.driver();
  Result result = driver.cuGraphGetNodes(graph_, nullptr, &nodes_);
  if (result == kSuccess) result = driver.cuGraphInstantiateWithFlags(&handle_, graph_, 0);
  if (result != kSuccess) driver.cuGraphDestroy(graph_);
  check(driver, result, "making a graph of launches");
}

GraphObject::~GraphObject() {
  device_.driver().cuGraphExecDestroy(handle_);
  device_.driver().cuGraphDestroy(graph_);
}

void GraphObject::launch() const {
  device_.bind();
  check(device_.driver(), device_.driver().cuGraphLaunch(handle_, device_.stream()), "launching a graph");
}

}  // namespace native::cuda
