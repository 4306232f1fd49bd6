// Every tile of attention, with its reasons. Plain data, for device and host.
//
// rows: what a block owns (queries forward and for dq, keys for dk and dv), whose sums stay in registers.
// columns: what it walks along (keys, or queries). stages: tiles of those in shared memory at once (gradients;
// the forward pass has one of keys and one of values, each copied while the other is multiplied). blocks: so
// many share a multiprocessor, which bounds the registers. Tiles are named by the widest head that fits.
#pragma once

namespace native::cuda::attention {

struct Tile {
  int rows, columns, stages, threads, blocks;
};

// Tensor cores. A warp has 32 queries, so that a fragment of keys feeds two mma: with one, reading shared
// memory would take as long as the mma. Sums and scores are 2 x (width / 8 + columns / 8) x 4 registers: with
// columns of 64 that is 96 and 128, and at 128, where 64 would spill, 160 with 32. Shared memory 16, 32 and 48 KiB:
// two blocks or more everywhere, and three of 32 wide, whose bound of 168 registers costs nothing.
constexpr Tile kTensor32{128, 64, 1, 128, 3};
constexpr Tile kTensor64{128, 64, 1, 128, 2};
constexpr Tile kTensor128{128, 32, 1, 128, 2};
// Without bias, mask and dropout there are registers for more columns, and fewer barriers for as many keys. On an
// H100, B4 S2048 H16: at 64 wide 64 columns give 249 TFLOP/s, 96 260 (but spill on sm_100), 128 278 (but spill on
// sm_80); 80 are the most that spill nowhere, and were not timed. At 128 wide 48 columns give 310, 32 give 283, 64
// spill.
constexpr Tile kPlain32{128, 128, 1, 128, 2};
constexpr Tile kPlain64{128, 80, 1, 128, 2};
constexpr Tile kPlain128{128, 48, 1, 128, 2};
// Gradients have two products of scores, and two sums of `width` for dk and dv: a warp has 16 rows. Sums and
// scores are 2 x (width / 2 + columns / 2) registers: 64, 128 and 160. (At 32, columns of 64 spill with all that
// scores may be given.) Shared memory 17, 50 and 65 KiB.
constexpr Tile kTensorGrad32{64, 32, 2, 128, 2};
constexpr Tile kTensorGrad64{64, 64, 2, 128, 2};
constexpr Tile kTensorGrad128{64, 32, 2, 128, 2};

// Warp groups (capability 9.0): 64 queries for each, and one group more that copies, as many stages as it is ahead; one
// block. By registers: 240 for each of two groups, 160 for each of three, of which sums and scores are
// (width + columns) / 2 and weights columns / 4: 160 and 128. By shared memory: 192 and 144 KiB.
constexpr Tile kWarpgroup64{192, 128, 6, 512, 1};
constexpr Tile kWarpgroup128{128, 128, 4, 384, 1};

// Gradients by warp groups: 64 rows for each of two, of 240 registers, and one group more that copies pairs of tiles,
// as many stages as it is ahead. For keys sums are `width` registers, scores and slopes `columns`, and both as operands
// columns / 2: 184 and 224. For queries sums are width / 2 and operands columns / 4: 192 and 144. Shared memory 135,
// 194, 197 and 194 KiB. More columns are less of shared memory's time for a product: with 64 the products of scores
// take all of it, with 128 three quarters. Keys 64 wide in 229 us with 80 columns, in 259 with 64.
constexpr Tile kWarpgroupKeys64{128, 80, 5, 384, 1};
constexpr Tile kWarpgroupKeys128{128, 64, 4, 384, 1};
constexpr Tile kWarpgroupQueries64{128, 128, 5, 384, 1};
constexpr Tile kWarpgroupQueries128{128, 64, 4, 384, 1};

// Exact float32: threads stand 16 across and 2 down in a warp, with 8 rows each (4 at 256, for the registers of
// two sums). Four columns a thread, 12 loads of 16 bytes for 128 multiply-adds, until shared memory (99 KiB of
// a block on sm_120) wants fewer: it is 40, 40, 72 and 66 KiB.
constexpr Tile kExact32{64, 64, 1, 128, 3};
constexpr Tile kExact64{64, 32, 1, 128, 3};
constexpr Tile kExact128{64, 32, 1, 128, 2};
constexpr Tile kExact256{32, 16, 1, 128, 1};
// 32, 56, 84 and 98 KiB.
constexpr Tile kExactGrad32{64, 32, 1, 128, 2};
constexpr Tile kExactGrad64{64, 32, 1, 128, 2};
constexpr Tile kExactGrad128{64, 16, 1, 128, 2};
constexpr Tile kExactGrad256{32, 16, 1, 128, 1};

// The widest heads that there are tiles for.
constexpr int kWidestTensor = 128, kWidestExact = 256;
// Queries of a block that computes what the gradient needs of each once: a warp for each.
constexpr int kStatisticsRows = 8;
// Where rows are whole packs of four, so many lanes have one, of a pack or two each, and a block so many.
constexpr int kPackLanes = 16, kPackRows = 16;
// Heads' queries begin at multiples of it in statistics, 16 bytes, that bulk copies take them.
constexpr int kStatisticsChunk = 4;

// Shared memory of a block whose elements have `bytes`; exact products pass weights through it as well.
constexpr int forward_shared(const Tile& t, int width, int bytes) {
  return (t.rows + 2 * t.columns) * width * bytes + (bytes == 4 ? t.rows * t.columns * 4 : 0);
}
// Queries and results, the stages, and two barriers for each of those and for the queries.
constexpr int warpgroup_shared(const Tile& t, int width) {
  return (2 * t.rows + t.stages * t.columns) * width * 2 + (t.stages + 1) * 2 * 8;
}
// Two own tiles, the stages of two more and of two statistics, and two barriers for each of those and for what is
// owned.
constexpr int warpgroup_grad_shared(const Tile& t, int width) {
  return 2 * (t.rows + t.stages * t.columns) * width * 2 + t.stages * 2 * t.columns * 4 + (t.stages + 1) * 2 * 8;
}
constexpr int backward_shared(const Tile& t, int width, int bytes) {
  return (2 * t.rows + 2 * t.stages * t.columns) * width * bytes + t.stages * 3 * t.columns * 4 +
         (bytes == 4 ? t.rows * t.columns * 4 : 0);
}

}  // namespace native::cuda::attention
