// The driver's table over the emulator, and what a developer may ask it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "emulator/machine.h"
#include "runtime/driver.h"

namespace native::emulator {

cuda::Driver driver_table();

Options& options();
// Counts of the instructions that a kernel, or with "" every kernel loaded, ran since then or since they were
// cleared; empty if there is no such kernel.
struct Line {
  std::string kernel, source, opcode;
  Class kind;
  Count count;
};
std::vector<Line> counts(const std::string& kernel);
// Sets those and the driver's calls to zero.
void clear_counts();
// How often each kind of call of the driver was made: name, times.
std::vector<std::pair<const char*, uint64_t>> calls();

}  // namespace native::emulator
