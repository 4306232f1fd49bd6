// Modules, kernels and their launches.
#include <algorithm>
#include <cstring>

#include "emulator/driver_state.h"
#include "emulator/emulated_driver.h"
#include "emulator/gpus.h"

namespace native::emulator {

using namespace native::cuda;

namespace {

// Throws PtxError; what was allocated is in m.memory.
void load_variables(EmulatedModule& m) {
  for (const ptx::Variable& v : m.text.variables) {
    if (v.space == ptx::Space::Shared) continue;
    const Address a = state().memory.allocate(std::max<size_t>(v.size, 1), v.name);
    if (!a) throw PtxError("variable '" + v.name + "' of " + std::to_string(v.size) + " bytes does not fit the device");
    m.memory.push_back(a);
    m.symbols[v.name] = a;
    uint8_t* data = state().memory.host(a, v.size, true);
    std::memset(data, 0, v.size);
    if (!v.initial.empty()) std::memcpy(data, v.initial.data(), std::min(v.initial.size(), v.size));
    state().memory.find(a)->read_only = v.space == ptx::Space::Const;
  }
  for (const ptx::Variable& v : m.text.variables)
    for (const auto& [offset, name] : v.addresses) {
      if (v.space == ptx::Space::Shared || offset + 8 > v.size || !m.symbols.count(name))
        throw PtxError("variable '" + v.name + "' cannot hold the address of '" + name + "'");
      std::memcpy(state().memory.host(m.symbols[v.name] + offset, 8, true), &m.symbols[name], 8);
    }
}
void free_variables(EmulatedModule& m) {
  for (Address a : m.memory) state().memory.release(a);
}

Result module_load(ModuleHandle* handle, const void* image) {
  Lock lock;
  const char* text = static_cast<const char*>(image);
  if (std::strncmp(text,
                   "\x7f"
                   "ELF",
                   4) == 0)
    return failure(kInvalidImage, "the emulator runs PTX, and this is machine code");
  auto m = std::make_unique<EmulatedModule>();
  try {
    m->text = ptx::parse(text);
    if (!m->text.target.starts_with("sm_")) throw PtxError("PTX without a .target that is known");
    // sm_90a is for GPUs of 9.0 alone.
    const int target = std::atoi(m->text.target.c_str() + 3), capability = emulated_gpu().capability;
    if (target > capability || (m->text.target.ends_with('a') && target != capability))
      return failure(kNoBinaryForGpu, "PTX for " + m->text.target + " on an emulated " + emulated_gpu().name);
    load_variables(*m);
    for (ptx::Function& f : m->text.functions) {
      auto function = std::make_unique<EmulatedFunction>();
      function->text = &f;
      m->functions[f.name] = std::move(function);
    }
    *handle = reinterpret_cast<ModuleHandle>(m.get());
    state().modules.push_back(std::move(m));
    return kSuccess;
  } catch (const PtxError& e) {
    free_variables(*m);
    return failure(kInvalidPtx, e.what());
  }
}
Result module_unload(ModuleHandle handle) {
  Lock lock;
  settle();
  for (auto& m : state().modules)
    if (reinterpret_cast<ModuleHandle>(m.get()) == handle) free_variables(*m);
  std::erase_if(state().modules, [&](auto& m) { return reinterpret_cast<ModuleHandle>(m.get()) == handle; });
  return kSuccess;
}
Result module_function(FunctionHandle* handle, ModuleHandle module, const char* name) {
  Lock lock;
  auto& m = *reinterpret_cast<EmulatedModule*>(module);
  auto found = m.functions.find(name);
  if (found == m.functions.end()) return failure(kNotFound, std::string("no kernel '") + name + "' in the module");
  EmulatedFunction& f = *found->second;
  if (!f.program && f.refusal.empty()) {
    try {
      f.text->body = ptx::parse_body(*f.text);
      f.program = Decoder(m.text, *f.text, m.symbols).program();
    } catch (const PtxError& e) {
      f.refusal = e.what();
    }
  }
  if (!f.program) return failure(kInvalidPtx, f.refusal);
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
Result function_parameter(FunctionHandle handle, size_t k, size_t* offset, size_t* bytes) {
  const auto& f = *reinterpret_cast<EmulatedFunction*>(handle)->text;
  if (k >= f.params.size()) return kInvalidValue;
  *offset = f.param_offset[k];
  if (bytes) *bytes = f.params[k].size;
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
  ++state().calls.launches;
  const Dim3 grid{gx, gy, gz}, block{bx, by, bz};
  if (const std::string why = limit_broken(f, grid, block, shared); !why.empty()) {
    Reports::all().add(number_refused(f.text->name), 0, {Fault::LaunchLimit, f.text->name, "", "", {}, {}, 0, why});
    return failure(kInvalidValue, f.text->name + ": " + why);
  }
  Launch asked;
  asked.program = f.program.get();
  asked.memory = &state().memory;
  asked.grid = grid;
  asked.block = block;
  asked.dynamic_shared = shared;
  asked.options = state().options;
  asked.params.resize(f.text->param_bytes);
  for (size_t k = 0; k < f.text->params.size(); ++k)
    std::memcpy(asked.params.data() + f.text->param_offset[k], params[k], f.text->params[k].size);
  enqueue(s, f.text->name, [asked](const Order& order) -> Result {
    Launch launch = asked;  // a graph runs it again
    launch.id = order.id;
    launch.order = &order;
    const size_t before = Reports::all().count();
    const bool ended = run(launch);
    if (Reports::all().count() == before) return kSuccess;
    const auto reports = Reports::all().list();
    return failure(ended ? kLaunchFailed : kIllegalAddress, to_string(reports[before]));
  });
  return kSuccess;
}

}  // namespace

void fill_modules(Driver& t) {
  t.cuModuleLoadData = module_load;
  t.cuModuleUnload = module_unload;
  t.cuModuleGetFunction = module_function;
  t.cuModuleGetGlobal_v2 = module_global;
  t.cuFuncGetParamInfo = function_parameter;
  t.cuFuncGetAttribute = function_attribute;
  t.cuFuncSetAttribute = function_set;
  t.cuLaunchKernel = launch_kernel;
}

std::vector<Line> counts(const std::string& kernel) {
  Lock lock;
  std::vector<Line> lines;
  // A kernel that several modules have: of the module loaded last.
  for (auto at = state().modules.rbegin(); at != state().modules.rend(); ++at) {
    for (const auto& [name, function] : (*at)->functions) {
      if (!function->program || (!kernel.empty() && name != kernel)) continue;
      const Program& p = *function->program;
      for (size_t pc = 0; pc < p.code.size(); ++pc)
        lines.push_back(
            {name, p.source(static_cast<int>(pc)), p.code[pc].text->opcode(), p.code[pc].kind, p.counts[pc]});
    }
    if (!kernel.empty() && !lines.empty()) break;
  }
  return lines;
}
void clear_counts() {
  Lock lock;
  state().calls = {};
  for (auto& m : state().modules)
    for (auto& [name, f] : m->functions)
      if (f->program) std::fill(f->program->counts.begin(), f->program->counts.end(), Count{});
}

}  // namespace native::emulator
