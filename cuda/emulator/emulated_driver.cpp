// The driver's functions over the interpreter. Work given to a stream waits until somebody synchronises,
// so that a host which reads too early, or a stream that forgets to wait for another, sees old data.
#include "emulator/emulated_driver.h"

#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include "emulator/decode.h"
#include "emulator/gpus.h"

namespace native::emulator {
namespace {

using namespace native::cuda;

struct Work {
  std::function<Result()> run;  // null: a mark that an event waits for
  uint64_t mark = 0;
  uint64_t waits_for = 0;  // a mark that must be reached first
};
struct EmulatedStream {
  std::deque<Work> queue;
};
struct EmulatedEvent {
  uint64_t mark = 0;
};
struct EmulatedFunction {
  const ptx::Function* text = nullptr;
  std::unique_ptr<Program> program;
  size_t most_dynamic = 48 << 10;
};
struct EmulatedModule {
  ptx::Module text;
  Symbols symbols;
  std::vector<Address> memory;
  std::unordered_map<std::string, std::unique_ptr<EmulatedFunction>> functions;
};

struct State {
  std::recursive_mutex mutex;
  Memory memory{size_t{8} << 30};
  std::vector<std::unique_ptr<EmulatedStream>> streams;
  std::vector<std::unique_ptr<EmulatedEvent>> events;
  std::vector<std::unique_ptr<EmulatedModule>> modules;
  EmulatedStream null_stream;
  uint64_t marks = 0;
  std::set<uint64_t> reached;
  uint32_t launches = 0;
  std::string last;  // explains the last failure
  Options options;
};
State& state() {
  static State* s = new State;
  return *s;
}
struct Lock {
  std::lock_guard<std::recursive_mutex> guard{state().mutex};
};

Result failure(Result code, std::string why) {
  state().last = std::move(why);
  return code;
}

EmulatedStream& queue_of(Stream s) { return s ? *reinterpret_cast<EmulatedStream*>(s) : state().null_stream; }

// Runs what the stream holds; what it waits for in other streams first.
Result drain(EmulatedStream& s, uint64_t until = 0);
Result reach(uint64_t mark) {
  State& st = state();
  if (mark == 0 || st.reached.count(mark)) return kSuccess;
  Result result = kSuccess;
  auto holds = [&](EmulatedStream& s) {
    for (const Work& w : s.queue)
      if (w.mark == mark) return true;
    return false;
  };
  if (holds(st.null_stream)) return drain(st.null_stream, mark);
  for (auto& s : st.streams)
    if (s && holds(*s)) result = drain(*s, mark);
  return result;
}
Result drain(EmulatedStream& s, uint64_t until) {
  Result result = kSuccess;
  while (!s.queue.empty()) {
    Work w = std::move(s.queue.front());
    s.queue.pop_front();
    if (w.waits_for) reach(w.waits_for);
    if (w.mark) state().reached.insert(w.mark);
    if (w.run && result == kSuccess) result = w.run();
    if (until && w.mark == until) break;
  }
  return result;
}
Result drain_all() {
  State& st = state();
  Result result = drain(st.null_stream);
  for (auto& s : st.streams)
    if (s) {
      const Result r = drain(*s);
      if (result == kSuccess) result = r;
    }
  return result;
}
void enqueue(Stream s, std::function<Result()> run) { queue_of(s).queue.push_back({std::move(run), 0, 0}); }

std::string hex(Address a) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(a));
  return text;
}

// --- devices and contexts

Result init(unsigned) { return kSuccess; }
Result version(int* v) { return *v = 13000, kSuccess; }
Result error_name(Result e, const char** text) {
  static const std::unordered_map<int, const char*> names = {{kSuccess, "CUDA_SUCCESS"},
                                                             {kInvalidValue, "CUDA_ERROR_INVALID_VALUE"},
                                                             {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                             {kInvalidDevice, "CUDA_ERROR_INVALID_DEVICE"},
                                                             {kInvalidImage, "CUDA_ERROR_INVALID_IMAGE"},
                                                             {kNoBinaryForGpu, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
                                                             {kInvalidPtx, "CUDA_ERROR_INVALID_PTX"},
                                                             {kNotFound, "CUDA_ERROR_NOT_FOUND"},
                                                             {kNotReady, "CUDA_ERROR_NOT_READY"},
                                                             {kIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS"},
                                                             {kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED"},
                                                             {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE"}};
  auto found = names.find(e);
  *text = found == names.end() ? nullptr : found->second;
  return found == names.end() ? kInvalidValue : kSuccess;
}
Result device_count(int* n) { return *n = 1, kSuccess; }
Result device_get(DeviceOrdinal* d, int ordinal) { return *d = ordinal, ordinal == 0 ? kSuccess : kInvalidDevice; }
Result device_name(char* name, int length, DeviceOrdinal) {
  std::snprintf(name, length, "emulated %s", emulated_gpu().name);
  return kSuccess;
}
Result device_attribute(int* v, int which, DeviceOrdinal) {
  const Gpu& gpu = emulated_gpu();
  switch (which) {
    case kMaxThreadsPerBlock:
      *v = 1024;
      break;
    case kMaxSharedPerBlock:
      *v = 48 << 10;
      break;
    case kClockRate:
      *v = static_cast<int>(gpu.clock_ghz * 1e6);
      break;
    case kMultiprocessors:
      *v = gpu.multiprocessors;
      break;
    case kL2Bytes:
      *v = static_cast<int>(gpu.l2_bytes);
      break;
    case kMaxThreadsPerMultiprocessor:
      *v = gpu.threads;
      break;
    case kCapabilityMajor:
      *v = gpu.capability / 10;
      break;
    case kCapabilityMinor:
      *v = gpu.capability % 10;
      break;
    case kMaxSharedPerMultiprocessor:
      *v = gpu.shared_bytes;
      break;
    case kMaxRegistersPerMultiprocessor:
      *v = gpu.registers;
      break;
    case kMaxSharedPerBlockOptin:
      *v = gpu.shared_optin;
      break;
    default:
      return kInvalidValue;
  }
  return kSuccess;
}
Result device_memory(size_t* bytes, DeviceOrdinal) { return *bytes = state().memory.capacity(), kSuccess; }
Result context_retain(Context* c, DeviceOrdinal) { return *c = reinterpret_cast<Context>(1), kSuccess; }
Result context_release(DeviceOrdinal) { return kSuccess; }
Result context_set(Context) { return kSuccess; }
Result context_synchronize() {
  Lock lock;
  return drain_all();
}

// --- memory

Result memory_allocate(Address* a, size_t bytes) {
  Lock lock;
  if (bytes == 0) return kInvalidValue;
  *a = state().memory.allocate(bytes);
  return *a ? kSuccess
            : failure(kOutOfMemory, std::to_string(bytes) + " bytes asked for, " +
                                        std::to_string(state().memory.capacity() - state().memory.in_use()) + " left");
}
Result memory_free(Address a) {
  Lock lock;
  const Result r = drain_all();  // as on a device
  if (!state().memory.release(a)) return failure(kInvalidValue, hex(a) + " is no allocation, or was freed before");
  return r;
}
Result memory_info(size_t* available, size_t* total) {
  Lock lock;
  *total = state().memory.capacity();
  *available = *total - state().memory.in_use();
  return kSuccess;
}
Result host_allocate(void** p, size_t bytes, unsigned) {
  *p = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  return *p ? kSuccess : kOutOfMemory;
}
Result host_free(void* p) {
  Lock lock;
  const Result r = drain_all();
  std::free(p);
  return r;
}

Result outside(const char* what, Address a, size_t bytes) {
  const std::string text =
      std::string(what) + " of " + std::to_string(bytes) + " bytes at " + hex(a) + ": " +
      (state().memory.find(a) ? "runs past the end, or the memory was freed" : state().memory.describe(a));
  Reports::all().add(++state().launches, 0, {Fault::OutOfBounds, what, "", "", {}, {}, a, text});
  return failure(kInvalidValue, text);
}
Result copy_in(Address to, const void* from, size_t bytes, Stream s) {
  Lock lock;
  enqueue(s, [=]() -> Result {
    uint8_t* data = state().memory.host(to, bytes, true);
    if (!data) return outside("copy to the device", to, bytes);
    std::memcpy(data, from, bytes);
    return kSuccess;
  });
  return kSuccess;
}
Result copy_out(void* to, Address from, size_t bytes, Stream s) {
  Lock lock;
  enqueue(s, [=]() -> Result {
    const uint8_t* data = state().memory.host(from, bytes, false);
    if (!data) return outside("copy to the host", from, bytes);
    std::memcpy(to, data, bytes);
    return kSuccess;
  });
  return kSuccess;
}
Result copy_within(Address to, Address from, size_t bytes, Stream s) {
  Lock lock;
  enqueue(s, [=]() -> Result {
    const uint8_t* source = state().memory.host(from, bytes, false);
    if (!source) return outside("copy on the device", from, bytes);
    uint8_t* target = state().memory.host(to, bytes, true);
    if (!target) return outside("copy on the device", to, bytes);
    std::memmove(target, source, bytes);
    // What was never written stays so.
    Allocation *a = state().memory.find(from), *b = state().memory.find(to);
    std::memmove(b->written.get() + (to - b->base), a->written.get() + (from - a->base), bytes);
    return kSuccess;
  });
  return kSuccess;
}
Result fill(Address to, unsigned char value, size_t bytes, Stream s) {
  Lock lock;
  enqueue(s, [=]() -> Result {
    uint8_t* data = state().memory.host(to, bytes, true);
    if (!data) return outside("fill", to, bytes);
    std::memset(data, value, bytes);
    return kSuccess;
  });
  return kSuccess;
}

// --- streams and events

Result stream_create(Stream* s, unsigned) {
  Lock lock;
  state().streams.push_back(std::make_unique<EmulatedStream>());
  *s = reinterpret_cast<Stream>(state().streams.back().get());
  return kSuccess;
}
Result stream_destroy(Stream s) {
  Lock lock;
  const Result r = drain(queue_of(s));
  for (auto& each : state().streams)
    if (reinterpret_cast<Stream>(each.get()) == s) each.reset();
  return r;
}
Result stream_synchronize(Stream s) {
  Lock lock;
  return drain(queue_of(s));
}
Result stream_wait(Stream s, Event e, unsigned) {
  Lock lock;
  queue_of(s).queue.push_back({nullptr, 0, reinterpret_cast<EmulatedEvent*>(e)->mark});
  return kSuccess;
}
Result event_create(Event* e, unsigned) {
  Lock lock;
  state().events.push_back(std::make_unique<EmulatedEvent>());
  *e = reinterpret_cast<Event>(state().events.back().get());
  return kSuccess;
}
Result event_destroy(Event e) {
  Lock lock;
  std::erase_if(state().events, [&](auto& each) { return reinterpret_cast<Event>(each.get()) == e; });
  return kSuccess;
}
Result event_record(Event e, Stream s) {
  Lock lock;
  const uint64_t mark = ++state().marks;
  reinterpret_cast<EmulatedEvent*>(e)->mark = mark;
  queue_of(s).queue.push_back({nullptr, mark, 0});
  return kSuccess;
}
Result event_query(Event e) {
  Lock lock;
  const uint64_t mark = reinterpret_cast<EmulatedEvent*>(e)->mark;
  return mark == 0 || state().reached.count(mark) ? kSuccess : kNotReady;
}
Result event_synchronize(Event e) {
  Lock lock;
  return reach(reinterpret_cast<EmulatedEvent*>(e)->mark);
}
Result event_elapsed(float* ms, Event, Event) { return *ms = 0, kSuccess; }

// --- modules

void load_variables(EmulatedModule& m) {
  for (const ptx::Variable& v : m.text.variables) {
    if (v.space == ptx::Space::Shared) continue;
    const Address a = state().memory.allocate(std::max<size_t>(v.size, 1), v.name);
    m.memory.push_back(a);
    m.symbols[v.name] = a;
    uint8_t* data = state().memory.host(a, v.size, true);
    std::memset(data, 0, v.size);
    if (!v.initial.empty()) std::memcpy(data, v.initial.data(), std::min(v.initial.size(), v.size));
    state().memory.find(a)->read_only = v.space == ptx::Space::Const;
  }
  for (const ptx::Variable& v : m.text.variables)
    for (const auto& [offset, name] : v.addresses)
      std::memcpy(state().memory.host(m.symbols[v.name] + offset, 8, true), &m.symbols[name], 8);
}

Result module_load(ModuleHandle* handle, const void* image) {
  Lock lock;
  const char* text = static_cast<const char*>(image);
  if (std::memcmp(text,
                  "\x7f"
                  "ELF",
                  4) == 0)
    return failure(kInvalidImage, "the emulator runs PTX, and this is machine code");
  try {
    auto m = std::make_unique<EmulatedModule>();
    m->text = ptx::parse(text);
    const int target = std::atoi(m->text.target.c_str() + 3);
    if (target > emulated_gpu().capability)
      return failure(kNoBinaryForGpu, "PTX for " + m->text.target + " on an emulated " + emulated_gpu().name);
    load_variables(*m);
    for (const ptx::Function& f : m->text.functions) {
      auto function = std::make_unique<EmulatedFunction>();
      function->text = &f;
      m->functions[f.name] = std::move(function);
    }
    *handle = reinterpret_cast<ModuleHandle>(m.get());
    state().modules.push_back(std::move(m));
    return kSuccess;
  } catch (const PtxError& e) {
    return failure(kInvalidPtx, e.what());
  }
}
Result module_unload(ModuleHandle handle) {
  Lock lock;
  const Result r = drain_all();
  for (auto& m : state().modules)
    if (reinterpret_cast<ModuleHandle>(m.get()) == handle)
      for (Address a : m->memory) state().memory.release(a);
  std::erase_if(state().modules, [&](auto& m) { return reinterpret_cast<ModuleHandle>(m.get()) == handle; });
  return r;
}
Result module_function(FunctionHandle* handle, ModuleHandle module, const char* name) {
  Lock lock;
  auto& m = *reinterpret_cast<EmulatedModule*>(module);
  auto found = m.functions.find(name);
  if (found == m.functions.end()) return failure(kNotFound, std::string("no kernel '") + name + "' in the module");
  EmulatedFunction& f = *found->second;
  try {
    if (!f.program) f.program = Decoder(m.text, *f.text, m.symbols).program();
  } catch (const PtxError& e) {
    return failure(kInvalidPtx, e.what());
  }
  *handle = reinterpret_cast<FunctionHandle>(&f);
  return kSuccess;
}
Result module_global(Address* a, size_t* bytes, ModuleHandle module, const char* name) {
  Lock lock;
  auto& m = *reinterpret_cast<EmulatedModule*>(module);
  auto found = m.symbols.find(name);
  if (found == m.symbols.end()) return failure(kNotFound, std::string("no variable '") + name + "' in the module");
  *a = found->second;
  if (bytes) *bytes = state().memory.find(*a)->size;
  return kSuccess;
}
Result function_attribute(int* v, int which, FunctionHandle handle) {
  const auto& f = *reinterpret_cast<EmulatedFunction*>(handle);
  switch (which) {
    case kFuncMaxThreads:
      *v = f.text->max_threads ? f.text->max_threads : 1024;
      break;
    case kFuncSharedBytes:
      *v = static_cast<int>(f.program->static_shared);
      break;
    case kFuncLocalBytes:
      *v = static_cast<int>(f.program->local_bytes);
      break;
    case kFuncMaxDynamicShared:
      *v = static_cast<int>(f.most_dynamic);
      break;
    default:
      return kInvalidValue;
  }
  return kSuccess;
}
Result function_set(FunctionHandle handle, int which, int value) {
  auto& f = *reinterpret_cast<EmulatedFunction*>(handle);
  if (which != kFuncMaxDynamicShared) return kInvalidValue;
  if (value + f.program->static_shared > static_cast<size_t>(emulated_gpu().shared_optin))
    return failure(kInvalidValue, f.text->name + ": " + std::to_string(value) + " bytes of shared memory on an " +
                                      emulated_gpu().name + ", which has " +
                                      std::to_string(emulated_gpu().shared_optin));
  f.most_dynamic = value;
  return kSuccess;
}

std::string limit_broken(const EmulatedFunction& f, const Dim3& grid, const Dim3& block, size_t shared) {
  const uint64_t threads = block.count();
  if (grid.count() == 0 || threads == 0) return "an empty grid or block";
  if (threads > 1024 || block.z > 64) return std::to_string(threads) + " threads in a block";
  if (grid.y > 65535 || grid.z > 65535 || grid.x > 0x7FFFFFFFu) return "grid too large in one dimension";
  if (f.text->max_threads && threads > static_cast<uint64_t>(f.text->max_threads))
    return std::to_string(threads) + " threads, compiled for at most " + std::to_string(f.text->max_threads);
  if (shared > f.most_dynamic || shared + f.program->static_shared > static_cast<size_t>(emulated_gpu().shared_optin))
    return std::to_string(shared) + " bytes of dynamic shared memory, " + std::to_string(f.most_dynamic) +
           " allowed (see cuFuncSetAttribute)";
  return {};
}

Result launch_kernel(FunctionHandle handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                     unsigned bz, unsigned shared, Stream s, void** params, void** extra) {
  Lock lock;
  auto& f = *reinterpret_cast<EmulatedFunction*>(handle);
  if (extra) return kInvalidValue;
  const Dim3 grid{gx, gy, gz}, block{bx, by, bz};
  if (const std::string why = limit_broken(f, grid, block, shared); !why.empty()) {
    Reports::all().add(++state().launches, 0, {Fault::LaunchLimit, f.text->name, "", "", {}, {}, 0, why});
    return failure(kInvalidValue, f.text->name + ": " + why);
  }
  auto launch = std::make_shared<Launch>();
  launch->program = f.program.get();
  launch->memory = &state().memory;
  launch->grid = grid;
  launch->block = block;
  launch->dynamic_shared = shared;
  launch->options = state().options;
  launch->id = ++state().launches;
  launch->params.resize(f.text->param_bytes);
  for (size_t k = 0; k < f.text->params.size(); ++k)
    std::memcpy(launch->params.data() + f.text->param_offset[k], params[k], f.text->params[k].size);
  enqueue(s, [launch]() -> Result {
    const size_t before = Reports::all().count();
    const bool ended = run(*launch);
    if (Reports::all().count() == before) return kSuccess;
    const auto reports = Reports::all().list();
    return failure(ended ? kLaunchFailed : kIllegalAddress, to_string(reports[before]));
  });
  return kSuccess;
}

std::string explain() {
  Lock lock;
  return std::exchange(state().last, {});
}

}  // namespace

Options& options() { return state().options; }

std::vector<Line> counts(const std::string& kernel) {
  Lock lock;
  std::vector<Line> lines;
  for (auto& m : state().modules) {
    auto found = m->functions.find(kernel);
    if (found == m->functions.end() || !found->second->program) continue;
    const Program& p = *found->second->program;
    for (size_t pc = 0; pc < p.code.size(); ++pc)
      lines.push_back({p.source(static_cast<int>(pc)), p.code[pc].text->opcode(), p.code[pc].kind, p.counts[pc]});
    break;
  }
  return lines;
}
void clear_counts() {
  Lock lock;
  for (auto& m : state().modules)
    for (auto& [name, f] : m->functions)
      if (f->program) std::fill(f->program->counts.begin(), f->program->counts.end(), Count{});
}

Driver driver_table() {
  Driver t;
  t.cuInit = init;
  t.cuDriverGetVersion = version;
  t.cuGetErrorName = error_name;
  t.cuGetErrorString = error_name;
  t.cuDeviceGetCount = device_count;
  t.cuDeviceGet = device_get;
  t.cuDeviceGetName = device_name;
  t.cuDeviceGetAttribute = device_attribute;
  t.cuDeviceTotalMem_v2 = device_memory;
  t.cuDevicePrimaryCtxRetain = context_retain;
  t.cuDevicePrimaryCtxRelease_v2 = context_release;
  t.cuCtxSetCurrent = context_set;
  t.cuCtxSynchronize = context_synchronize;
  t.cuMemAlloc_v2 = memory_allocate;
  t.cuMemFree_v2 = memory_free;
  t.cuMemGetInfo_v2 = memory_info;
  t.cuMemHostAlloc = host_allocate;
  t.cuMemFreeHost = host_free;
  t.cuMemcpyHtoDAsync_v2 = copy_in;
  t.cuMemcpyDtoHAsync_v2 = copy_out;
  t.cuMemcpyDtoDAsync_v2 = copy_within;
  t.cuMemsetD8Async = fill;
  t.cuStreamCreate = stream_create;
  t.cuStreamDestroy_v2 = stream_destroy;
  t.cuStreamSynchronize = stream_synchronize;
  t.cuStreamWaitEvent = stream_wait;
  t.cuEventCreate = event_create;
  t.cuEventDestroy_v2 = event_destroy;
  t.cuEventRecord = event_record;
  t.cuEventQuery = event_query;
  t.cuEventSynchronize = event_synchronize;
  t.cuEventElapsedTime = event_elapsed;
  t.cuModuleLoadData = module_load;
  t.cuModuleUnload = module_unload;
  t.cuModuleGetFunction = module_function;
  t.cuModuleGetGlobal_v2 = module_global;
  t.cuFuncGetAttribute = function_attribute;
  t.cuFuncSetAttribute = function_set;
  t.cuLaunchKernel = launch_kernel;
  t.emulated = true;
  t.explain = explain;
  return t;
}

}  // namespace native::emulator
