"""Faults planted in what takes elements to their places, each by one edit of one source: sorts and
scatters, copies through tiles, windows of pooling, steps over time, and random numbers. Kernels are
those of place_cases.py."""

from planted_kernels import Planted

SORT, SCATTER, COPY = "gather/sort.cu", "gather/scatter.cu", "shape/transposed_copy.cu"
POOL, STEP, CELL = "pool/pool.cu", "rnn/step.cuh", "rnn/rnn.cu"
RANDOM, PHILOX = "random/random.cu", "philox.cuh"
COUNTED = "const int counted = inside ? counts[warp][digit] : 0;\n    "
DIGIT = "keys[r] >> p.shift & (kDigits - 1)"
BEFORE = "equal & ((1u << lane) - 1)"
SCANNED = "sums[threadIdx.x - by] : 0;\n    "
BARRIER = "__syncthreads();"
TILE = "  }\n  " + BARRIER
WRITTEN = "r < p.rows + p.zeros && c < p.columns"
OF_A, OF_W = "row0 + r < p.batch && d0 + d < p.depth", "u < p.units && d0 + d < p.depth"
CARRIES = "if (row0 + r < p.batch && unit0 + u < p.units)"

FAULTS = [
    # Sorts: digits, ranks among equal ones, and places of digits.
    Planted("bits of another digit", SORT, DIGIT + "] +", DIGIT.replace("p.shift", "(p.shift + 1)")
            + "] +", "sort"),
    Planted("digits of seven bits", SORT, DIGIT + ") :", DIGIT.replace("kDigits", "kDigits / 2")
            + ") :", "sort"),
    Planted("the lane among those before", SORT, BEFORE, BEFORE.replace("1u", "2u", 1), "sort"),
    Planted("lanes behind", SORT, BEFORE, "equal & ~((2u << lane) - 1)", "sort"),
    Planted("counts while they change", SORT, COUNTED + "__syncwarp();", COUNTED, "sort", True),
    Planted("counts of a warp", SORT, "w < kThreads / 32; ++w) sum", "w < 1; ++w) sum", "sort"),
    Planted("scan without a barrier", SORT, SCANNED + BARRIER, SCANNED, "sort", True),
    Planted("scan of half of the digits", SORT, "by < kDigits;", "by < kDigits / 2;", "sort"),
    Planted("negative ones as they are", SORT, "~bits & all", "bits & all", "sort"),
    Planted("no last key", SORT, "if (j >= p.n) break;", "", "sort"),
    # Scatters: pieces, and rows that go on beyond one.
    Planted("an update twice", SCATTER, "int k = j + 1;", "int k = j;", "scatter"),
    Planted("parts over each other", SCATTER, "* 2 + goes_on)", "+ goes_on)", "scatter", True),
    Planted("first piece of a row alone", SCATTER, "int k = piece + 1; k < pieces &&",
            "int k = piece + 1; k < piece &&", "scatter"),
    Planted("no last piece", SCATTER, "k < pieces && row_of", "row_of", "scatter", True),
    Planted("no last update", SCATTER, "  if (i >= p.elements) return;", "", "scatter", True),
    Planted("no end of a piece", SCATTER, "min((j / kPiece + 1) * kPiece, p.count)",
            "(j / kPiece + 1) * kPiece", "scatter", True),
    # Copies through a tile.
    Planted("no barrier of the tile", COPY, TILE, "  }\n", "transposed", True),
    Planted("tile not turned", COPY, "tile[lane][down + i];", "tile[down + i][lane];",
            "transposed"),
    Planted("no last row read", COPY, "r < p.rows && c", "c", "transposed", True),
    Planted("no last row written", COPY, WRITTEN, "c < p.columns", "transposed", True),
    Planted("no last column written", COPY, WRITTEN, "r < p.rows + p.zeros", "transposed", True),
    Planted("no zeros", COPY, WRITTEN, "r < p.rows && c < p.columns", "transposed"),
    Planted("strides of the source", COPY, "at * p.to_stride[d]", "at * p.from_stride[d]",
            "transposed", True),
    # Windows.
    Planted("shift of the second place", POOL, "(of[1]) << 8", "(of[1]) << 16", "largest"),
    Planted("shift of the third place", POOL, "(of[2]) << 16", "(of[2]) << 8", "largest"),
    Planted("last of equals", POOL, "kNoPlace || x.v[i] > best", "kNoPlace || x.v[i] >= best",
            "largest"),
    Planted("window before the first pixel", POOL, "{max(first, 0),", "{first,", "largest"),
    Planted("window beyond the last pixel", POOL, "min(first + p.window[d], p.size[d])",
            "first + p.window[d]", "largest"),
    Planted("no last pack", POOL, "return;\n  const int i =", ";\n  const int i =", "largest",
            True),
    Planted("one window too early", POOL, "beyond / p.stride[d] + 1,", "beyond / p.stride[d],",
            "averages"),
    Planted("windows beyond the last", POOL, "min(last / p.stride[d] + 1, p.positions[d])",
            "last / p.stride[d] + 1", "averages", True),
    Planted("pixels of the padding", POOL, "(z.last - z.first), 1)", "p.window[2], 1)", "averages"),
    # Steps over time.
    Planted("no wait for a stage", STEP, "copy_async_wait<1>();", "", "step", True),
    Planted("late wait for the last stage", STEP, "copy_async_wait<0>();", "copy_async_wait<1>();",
            "step", True),
    Planted("stage read too early", STEP, "      __syncthreads();  // this stage", "      //",
            "step", True),
    Planted("stage written too early", STEP, "      __syncthreads();  // everybody", "      //",
            "step", True),
    Planted("other stage", STEP, "stage = stages[now]", "stage = stages[1 - now]", "step", True),
    Planted("weights of the first gate", STEP, "stage.w[d][k * kUnits + u]", "stage.w[d][u]",
            "step"),
    Planted("no last sequence read", STEP, OF_A, "d0 + d < p.depth", "step", True),
    Planted("no last term", STEP, OF_W, "u < p.units", "step", True),
    Planted("no last sequence written", STEP, CARRIES, "if (unit0 + u < p.units)", "step", True),
    Planted("no last unit written", STEP, CARRIES, "if (row0 + r < p.batch)", "step"),
    Planted("gates in another order", CELL, "v[1] * c + v[0] * v[2] : c",
            "v[0] * c + v[1] * v[2] : c", "step"),
    # Random numbers.
    Planted("nine rounds", PHILOX, "round < 10", "round < 9", "random"),
    Planted("key that stays", PHILOX, "    k1 += 0xBB67AE85u;\n", "", "random"),
    Planted("words turned", PHILOX, "{high1 ^ c.y ^ k0, low1,", "{high0 ^ c.y ^ k0, low1,",
            "random"),
    Planted("shift of a number", RANDOM, "(static_cast<int32_t>(word) >> 9)",
            "(static_cast<int32_t>(word) >> 8)", "random"),
    Planted("numbers of a block together", RANDOM, "elements + b % kBlocks", "elements + b % 4",
            "random", True),
    Planted("no last number", RANDOM, "if (at < p.count) store_element", "store_element", "random",
            True),
]  # fmt: skip

# Results stay right, banks are met twice.
CONFLICTS = [
    Planted("rows of a tile no longer", COPY, "tile[kSide][kSide + 1];", "tile[kSide][kSide];",
            "transposed"),
]  # fmt: skip
