// Control flow inside an executable: cond, while_loop and scan over compiled bodies.
#pragma once

#include "runtime/plan.h"
#include "runtime/run.h"

namespace native {

// Runs a region step. Operands are pointers in the device's address space:
//   cond        in: predicate, captured...; regions: then, else, each over all the captured
//   while_loop  in: loop values (attr "carried" of them), captured of the test (attr "test_captured"),
//               captured of the body; regions: test, body; attr "limit": most iterations, -1 for none
//   scan        in: carried (attr "carried"), stacked (attr "stacked"), captured; out: carried, stacked
//               results; region: body over (carried, one slice of each stacked, captured); attrs "length",
//               "reverse"
void run_region(const BoundStep& step, const Plan& plan, const DevicePtr& device, const void* const* in,
                void* const* out, Run& run);
// The branch of a cond that its predicate chooses.
const Executable& taken_branch(const BoundStep& step, const DevicePtr& device, const void* predicate);

}  // namespace native
