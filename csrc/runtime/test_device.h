// A second device for tests: it runs the CPU's kernels, but its memory has addresses that fault when the
// host touches them, so that a missing copy or a forgotten device shows at once.
#pragma once

namespace native {

// Registers "test:0" (once). Throws UnsupportedError where the system cannot map memory that way.
void register_test_device();

}  // namespace native
