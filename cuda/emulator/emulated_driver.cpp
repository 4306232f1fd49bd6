#include "emulator/emulated_driver.h"

#include <cstdio>
#include <utility>

#include "emulator/driver_state.h"

namespace native::emulator {

using namespace native::cuda;

State& state() {
  static State* s = new State;
  return *s;
}

Result failure(Result code, std::string why) {
  state().last = std::move(why);
  return code;
}

std::string hex(Address a) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(a));
  return text;
}

namespace {

std::string explain() {
  Lock lock;
  return std::exchange(state().last, {});
}

}  // namespace

std::vector<std::pair<const char*, uint64_t>> calls() {
  Lock lock;
  const Calls& c = state().calls;
  return {{"launches", c.launches},
          {"graphs", c.graphs},
          {"copies", c.copies},
          {"allocations", c.allocations},
          {"waits", c.waits}};
}

Options& options() { return state().options; }

Driver driver_table() {
  Driver t;
  for (auto fill : {fill_devices, fill_memory, fill_streams, fill_modules, fill_graphs, fill_tensor_maps}) fill(t);
  t.emulated = true;
  t.explain = explain;
  return t;
}

}  // namespace native::emulator
