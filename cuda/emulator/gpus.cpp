#include "emulator/gpus.h"

#include <algorithm>
#include <cstdlib>

namespace native::emulator {

const std::vector<Gpu>& gpus() {
  static const std::vector<Gpu> list = {
      {"A100", 80, 108, 1.41, 1555, 64, 1024, 65536, 164 << 10, 163 << 10, 2048, 32, size_t{40} << 20},
      {"H100", 90, 132, 1.83, 3350, 128, 2048, 65536, 228 << 10, 227 << 10, 2048, 32, size_t{50} << 20},
      {"B200", 100, 148, 1.85, 8000, 128, 4096, 65536, 228 << 10, 227 << 10, 2048, 32, size_t{126} << 20},
      {"RTX5090", 120, 170, 2.41, 1792, 128, 512, 65536, 100 << 10, 99 << 10, 1536, 24, size_t{96} << 20},
  };
  return list;
}

const Gpu* find_gpu(const std::string& name) {
  for (const Gpu& gpu : gpus())
    if (name == gpu.name) return &gpu;
  return nullptr;
}

std::string unknown_gpu(const std::string& name) {
  std::string known;
  for (const Gpu& gpu : gpus()) known += (known.empty() ? "" : ", ") + std::string(gpu.name);
  return "unknown GPU '" + name + "'; known: " + known;
}

namespace {
const Gpu* chosen = nullptr;
}
void emulate(const Gpu* gpu) { chosen = gpu; }

const Gpu& emulated_gpu() {
  if (chosen) return *chosen;
  const char* name = std::getenv("NATIVE_CUDA_GPU");
  const Gpu* found = find_gpu(name ? name : "A100");
  return found ? *found : gpus().front();
}

Occupancy occupancy(const Gpu& gpu, int threads, int registers, size_t shared) {
  const int warps = (threads + 31) / 32;
  // Registers are given to warps in steps of 256, shared memory in steps of 128 bytes and 1 KiB of the system's.
  const int of_warp = (registers * 32 + 255) / 256 * 256;
  const size_t of_block = (shared + 127) / 128 * 128 + 1024;
  const int by_threads = gpu.threads / 32 / std::max(warps, 1);
  const int by_registers = of_warp ? gpu.registers / of_warp / 4 * 4 / std::max(warps, 1) : gpu.blocks;
  const int by_shared = static_cast<int>(gpu.shared_bytes / of_block);
  Occupancy o{gpu.blocks, 0, 0, "blocks"};
  for (const auto& [n, what] :
       {std::pair{by_threads, "threads"}, {by_registers, "registers"}, {by_shared, "shared memory"}})
    if (n < o.blocks) o.blocks = n, o.limit = what;
  o.warps = o.blocks * warps;
  o.fraction = o.warps / (gpu.threads / 32.0);
  return o;
}

}  // namespace native::emulator
