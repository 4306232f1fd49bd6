"""Faults planted in attention, each by one edit of one source."""

import dataclasses

import planted_kernels


@dataclasses.dataclass(frozen=True)
class Planted(planted_kernels.Planted):
    """`kernel`: the kind and the part of the kernel; `options`: what a problem has beside sizes."""

    kernel: str = "bf16_forward"
    options: tuple = ()


FORWARD, BACKWARD = "attention/forward.cuh", "attention/backward.cuh"
SCORES, TENSOR, EXACT = "attention/scores.cuh", "attention/tensor.cuh", "attention/exact.cuh"
KEYS_BARRIER = "      copy_async_wait<0>();\n      __syncthreads();  // keys have come"
VALUES_BARRIER = "      copy_async_wait<0>();\n      __syncthreads();  // values have come"
CAUSAL, MASK, DROPOUT = ("causal",), ("mask",), ("dropout",)
GRAD_KEYS, GRAD_QUERIES = "bf16_keys", "bf16_queries"
PLAIN = "plain_forward"

FAULTS = [
    # Barriers and waits.
    Planted(
        "no barrier before the values",
        FORWARD,
        KEYS_BARRIER,
        "    copy_async_wait<0>();  //",
        reported=True,
    ),
    Planted(
        "no barrier before the keys",
        FORWARD,
        VALUES_BARRIER,
        "    copy_async_wait<0>();  //",
        reported=True,
    ),
    Planted(
        "no barrier before the keys, exact",
        FORWARD,
        VALUES_BARRIER,
        "    copy_async_wait<0>();  //",
        "exact_forward",
        True,
    ),
    Planted(
        "late wait for keys",
        FORWARD,
        KEYS_BARRIER,
        KEYS_BARRIER.replace("wait<0>", "wait<1>"),
        reported=True,
    ),
    Planted(
        "late wait for values",
        FORWARD,
        VALUES_BARRIER,
        VALUES_BARRIER.replace("wait<0>", "wait<1>"),
        reported=True,
    ),
    Planted(
        "barrier of some",
        FORWARD,
        "__syncthreads();  // keys",
        "if (threadIdx.x < 96) __syncthreads();  // keys",
        reported=True,
    ),
    Planted(
        "stage read too early",
        BACKWARD,
        "    __syncthreads();  // this stage has come",
        "    //",
        GRAD_KEYS,
        True,
    ),
    Planted(
        "stage written too early",
        BACKWARD,
        "    __syncthreads();  // everybody is done with this stage",
        "    //",
        GRAD_KEYS,
        True,
    ),
    Planted(
        "stage written too early, exact",
        BACKWARD,
        "    __syncthreads();  // everybody is done with this stage",
        "    //",
        "exact_queries",
        True,
    ),
    Planted(
        "late wait for a stage", BACKWARD, "wait<kStages - 1>", "wait<kStages>", GRAD_QUERIES, True
    ),
    Planted(
        "other stage read",
        BACKWARD,
        "const char* stage = stages + step % kStages",
        "const char* stage = stages + (step + 1) % kStages",
        GRAD_QUERIES,
    ),
    # Guards and masks.
    Planted("keys beyond the end, plain", SCORES, "key >= p.keys || ", "", PLAIN),
    Planted(
        "a query without itself, plain",
        SCORES,
        "key > at.query(i, j))) s",
        "key >= at.query(i, j))) s",
        PLAIN,
        options=CAUSAL,
    ),
    Planted(
        "diagonal tile taken for whole, plain",
        SCORES,
        "> at.first_query() + 1;",
        "> at.first_query() + 128;",
        PLAIN,
        options=CAUSAL,
    ),
    Planted("keys beyond the end", SCORES, "  if (!whole)\n", "  if (false)\n"),
    Planted(
        "a query without itself",
        SCORES,
        "if (at.key(i, j) > at.query(i, j))",
        "if (at.key(i, j) >= at.query(i, j))",
        options=CAUSAL,
    ),
    Planted(
        "diagonal tile taken for whole",
        SCORES,
        "> at.first_query() + 1)",
        "> at.first_query() + 64)",
        options=CAUSAL,
    ),
    Planted(
        "causal end too early",
        FORWARD,
        "min(p.keys, first + kQueries)",
        "min(p.keys, first + 1)",
        options=CAUSAL,
    ),
    Planted(
        "causal beginning too late",
        BACKWARD,
        "min(first, p.queries) / kColumns :",
        "min(first, p.queries) / kColumns + 1 :",
        "exact_keys",
        options=CAUSAL,
    ),
    Planted(
        "mask turned",
        SCORES,
        "mask[query * p.mask_strides.query",
        "mask[key * p.mask_strides.query",
        options=MASK,
    ),
    Planted("queries without keys", FORWARD, "return kMasked;", "return -INFINITY;", options=MASK),
    Planted(
        "gradient of queries without keys",
        BACKWARD,
        "p.mask && !stats.alive[n] ? 0 : slope",
        "slope",
        "exact_queries",
        options=MASK,
    ),
    Planted("one row too many", SCORES, "row < rows ?", "row <= rows ?", reported=True),
    Planted(
        "rows beyond the end written",
        SCORES,
        "first + row >= length || valid <= 0",
        "valid <= 0",
        reported=True,
    ),
    Planted("lse beyond the end", FORWARD, " || query >= p.queries)", ")"),
    # Softmax.
    Planted("sums not rescaled", FORWARD, "sums.at(i, j) *= factor[i];", ";"),
    Planted("total not rescaled", FORWARD, "total[i] * correction[i] + sum", "total[i] + sum"),
    Planted("peak moved unnoticed", FORWARD, "moved |= peak[i] != top;", "moved = false;"),
    Planted(
        "scale left out, plain", FORWARD, "take(s, sums, p.scale_2)", "take(s, sums, 1)", PLAIN
    ),
    Planted(
        "peak of some columns", FORWARD, "fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, by))", "top"
    ),
    Planted(
        "total of some columns", FORWARD, "+= __shfl_xor_sync(0xFFFFFFFFu, total[i], by)", "+= 0"
    ),
    Planted("delta left out", BACKWARD, "(slope - stats.delta[n])", "slope", "exact_keys"),
    Planted(
        "other statistics",
        BACKWARD,
        "n / kQueries * part + rows",
        "n % 3 * part + rows",
        "exact_keys",
    ),
    Planted("word of the generator", SCORES, "score / 16 % 4", "score / 16 % 2", options=DROPOUT),
    Planted("scale left out", BACKWARD, "scale[i] = p.scale", "scale[i] = 1", "exact_queries"),
    # Heads and fragments.
    Planted(
        "other key head",
        FORWARD,
        "head.index / (p.heads / p.key_heads)",
        "head.index % p.key_heads",
    ),
    Planted(
        "one head of the group",
        BACKWARD,
        "const int query_head = head * group + step / way;",
        "const int query_head = head * group;",
        "exact_keys",
    ),
    Planted(
        "halves of a word", TENSOR, "pack<type>(pair[0], pair[1])", "pack<type>(pair[1], pair[0])"
    ),
    Planted(
        "registers of the weights",
        TENSOR,
        "[2 * step + r / 2][r % 2 * 2]",
        "[2 * step + r % 2][r / 2 * 2]",
    ),
    Planted(
        "not transposed",
        TENSOR,
        "using B = gemm::Fragments<Other, false, false>",
        "using B = gemm::Fragments<Other, true, false>",
    ),
    Planted(
        "column of a weight",
        EXACT,
        "weight(row(i), column(j))) = weights",
        "weight(row(i), column(j) ^ 1)) = weights",
        "exact_forward",
    ),
]

# Results stay right, banks are met twice.
CONFLICTS = [
    Planted(
        "weights without swizzle",
        EXACT,
        "column ^ (row & 1) * 16 : column",
        "column : column",
        "exact_forward",
    ),
    Planted(
        "rows of a warp apart",
        EXACT,
        "return first_row() + i * 2 + threadIdx.x % 32 / 16;",
        "return first_row() + i + threadIdx.x % 32 / 16 * kRows;",
        "exact_forward",
    ),
]
