"""Faults planted in attention by warp groups, each by one edit of one source."""

import dataclasses

import planted_kernels

KERNEL = "attention/warpgroup.cuh"


@dataclasses.dataclass(frozen=True)
class Planted(planted_kernels.Planted):
    """`options`: what a problem has beside sizes; `kernel` is the widest head."""

    kernel: str = "64"
    options: tuple = ()


def planted(id, old, new, reported=False, kernel="64", options=(), file=KERNEL):
    return Planted(id, file, old, new, kernel, reported, options)


CAUSAL = ("causal",)

FAULTS = [
    # Barriers, waits and fences.
    planted("stage overwritten", "shared.empty(turn.stage).wait(turn.parity ^ 1);", ";", True),
    planted("stage read too early", "shared.full(stage).wait(turn.parity);", ";", True),
    planted("queries overwritten", "shared.own_empty().wait(parity);", ";", True),
    planted("queries read too early", "shared.own_full().wait(parity);", ";", True),
    planted(
        "keys given away too early",
        "warpgroup_wait<1>(s.v);\n      if (leads) shared.empty(keys).arrive();",
        "if (leads) shared.empty(keys).arrive();\n      warpgroup_wait<1>(s.v);",
        True,
    ),
    planted(
        "values given away too early",
        "      warpgroup_wait<0>(sums.v);\n      if (leads) shared.empty(values).arrive();",
        "      if (leads) shared.empty(values).arrive();\n      warpgroup_wait<0>(sums.v);",
        True,
    ),
    planted("late wait for scores", "warpgroup_wait<1>(s.v);", "warpgroup_wait<2>(s.v);", True),
    planted(
        "late wait for sums",
        "      warpgroup_wait<0>(sums.v);\n      if",
        "      warpgroup_wait<1>(sums.v);\n      if",
        True,
    ),
    planted(
        "no fence before products",
        "Other::kPart);\n    warpgroup_fence(sums.v);",
        "Other::kPart);",
        True,
    ),
    planted("no fence before results are copied", "fence_shared_for_copies();", ";", True),
    planted(
        "results overwritten", "wait_for_stores_to_read<0>();  // of the block before", ";", True
    ),
    planted("end before results are read", "if (leads) wait_for_stores_to_read<0>();", ";", True),
    planted(
        "fewer bytes announced",
        "arrive_and_expect(kBytes)",
        "arrive_and_expect(kBytes / 2)",
        True,
    ),
    planted("one arrival for a group", "init(Math::kGroups * 4)", "init(Math::kGroups)", True),
    planted("parity stays", "stage = 0, parity ^= 1;", "stage = 0;", True, file="warpgroup.cuh"),
    # Layouts.
    planted("results without swizzle", "j / 2 % 8 ^ row(i) % 8", "j / 2 % 8"),
    planted("not transposed", "<type, width, true>", "<type, width, false>"),
    planted("step of the keys", "step % 4 * 32", "step % 2 * 32"),
    planted("step of the values", "step * 2048 / 16", "step * 1024 / 16"),
    planted("part of the keys", "part * Other::kPart + within", "within", kernel="128"),
    planted(
        "apart by the queries' part", "rows_of_outer(other, Other::kPart)",
        "rows_of_outer(other, Own::kPart)", kernel="128",
    ),
    planted("part of the results", "j / 16 * Own::kPart", "0", kernel="128"),
    planted("registers of the weights", "s.v[step * 8 + r * 2]", "s.v[step * 8 + (r ^ 1) * 2]"),
    planted("row of a thread", "warp_row() + i * 8 +", "warp_row() + i * 4 +", options=CAUSAL),
    # Order of tiles and blocks.
    planted(
        "values before keys",
        "      fetch(w.k, tile - 1);\n      fetch(w.v, tile);",
        "      fetch(w.v, tile);\n      fetch(w.k, tile - 1);",
    ),
    planted("other key head", "head.index / (p.heads / p.key_heads)", "head.index % p.key_heads"),
    planted("other queries", "begin + rest % together", "begin"),
    planted(
        "causal end too early", "min(p.keys, first + Math::tile.rows)", "min(p.keys, first + 1)",
        options=CAUSAL,
    ),
    planted(
        "all groups as the first", "const int first = queries.first + from;",
        "const int first = queries.first;", options=CAUSAL,
    ),
    planted("sums not rescaled", "softmax.rescale(sums, correction);", ";"),
]  # fmt: skip
