"""Faults planted in the gradient of attention by warp groups, each by one edit of one source."""

import dataclasses

import planted_kernels

KERNEL = "attention/warpgroup_backward.cuh"


@dataclasses.dataclass(frozen=True)
class Planted(planted_kernels.Planted):
    """`options`: what a problem has beside sizes; `kernel`: what is owned, and the widest head."""

    options: tuple = ()


def planted(id, old, new, reported=False, kernel="keys_64", options=(), file=KERNEL):
    return Planted(id, file, old, new, kernel, reported, options)


CAUSAL = ("causal",)
QUERIES = "queries_64"

FAULTS = [
    # Barriers, waits and fences.
    planted("stage overwritten", "shared.empty(stage).wait(turn.parity ^ 1);", ";", True),
    planted("first stage read too early", "  arrived();\n  // Sums", "  // Sums", True),
    planted("stage read too early", "if (left > 1) arrived();", ";", True),
    planted("own tiles read too early", "shared.own_full().wait(0);", ";", True),
    planted(
        "stage given away too early",
        "if (leads && before >= 0) shared.empty(before).arrive();",
        "if (leads) shared.empty(stage).arrive();",
        True,
    ),
    planted("stage never given away", "shared.empty(before).arrive();", ";", True),
    planted("late wait for scores", "warpgroup_wait<1>(s.v);", "warpgroup_wait<2>(s.v);", True),
    planted("late wait for wide scores", "warpgroup_wait<0>(s.v);", "warpgroup_wait<1>(s.v);", True,
            kernel="keys_128"),
    planted("late wait for slopes", "<turned ? 1 : 0>(dp.v)", "<2>(dp.v)", True),
    planted("late wait for slopes of keys", "<turned ? 1 : 0>(dp.v)", "<1>(dp.v)", True,
            kernel=QUERIES),
    planted("late wait for sums", "warpgroup_wait<0>(sums.v);", "warpgroup_wait<1>(sums.v);", True),
    planted("end before results are read", "if (leads) wait_for_stores_to_read<0>();", ";", True),
    planted("a copy too many", "init(turned ? 3 : 2)", "init(2)", True),
    planted("one arrival for a group", "init(Math::kGroups * 4)", "init(Math::kGroups)", True),
    planted("fewer bytes announced", "arrive_and_expect(shared.kStatistics)",
            "arrive_and_expect(shared.kStatistics / 2)", True),
    planted("half of what is owned", "own_full().init(2)", "own_full().init(1)", True),
    # Operands and layouts.
    planted("values by queries", "Math::add(sums_2, weights, shared.stage_2(stage))",
            "Math::add(sums_2, weights, shared.stage(stage))"),
    planted("sums by cotangents", "Math::add(sums, slopes, shared.stage(stage))",
            "Math::add(sums, slopes, shared.stage_2(stage))"),
    planted("slopes by scores", "Math::multiply_rows(dp, own_2, shared.stage_2(stage));\n      w",
            "Math::multiply_rows(dp, own, shared.stage_2(stage));\n      w"),
    planted("weights for slopes", "Math::convert(slopes, dp)", "Math::convert(slopes, s)"),
    planted("keys of the first group", "own = shared.own + from * 128", "own = shared.own"),
    planted("values of the first group", "shared.own_2() + from * 128", "shared.own_2()",
            kernel="keys_128"),
    planted("results not scaled", "{p.scale, p.scale}", "{1, 1}", kernel=QUERIES),
    # Statistics.
    planted("no log-sum-exp", "p.scale_2, -lse", "p.scale_2, 0"),
    planted("no delta", "(dp.at(i, j) - of_query)", "dp.at(i, j)"),
    planted("no delta of rows", "(dp.at(i, j) - of_query)", "dp.at(i, j)", kernel=QUERIES),
    planted("delta is lse", "statistics + Math::tile.columns * 4", "statistics"),
    planted("statistics of other columns", "columns + Math::column(j) * 4", "columns + j * 4"),
    planted("statistics of other rows", "first + Math::row(i)", "first + i", kernel=QUERIES),
    planted("statistics of one head", "w.problem.heads + head, 0", "w.problem.heads, 0"),
    planted("statistics of the first tile", "statistics, full, column,", "statistics, full, 0,"),
    # Masks, and order of tiles and blocks.
    planted("diagonal left out", "at.key(i, j) > query", "at.key(i, j) >= query", options=CAUSAL),
    planted("keys after the query", "at.first_key() + Math::kGroupRows > at",
            "at.first_key() > at", options=CAUSAL),
    planted("masks of the first group", "first = walk.first + from", "first = walk.first",
            options=CAUSAL),
    planted("masks of one head", "if (++tile == walk.begin + walk.way) tile = walk.begin;",
            "++tile;", options=CAUSAL),
    planted("begins too late", "p.queries) / kColumns :", "p.queries) / kColumns + 1 :",
            options=CAUSAL),
    planted("ends too early", "min(p.keys, first + kRows)", "min(p.keys, first + 1)",
            kernel=QUERIES, options=CAUSAL),
    planted("phase passed over", "arrived();  // or", "// or", True, options=CAUSAL),
    planted("group begins too late", "min(first / kColumns,", "min(first / kColumns + 1,",
            options=CAUSAL),
    planted("group ends too early", "first + Math::kGroupRows) + kColumns", "first + 1) + kColumns",
            kernel=QUERIES, options=CAUSAL),
    planted("other heads", "turned ? head * group", "turned ? head"),
    planted("other key head", "head / group;", "head % p.key_heads;", kernel=QUERIES),
    planted("one head of a group", "heads = turned ? group : 1", "heads = 1"),
    planted("the same block twice", "Where at(blockIdx.x,", "Where at(blockIdx.x / 2 * 2,"),
]  # fmt: skip
