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

// Exact float32, 8 results by 8 of a thread: 16 loads of shared memory, as 4 of 16 bytes, feed 64
// multiply-adds; 64 sums, 16 operands and addresses stay below 128 registers, so that two blocks of 256
// threads share a multiprocessor, with 2 x 48 KiB also on sm_120.
constexpr Tile kExactLarge{128, 128, 16, 3, 256, 2};
// A quarter of the results in half of the threads (8 by 4): for problems that large tiles would not spread
// over a GPU. 24 KiB: four blocks on every architecture.
constexpr Tile kExactSmall{64, 64, 16, 3, 128, 4};

// Tensor cores. Rows of 64 bytes (depth 32 of 16 bits, 16 of float32) are two sectors each, and two steps of
// mma. 8 warps of 64x32: 6 ldmatrix.x4 feed 16 mma; 64 sums and 24 operands, two blocks a multiprocessor
// with 3 stages in 48 KiB each.
constexpr Tile kTensorLarge{128, 128, 32, 3, 256, 2};
// 4 warps of 32x32, 4 stages in 32 KiB: three blocks on sm_120, five on sm_80.
constexpr Tile kTensorSmall{64, 64, 32, 4, 128, 3};
// The same bytes for elements of 4.
constexpr Tile kWideLarge{128, 128, 16, 3, 256, 2};
constexpr Tile kWideSmall{64, 64, 16, 4, 128, 3};

// Bytes: rows of 64 again, and two steps of mma 32 deep.
constexpr Tile kByteLarge{128, 128, 64, 3, 256, 2};
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
