// What the emulated driver remembers between calls, shared by its parts. Every entry of the driver's table
// that reads or writes it holds a Lock.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "emulator/decode.h"
#include "runtime/driver.h"

namespace native::emulator {

struct Work {
  std::function<cuda::Result()> run;  // null: a mark that an event waits for
  uint64_t mark = 0;
  uint64_t waits_for = 0;  // a mark that must be reached first
};
// What was given to a stream while it was recorded; run when the graph is launched.
struct Node {
  std::string what;
  std::function<cuda::Result(const Order&)> run;
};
struct EmulatedGraph {
  std::vector<Node> nodes;
};
// A recording under way: it is spoilt by calls that cannot be part of a graph.
struct Capture {
  EmulatedGraph graph;
  std::thread::id thread;
  int mode = cuda::kCaptureGlobal;
  bool spoilt = false;
};
struct EmulatedStream {
  std::unique_ptr<Capture> capture;
  std::deque<Work> queue;
  uint32_t index = 0;
  uint64_t given = 0;  // work so far
  Clock before;        // what its next work follows
};
struct EmulatedEvent {
  uint64_t mark = 0;
  Clock before;
};
struct EmulatedFunction {
  ptx::Function* text = nullptr;
  std::unique_ptr<Program> program;  // once somebody has asked for the kernel, or
  std::string refusal;               // why there is none
  size_t most_dynamic = 48 << 10;
};
struct EmulatedModule {
  ptx::Module text;
  Symbols symbols;
  std::vector<cuda::Address> memory;
  std::unordered_map<std::string, std::unique_ptr<EmulatedFunction>> functions;
};

// Calls of the driver since they were cleared.
struct Calls {
  uint64_t launches = 0, graphs = 0, copies = 0, allocations = 0, waits = 0;
};

struct State {
  std::recursive_mutex mutex;
  Memory memory{size_t{8} << 30};
  std::vector<std::unique_ptr<EmulatedStream>> streams;
  std::vector<std::unique_ptr<EmulatedEvent>> events;
  std::vector<std::unique_ptr<EmulatedModule>> modules;
  EmulatedStream null_stream;
  uint64_t marks = 0;
  Origins origins;
  Clock host;        // what the host has waited for
  std::string last;  // explains the last failure
  struct {
    cuda::Result result = cuda::kSuccess;
    std::string why;
  } deferred;  // of work that ran without anybody waiting for it
  Options options;
  Calls calls;
};
State& state();

struct Lock {
  std::lock_guard<std::recursive_mutex> guard{state().mutex};
};

// Remembers the reason for the message of the error.
cuda::Result failure(cuda::Result code, std::string why);
std::string hex(cuda::Address a);

// A call that a recording of this thread, or of that stream, does not allow: spoils it and says so.
cuda::Result spoil_recordings(const char* call, const EmulatedStream* stream = nullptr);

// Work waits in its stream until somebody synchronises. `what` names it in messages.
void enqueue(cuda::Stream stream, std::string what, std::function<cuda::Result(const Order&)> run);
// Work that was refused has a number of its own too.
uint32_t number_refused(const std::string& what);
// Runs everything that waits, in all streams. A failure is told to whoever synchronises next.
void settle();

// The parts of the driver's table.
void fill_devices(cuda::Driver& table);
void fill_memory(cuda::Driver& table);
void fill_streams(cuda::Driver& table);
void fill_modules(cuda::Driver& table);
void fill_graphs(cuda::Driver& table);
void fill_tensor_maps(cuda::Driver& table);

}  // namespace native::emulator
