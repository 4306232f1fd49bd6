// A device that has no kernel for a problem of its own borrows the CPU's: operands are copied to the host,
// the CPU's kernel runs, results are copied back. Counted, so that it can be said and tested. Thread safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/array.h"
#include "runtime/registry.h"

namespace native {

// The device's kernel for the problem; else the CPU's by way of the host, `chosen` then being
// "cpu:<name>"; nullptr when there is neither.
std::unique_ptr<Kernel> prepare_on(const DevicePtr& device, const Problem& problem, std::string* chosen = nullptr);

// Whether a kernel that prepare_on chose borrows the CPU's.
bool borrowed(const std::string& chosen);

// What computes such problems on the device itself by other means, asked before the CPU's kernel. It gets
// addresses of the device, and says whether it did it.
using LongTail = std::function<bool(const Problem& problem, const void* const* in, void* const* out)>;
void set_long_tail(LongTail compute);

// How often each primitive ran by way of the host so far.
std::map<std::string, int64_t> runs_through_host();

}  // namespace native
