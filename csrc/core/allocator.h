// Host memory: 64-byte aligned blocks, recently freed ones kept for reuse by size (a training step asks for
// the same sizes again and again, and fresh pages cost a fault each). What is kept and what is in use are together
// no more than was in use at once in the last 10 to 20 seconds before a large block was freed. Thread safe.
#pragma once

#include <cstddef>

namespace native::allocator {

// Throws MemoryLimitError when the request is above what the machine or the cgroup has left, before
// touching it. bytes == 0 gives a valid pointer.
void* allocate(size_t bytes);
void release(void* data, size_t bytes) noexcept;

size_t in_use();  // bytes handed out
size_t peak();
// Gives cached blocks back to the system.
void trim() noexcept;

}  // namespace native::allocator
