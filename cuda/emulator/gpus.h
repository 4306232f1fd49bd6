// GPUs by name: the limits that launches are checked against, and the numbers behind estimates.
#pragma once

#include <string>
#include <vector>

namespace native::emulator {

struct Gpu {
  const char* name;
  int capability;  // 80 for 8.0
  int multiprocessors;
  double clock_ghz;
  double gigabytes_a_second;
  double fp32_a_clock;                                         // multiply-adds of one multiprocessor in a clock
  double tensor_a_clock;                                       // of bf16
  int registers, shared_bytes, shared_optin, threads, blocks;  // of a multiprocessor; optin of a block
  size_t l2_bytes;
};
// From the makers' data sheets and the CUDA programming guide's table of compute capabilities.
const std::vector<Gpu>& gpus();
// The one that was chosen; else that which NATIVE_CUDA_GPU names, which cuInit refuses
// if it is not known; else the A100.
const Gpu& emulated_gpu();
void emulate(const Gpu* gpu);  // null: none is chosen any more
const Gpu* find_gpu(const std::string& name);
// What is said of a name that find_gpu does not know.
std::string unknown_gpu(const std::string& name);

struct Occupancy {
  int blocks, warps;  // on one multiprocessor
  double fraction;
  const char* limit;  // what allows no more
};
Occupancy occupancy(const Gpu& gpu, int threads, int registers, size_t shared);

}  // namespace native::emulator
