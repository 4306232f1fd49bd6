// Every tile of the products, with its reasons. Plain data, for device and host.
//
// m x n: results of a block. depth: terms of a stage. stages: tiles of operands in shared memory at once.
// blocks: so many share a multiprocessor, which bounds the registers.
// Limits: 255 registers a thread and 64 K a multiprocessor; shared memory of a multiprocessor is 164 KiB on
// sm_80, 228 on sm_90 and sm_100, 100 on sm_120.
#pragma once

namespace native::cuda::gemm {

struct Tile {
  int m, n, depth, stages, threads, blocks;
};

// Times: an H100, products of 4096 (bench/NOTES.md).
// Exact float32, 8 results by 8 of a thread: 4 loads of 16 bytes from shared memory feed 64 multiply-adds. 64
// sums, two buffers of 16 operands and addresses stay below 128 registers, so that two blocks of 256 threads
// share a multiprocessor: 44.5 TFLOP/s (one block with more registers 41.5, depth 8 in 5 stages 42.4, 4 stages
// 44.3).
constexpr Tile kExactLarge{128, 128, 16, 3, 256, 2};
// 8 rows by 16 columns of a thread: 6 loads feed 128 multiply-adds. 128 sums, two buffers of 24 operands and addresses
// take up to 230 registers; two blocks of 128 threads share a multiprocessor, and where one has it alone it waits for
// its own loads (8x14x14x1024 to 256 channels 57 us, with the tile above 36): for products of many blocks. 47.2
// TFLOP/s, and 48 with A transposed (4 stages 47.0, depth 8 in 5 stages 45.4; 16 rows by 8 columns 46.6, depth 8 in 6
// stages 45.9, but 49.3 with A transposed; copies spread over the steps of a tile 38.9 to 42.3).
constexpr Tile kExactWide{128, 128, 16, 3, 128, 2};
// kExactLarge where addresses of windows want more registers: 128 would spill.
constexpr Tile kExactWindows{128, 128, 16, 3, 256, 1};
// A quarter of the results in half of the threads (8 by 4): for problems that large tiles would not spread
// over a GPU; at 512 in 21.7 us, large ones in 58.9 (64 threads of 8 by 8: 33.8).
constexpr Tile kExactSmall{64, 64, 16, 4, 128, 4};
// 96 registers are enough over windows, without spills: a fifth block.
constexpr Tile kExactSmallWindows{64, 64, 16, 4, 128, 5};

// Tensor cores: 4 warps of 64x64, where 8 ldmatrix.x4 feed 32 mma; 128 sums and two buffers of 32 operands leave
// few registers for more. Two blocks a multiprocessor, one of which computes while the other waits or writes:
// 430 TFLOP/s (8 warps of 64x32, 6 ldmatrix.x4 for 16 mma: 342; rows of 128 bytes in 3 stages 414; blocks of
// 128x256 with 8 warps, one a multiprocessor: 362, with rows of 128 bytes 415).
constexpr Tile kTensorLarge{128, 128, 32, 4, 128, 2};
// 4 warps of 32x32, 4 stages in 32 KiB: three blocks on sm_120, five on sm_80.
constexpr Tile kTensorSmall{64, 64, 32, 4, 128, 3};
// Elements of 4 bytes are rounded in registers on their way: 8 warps of 64x32, and no bound of registers but the
// architecture's.
constexpr Tile kWideLarge{128, 128, 16, 3, 256, 1};
constexpr Tile kWideSmall{64, 64, 16, 4, 128, 3};

// Warp groups of compute capability 9.0: two multiply, 64 rows each, and of a third one thread fetches. 4096 in 174 us
// with large tiles and 222 with small ones; where there are few results, smaller tiles give work to more
// multiprocessors. 192 KiB of stages in all three.
constexpr Tile kWarpgroupLarge{128, 256, 64, 4, 384, 1};
constexpr Tile kWarpgroupSmall{128, 128, 64, 6, 384, 1};
constexpr Tile kWarpgroupNarrow{128, 64, 64, 8, 384, 1};
// Rows of tiles that are walked together: 8192 in 1430 us, 8 in 1540, 24 in 1600.
constexpr int kWarpgroupRows = 16;
// A slab of results for each of the warps that multiply, rows of them that a bulk copy takes, and two barriers a stage.
constexpr int kWarpgroupSlab = 4096, kWarpgroupCopied = 16;
constexpr int warpgroup_shared(const Tile& t) {
  return t.stages * ((t.m + t.n) * t.depth * 2 + 2 * 8) + t.m / 16 * kWarpgroupSlab;
}

// Bytes: rows of 64, and two steps of mma 32 deep.
constexpr Tile kByteLarge{128, 128, 64, 3, 256, 1};
constexpr Tile kByteSmall{64, 64, 64, 4, 128, 3};
// float64, 4 results by 4 of a thread: 32 registers of sums, and 8 loads for 16 multiply-adds, which few GPUs
// do quickly. 25 KiB.
constexpr Tile kDouble{64, 64, 8, 3, 256, 2};
constexpr int double_shared(const Tile& t) { return t.stages * t.depth * (t.m + t.n + 4) * 8; }

// Blocks that keep the smallest GPU of these architectures busy (108 multiprocessors of an A100, nearly).
constexpr int kEnoughBlocks = 96;
// A split has at least so many terms: its sums are written and read once more.
constexpr int kLeastDepth = 256;
// Rows of tiles that are walked together, so that neighbours in time share operands in the second cache.
constexpr int kGroup = 8;

}  // namespace native::cuda::gemm
