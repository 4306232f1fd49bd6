// Recording of what is given to a stream, and launches of what was recorded.
#include <algorithm>

#include "emulator/driver_state.h"

namespace native::emulator {

using namespace native::cuda;

namespace {

EmulatedStream* stream_of(Stream s) { return reinterpret_cast<EmulatedStream*>(s); }
EmulatedGraph* graph_of(Graph g) { return reinterpret_cast<EmulatedGraph*>(g); }
EmulatedGraph* graph_of(GraphExec g) { return reinterpret_cast<EmulatedGraph*>(g); }

Result begin(Stream s, int mode) {
  Lock lock;
  if (!s) return failure(kCaptureUnsupported, "the null stream cannot be recorded");
  if (stream_of(s)->capture) return failure(kInvalidValue, "the stream is recorded already");
  stream_of(s)->capture = std::make_unique<Capture>(Capture{{}, std::this_thread::get_id(), mode, false});
  return kSuccess;
}

Result end(Stream s, Graph* graph) {
  Lock lock;
  *graph = nullptr;
  if (!s || !stream_of(s)->capture) return failure(kCaptureUnmatched, "the stream is not recorded");
  const auto capture = std::move(stream_of(s)->capture);
  if (capture->spoilt) return failure(kCaptureInvalidated, "a call that cannot be recorded was made meanwhile");
  *graph = reinterpret_cast<Graph>(new EmulatedGraph(std::move(capture->graph)));
  return kSuccess;
}

Result nodes(Graph graph, GraphNode* list, size_t* count) {
  if (list) return failure(kInvalidValue, "the emulator counts nodes and does not list them");
  *count = graph_of(graph)->nodes.size();
  return kSuccess;
}

Result instantiate(GraphExec* made, Graph graph, unsigned long long) {
  *made = reinterpret_cast<GraphExec>(new EmulatedGraph(*graph_of(graph)));
  return kSuccess;
}

Result launch(GraphExec graph, Stream s) {
  Lock lock;
  if (s && stream_of(s)->capture) return spoil_recordings("cuGraphLaunch", stream_of(s));
  ++state().calls.graphs;
  for (const Node& node : graph_of(graph)->nodes) enqueue(s, node.what, node.run);
  return kSuccess;
}

Result destroy(Graph graph) { return delete graph_of(graph), kSuccess; }
Result destroy_made(GraphExec graph) { return delete graph_of(graph), kSuccess; }

}  // namespace

Result spoil_recordings(const char* call, const EmulatedStream* stream) {
  const auto me = std::this_thread::get_id();
  Result result = kSuccess;
  for (auto& each : state().streams) {
    if (!each || !each->capture) continue;
    Capture& capture = *each->capture;
    const bool mine = capture.mode == kCaptureGlobal || (capture.mode == kCaptureThread && capture.thread == me);
    if (each.get() != stream && !mine) continue;
    capture.spoilt = true;
    result = failure(kCaptureUnsupported, std::string(call) + " cannot be recorded");
  }
  return result;
}

void fill_graphs(Driver& t) {
  t.cuStreamBeginCapture_v2 = begin;
  t.cuStreamEndCapture = end;
  t.cuGraphGetNodes = nodes;
  t.cuGraphInstantiateWithFlags = instantiate;
  t.cuGraphLaunch = launch;
  t.cuGraphExecDestroy = destroy_made;
  t.cuGraphDestroy = destroy;
}

}  // namespace native::emulator
