"""Faults planted in the products, each by one edit of one source."""

import dataclasses

import planted_kernels


@dataclasses.dataclass(frozen=True)
class Planted(planted_kernels.Planted):
    """`k`: terms of the product, more steps than stages. `chunks`: of rows of whole chunks."""

    kernel: str = "bf16_nn"
    k: int = 200
    chunks: bool = False


PIPELINE, OPERAND = "gemm/pipeline.cuh", "gemm/operand.cuh"
EXACT, TENSOR, DEVICE = "gemm/exact.cuh", "gemm/tensor.cuh", "device.cuh"
EPILOGUE, PRODUCT = "gemm/epilogue.cuh", "gemm/product.cuh"
LOOP_BARRIER = "        __syncthreads();  // the next stage"
LOOP_WAIT = "        copy_async_wait<tile.stages - 2>();"
SLAB = """      __syncthreads();
      Rows::write(sink, w, slab, [&](int r) { return r / 16 * warp_m + part * 16 + r % 16; });
      __syncthreads();
"""

FAULTS = [
    # Barriers and waits.
    Planted("loop barrier", PIPELINE, LOOP_BARRIER, "    //", reported=True),
    Planted("loop barrier, exact", PIPELINE, LOOP_BARRIER, "    //", "exact_tt", True),
    Planted(
        "late wait", PIPELINE, LOOP_WAIT, LOOP_WAIT.replace("2", "1"), reported=True, chunks=True
    ),
    Planted(
        "late wait, exact",
        PIPELINE,
        LOOP_WAIT,
        LOOP_WAIT.replace("2", "1"),
        "exact_nt",
        True,
    ),
    Planted("no wait", PIPELINE, LOOP_WAIT, "", reported=True, chunks=True),
    Planted(
        "no wait before the loop",
        PIPELINE,
        "\n  copy_async_wait<tile.stages - 2>();",
        "",
        reported=True,
        chunks=True,
    ),
    Planted(
        "groups not counted",
        PIPELINE,
        "  copy_async_commit();",
        "  if (k < w.k_end) copy_async_commit();",
        reported=True,
        chunks=True,
    ),
    Planted(
        "one stage too far ahead",
        PIPELINE,
        "stage < tile.stages - 1",
        "stage < tile.stages",
    ),
    # The slab lies over the first stage: five steps end there.
    Planted(
        "no barrier before the slab",
        PIPELINE,
        "  copy_async_wait<0>();\n  __syncthreads();",
        "  copy_async_wait<0>();",
        reported=True,
        k=136,
    ),
    Planted(
        "no barrier in the slab",
        TENSOR,
        SLAB,
        SLAB.replace("      __syncthreads();\n", "", 1),
        reported=True,
    ),
    Planted(
        "no barrier after the slab",
        TENSOR,
        SLAB,
        SLAB[::-1].replace("      __syncthreads();\n"[::-1], "", 1)[::-1],
        reported=True,
    ),
    Planted(
        "barrier of some",
        PIPELINE,
        LOOP_BARRIER,
        "    if (threadIdx.x < 96) __syncthreads();  //",
        reported=True,
    ),
    # The stages and their terms.
    Planted(
        "other stage read",
        PIPELINE,
        "        at = next;",
        "",
    ),
    Planted("step's buffer", PIPELINE, "load((step + 1) % 2", "load(step % 2"),
    Planted("step again", PIPELINE, "(step + 1) % steps);", "step);"),
    Planted(
        "last terms left out",
        PIPELINE,
        "(w.k_end - w.k_begin + tile.depth - 1) / tile.depth",
        "(w.k_end - w.k_begin) / tile.depth",
    ),
    Planted("terms beyond k", PIPELINE, "min(w.k_begin + depth, k)", "w.k_begin + depth"),
    Planted(
        "tile of B at A's row",
        TENSOR,
        "Copies<SourceB>(source_b, w.column",
        "Copies<SourceB>(source_b, w.row",
    ),
    Planted("A's place for B's", PIPELINE, "b.next(shared + to + A::kTile)", "b.next(shared + to)"),
    # Guards.
    Planted("one row too many", OPERAND, "r < rows}", "r <= rows}", "bf16_tn"),
    Planted("one element too many", OPERAND, "c < columns}", "c <= columns}"),
    Planted("half of a word again", OPERAND, "first + 2 * j + 1", "first + 2 * j"),
    Planted("no guard of words", OPERAND, "e.inside ? 4 : 0", "4", "tf32_nn", True),
    Planted("no guard of halves", OPERAND, "return e.inside ?", "return true ?", reported=True),
    Planted("guard of columns alone", OPERAND, "r.inside && c.inside", "c.inside", reported=True),
    Planted(
        "pieces of another row",
        OPERAND,
        "walk.of.row(r + i * kApart),",
        "walk.of.row(r + i * kApart + 1),",
    ),
    Planted(
        "chunk of another row",
        OPERAND,
        "{from + i * between,",
        "{from + i * between + between,",
        chunks=True,
    ),
    Planted(
        "no guard of rows of chunks",
        OPERAND,
        "row + i * apart < of.rows &&",
        "",
        reported=True,
        chunks=True,
    ),
    Planted("no guard of chunks", OPERAND, " && column < of.columns}", "}", chunks=True),
    Planted("chunks stay", OPERAND, "      from += n * bytes;", "", chunks=True),
    Planted("rows of chunks stay", OPERAND, "      from += n * of.row_bytes;", "", chunks=True),
    Planted(
        "guard of chunks stays",
        OPERAND,
        "      row += n;\n    }\n    __device__ void right(int n) {\n      from",
        "    }\n    __device__ void right(int n) {\n      from",
        "bf16_tn",
        chunks=True,
    ),
    Planted("turned, no guard", EXACT, "e.inside ? 4 : 0", "4", "exact_nn", True),
    Planted(
        "turned, terms of another warp",
        EXACT,
        "threadIdx.x / 32 % (depth / 8) * 8",
        "threadIdx.x / 32 * 8",
        "exact_nn",
    ),
    Planted("no guard of rows", PIPELINE, "row < sink.rows && column", "column", reported=True),
    Planted("no guard of columns", PIPELINE, " && column < sink.columns)", ")", chunks=True),
    # Fragments.
    Planted("rows of A", TENSOR, "row + lane % 16, lane", "row + lane % 8 * 2, lane"),
    Planted("chunks of A", TENSOR, "row + lane % 16, lane / 16)", "row + lane % 16, lane / 8 % 2)"),
    Planted(
        "columns of B", TENSOR, "column + lane % 8 + lane / 16 * 8", "column + lane % 16", "bf16_nt"
    ),
    Planted(
        "terms of A turned",
        TENSOR,
        "Tile::offset(lane % 8 + lane / 16 * 8",
        "Tile::offset(lane % 16",
        "bf16_tn",
    ),
    Planted("terms of B turned", TENSOR, "column / 8 + lane / 16)", "column / 8 + lane / 8 % 2)"),
    Planted("not transposed", DEVICE, "x4.trans.shared", "x4.shared", "bf16_tt"),
    Planted(
        "registers of A",
        DEVICE,
        "bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}",
        "bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%6,%5,%7}",
    ),
    Planted(
        "registers of B",
        TENSOR,
        "b[buffer][j / 2][j % 2 * 2 + 1]);",
        "b[buffer][j / 2][j % 2 * 2]);",
    ),
    Planted(
        "second step again",
        TENSOR,
        "FragmentsB::of_b(b[buffer][j], bt, first_b, j, step)",
        "FragmentsB::of_b(b[buffer][j], bt, first_b, j, 0)",
    ),
    Planted(
        "words of A",
        TENSOR,
        "step * 8 + i / 2 * 4, n * 16 + i % 2 * 8",
        "step * 8 + i % 2 * 4, n * 16 + i / 2 * 8",
        "tf32_tn",
    ),
    Planted("place of a word", TENSOR, "lane / 4 % 4 * 4", "lane / 4 % 2 * 4", "tf32_tn"),
    Planted(
        "words of B",
        TENSOR,
        "i % 2 * 4, n * 16 + i / 2 * 8",
        "i % 2 * 4, n * 16 + i / 2 * 4",
        "tf32_nn",
    ),
    Planted(
        "sums not cleared",
        TENSOR,
        "float of[kMmaM][kMmaN][4] = {};",
        "float of[kMmaM][kMmaN][4];",
    ),
    Planted(
        "rows of a thread",
        EXACT,
        "threadIdx.x / 32 / kWarpsAcross * 4 + threadIdx.x % 32 / 8",
        "threadIdx.x / 32 / kWarpsAcross * 4 + threadIdx.x % 4",
        "exact_tn",
    ),
    Planted(
        "turned word", EXACT, "outer_of_thread() % 4 * 4", "term_of_thread() % 4 * 4", "exact_nn"
    ),
    # Strides and places.
    Planted(
        "stride of C",
        PRODUCT,
        "static_cast<int64_t>(row) * columns",
        "static_cast<int64_t>(row) * rows",
    ),
    Planted(
        "stride of an operand",
        OPERAND,
        "row_bytes(x.row * bytes)",
        "row_bytes(x.row * bytes + bytes)",
    ),
    Planted("rows of a warp", TENSOR, "32 / kWarpsAcross * warp_m", "32 % kWarpsDown * warp_m"),
    Planted("rows of the slab", TENSOR, "warp_m + part * 16 + r % 16", "warp_m + r % 16"),
    Planted("tiles in a group", PIPELINE, "w.column = t / rows", "w.column = t / kGroup"),
    # The epilogue.
    Planted("bias of the row", PRODUCT, "+ column, column, columns", "+ column, row, columns"),
    Planted(
        "bias after activation",
        EPILOGUE,
        "  if (in_packs) {",
        "  activate(y, e.activation);\n  if (in_packs) {",
    ),
    Planted("slab's stride", PIPELINE, "slab + r * kRow + c", "slab + r * tile.n + c"),
]

# Right results, but each access in several passes: the counters show it.
CONFLICTS = [
    Planted("no swizzle of four chunks", OPERAND, "chunk ^= row >> 1 & 3;", ";"),
    Planted("no swizzle of eight chunks", OPERAND, "chunk ^= row & 7;", ";", "bf16_tn"),
    Planted("no swizzle of words", OPERAND, "chunk ^= 2 * (row & 3);", ";", "tf32_tn"),
    Planted(
        "swizzle of one row", OPERAND, "chunk ^= row >> 1 & 3;", "chunk ^= row & 1;", "bf16_nt"
    ),
]
