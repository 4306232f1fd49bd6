"""Faults planted in the products of warp groups, each by one edit of one source."""

import dataclasses

import planted_kernels


@dataclasses.dataclass(frozen=True)
class Planted(planted_kernels.Planted):
    kernel: str = "nn"
    plain: bool = False  # results that are not copied in bulk


LOOP, WARPGROUP = "gemm/warpgroup.cuh", "warpgroup.cuh"
WAIT = "      full(turn.stage).wait(turn.parity);"

FAULTS = [
    # Barriers.
    Planted("operands not waited for", LOOP, WAIT, "", reported=True),
    Planted("operands' other phase", LOOP, WAIT, WAIT.replace("y)", "y ^ 1)"), reported=True),
    Planted(
        "stages not waited for", LOOP, "empty(turn.stage).wait(turn.parity ^ 1);", "", reported=True
    ),
    Planted(
        "stages' other phase",
        LOOP,
        "empty(turn.stage).wait(turn.parity ^ 1);",
        "empty(turn.stage).wait(turn.parity);",
        reported=True,
    ),
    Planted("parity that stays", WARPGROUP, "stage = 0, parity ^= 1;", "stage = 0;", reported=True),
    Planted("bytes of A alone", LOOP, "expect(kStage)", "expect(A::kBytes)", reported=True),
    Planted("too many bytes", LOOP, "expect(kStage)", "expect(kStage + 16)", reported=True),
    Planted(
        "stage given back early",
        LOOP,
        "        if (lane == 0) empty(before).arrive();",
        "        if (lane == 0) empty(turn.stage).arrive();",
        reported=True,
    ),
    Planted(
        "stage given back under way",
        LOOP,
        "        warpgroup_wait<1>();\n",
        "",
        reported=True,
    ),
    Planted(
        "stage given back by one group", LOOP, "init(kWarps)", "init(kWarps / 2)", reported=True
    ),
    Planted("barriers not opened", LOOP, "      open_barriers();\n", "", reported=True),
    Planted("no barrier of the block", LOOP, "    __syncthreads();\n", "", reported=True),
    # Products.
    Planted("no fence of registers", LOOP, "      warpgroup_fence();\n", "", reported=True),
    Planted("group not committed", LOOP, "      warpgroup_commit();\n", "", reported=True),
    Planted(
        "sums read under way",
        LOOP,
        "    warpgroup_wait<0>(sums);",
        "    warpgroup_wait<1>(sums);",
        reported=True,
    ),
    Planted("sums not cleared", LOOP, "k + step > 0)", "true)"),
    Planted("sums cleared again", LOOP, "k + step > 0)", "step > 0)"),
    Planted("terms of a step", LOOP, "begin + step * 32", "begin + step * 64"),
    Planted("rows of a step", LOOP, "begin + step * 2048", "begin + step * 1024"),
    Planted("columns of rows", LOOP, "step * 2048, kColumn)", "step * 2048, kColumn / 2)"),
    Planted("rows of a group", LOOP, "row = warp / 4 * 64", "row = warp % 4 * 16"),
    Planted(
        "eight rows of terms",
        WARPGROUP,
        "kEightRows >> 4 << 32 | uint64_t{1} << 16",
        "kEightRows >> 5 << 32 | uint64_t{1} << 16",
        "nt",
    ),
    Planted(
        "not swizzled",
        WARPGROUP,
        "return kSwizzled | kEightRows >> 4 << 32 | uint64_t{1}",
        "return kEightRows >> 4 << 32 | uint64_t{1}",
        "nt",
    ),
    Planted(
        "turned A as it lies",
        LOOP,
        "type, tile.n, a_turned, !b_turned>",
        "type, tile.n, false, !b_turned>",
        "tn",
    ),
    # Copies.
    Planted("the same columns", LOOP, "first + i * kSwizzledRow, k, matrix", "first, k, matrix"),
    Planted("columns over columns", LOOP, "to + i * kColumn,", "to,", reported=True),
    Planted("terms by outer index", LOOP, "barrier, k, first, matrix", "barrier, first, k, matrix"),
    # Results.
    Planted("not seen by copies", LOOP, "    fence_shared_for_copies();\n", "", reported=True),
    Planted(
        "slab written while copied",
        LOOP,
        "wait_for_stores_to_read<kHalves - 1>();",
        "wait_for_stores_to_read<2>();",
        reported=True,
    ),
    Planted(
        "gone before copies have read",
        LOOP,
        "    if (lane == 0) wait_for_stores_to_read<0>();",
        "",
        reported=True,
    ),
    Planted("chunks as they come", LOOP, "(i / 2 ^ lane / 4) * 16", "i / 2 * 16"),
    Planted("rows of another warp", LOOP, "w.row + warp * 16", "w.row + warp % 4 * 16"),
    Planted("bias of other columns", LOOP, "j * 4 + of_four", "j + of_four * 8"),
    Planted("bias beyond the last", LOOP, "there > 1 ", "there > 0 ", "nt", True, True),
    Planted("rows beyond the last", LOOP, "row + r < q.m &&", "", reported=True, plain=True),
    Planted("columns beyond the last", LOOP, " && there > 0)", ")", plain=True),
    Planted("columns in another order", LOOP, "if (i == part) y", "if (i != part) y", plain=True),
    Planted(
        "slab read too early",
        LOOP,
        "&y.v[i * 2]);\n    __syncwarp();\n    const bool",
        "&y.v[i * 2]);\n    const bool",
        reported=True,
        plain=True,
    ),
    Planted(
        "slab written too early",
        LOOP,
        "{x.x, x.y, x.z, x.w});\n    }\n    __syncwarp();",
        "{x.x, x.y, x.z, x.w});\n    }",
        reported=True,
        plain=True,
    ),
    # Registers.
    Planted(
        "more registers than there are",
        LOOP,
        "take_registers<240>",
        "take_registers<248>",
        reported=True,
    ),
]
