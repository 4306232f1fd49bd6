"""Writes cuda/RESOURCES.md: what each kernel takes of a multiprocessor, by ptxas, and what its
machine code is made of, by nvdisasm where that is found (NVDISASM, the path, or the wheel).

    python cuda/resources.py

needs nvcc and an installation with the GPU part. Exits with 1 if a kernel spills.
"""

from __future__ import annotations

import collections
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from keras_native import _cuda
from keras_native.tools.nvidia import find

HERE = Path(__file__).resolve().parent
INCLUDES = [f"-I{folder}" for folder in (HERE, HERE.parent / "csrc")]
# Architecture -> the GPU whose occupancy is shown.
GPUS = {80: "A100", 90: "H100", 100: "B200", 120: "RTX5090"}
CODE = ("HMMA", "IMMA", "HGMMA", "LDSM", "LDGSTS", "UTMALDG", "FFMA", "DFMA")


def tile(family: str, name: str) -> list[int]:
    """The numbers of a tile in kernels/<family>/tiles.h."""
    text = (HERE / f"kernels/{family}/tiles.h").read_text()
    return [int(n) for n in re.search(rf"constexpr Tile k{name}\{{([^}}]*)\}}", text)[1].split(",")]


def targets(source: Path) -> dict[int, str]:
    """The architectures of GPUS that a source is compiled for, and what nvcc calls them."""
    if found := re.search(r"\.sm_((\d+)a)\.cu$", source.name):
        return {int(found[2]): found[1]}
    return {architecture: str(architecture) for architecture in GPUS}


def gemm_shared(kernel: str) -> int:
    """Bytes of a product's or a convolution's stages."""
    family, kind, *size = kernel.split("_")
    if kind == "warpgroup":
        m, n, depth, stages, *_ = tile("gemm", "Warpgroup" + size[1].capitalize())
        return stages * ((m + n) * depth * 2 + 2 * 8) + m // 16 * 4096
    if kind == "double":
        m, n, depth, stages, *_ = tile("gemm", "Double")
        return stages * depth * (m + n + 4) * 8
    names = {"exact": "Exact", "tf32": "Wide", "s8": "Byte", "u8": "Byte"}
    m, n, depth, stages, *_ = tile("gemm", names.get(kind, "Tensor") + size[0].capitalize())
    # Of convolutions over windows, for each row its window and its target (kBytesOfRow).
    rows = m * 20 if family == "conv" and not kernel.endswith("weight_grad") else 0
    wide = m + n + (8 if kind == "exact" else 0)  # its rows are padded
    return stages * wide * depth * {"bf16": 2, "f16": 2, "s8": 1, "u8": 1}.get(kind, 4) + rows


def attention_shared(kernel: str) -> int:
    """Bytes of attention's tiles, as the functions of tiles.h have them."""
    if kernel.startswith("attention_grad") and kernel.endswith("_warpgroup"):
        _, _, of, _, width, _ = kernel.split("_")
        rows, columns, stages, *_ = tile("attention", "Warpgroup" + of.capitalize() + width)
        pairs = 2 * (rows + stages * columns) * int(width) * 2
        return pairs + stages * 2 * columns * 4 + (stages + 1) * 2 * 8
    if kernel.endswith("_warpgroup"):
        width = kernel.split("_")[-2]
        rows, columns, stages, *_ = tile("attention", "Warpgroup" + width)
        return (2 * rows + stages * columns) * int(width) * 2 + (stages + 1) * 2 * 8
    plain = kernel.endswith("_plain")
    *grad, kind, width = kernel.removesuffix("_plain").split("_")[1:]
    exact = kind == "f32"
    name = ("Exact" if exact else "Plain" if plain else "Tensor") + ("Grad" if grad else "") + width
    rows, columns, stages, *_ = tile("attention", name)
    weights = rows * columns * 4 if exact else 0
    elements = int(width) * (4 if exact else 2)
    if not grad:
        return (rows + 2 * columns) * elements + weights
    return (2 * rows + 2 * stages * columns) * elements + stages * 3 * columns * 4 + weights


def dynamic_shared(kernel: str) -> int:
    """Bytes that a launch asks for beside what is declared: the most, where it depends on sizes."""
    if re.match("gemm_|conv_", kernel) and not re.search("_join|_overlap_add", kernel):
        return gemm_shared(kernel)
    if kernel.startswith("attention_") and "statistics" not in kernel:
        return attention_shared(kernel)
    if kernel.startswith("tile_") or kernel.endswith("_rows") and not kernel.startswith("reduce"):
        return 48 << 10
    return 0


def translated(source: Path, architecture: str, folder: Path) -> Path:
    """The PTX, from which the build makes the machine code of every architecture."""
    ptx = folder / f"{source.stem}.ptx"
    command = [find("nvcc"), "-ptx", f"-arch=compute_{architecture}", "-std=c++20", *INCLUDES]
    subprocess.run([*command, str(source), "-o", str(ptx)], check=True)
    return ptx


def compiled(ptx: Path, oldest: str, architecture: str, folder: Path) -> dict[str, dict]:
    """By kernel: registers, spilled bytes, declared shared memory, threads, instructions."""
    cubin = folder / f"{ptx.stem}.{architecture}.cubin"
    code = f"-gencode=arch=compute_{oldest},code=sm_{architecture}"
    command = [find("nvcc"), "-cubin", code, "-Xptxas", "-v", str(ptx), "-o", str(cubin)]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    kernels: dict[str, dict] = {}
    for line in log.splitlines():
        if found := re.search(r"Compiling entry function '(\w+)'", line):
            row = kernels[found[1]] = {"shared": 0}
        elif found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            row["spilled"] = int(found[1]) + int(found[2])
        elif found := re.search(r"Used (\d+) registers", line):
            row["registers"] = int(found[1])
            if shared := re.search(r"(\d+) bytes smem", line):
                row["shared"] = int(shared[1])
    if nvdisasm := find("nvdisasm"):
        text = subprocess.run([nvdisasm, str(cubin)], capture_output=True, text=True, check=True)
        for part in re.split(r"^\.text\.", text.stdout, flags=re.MULTILINE)[1:]:
            name = part[: part.index(":")]
            opcodes = re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@\S+\s+)?([A-Z0-9_]+)", part, re.M)
            kernels[name]["code"] = collections.Counter(opcodes)
    return kernels


def threads(ptx: Path) -> dict[str, int]:
    """Threads of a block, by kernel."""
    found = re.findall(r"\.entry (\w+)\((?:.|\n)*?\.maxntid (\d+)", ptx.read_text())
    return {name: int(count) for name, count in found}


def table(folder: Path) -> tuple[str, int]:
    """The page, and how many kernels spill."""
    heads = [f"sm_{a} regs" for a in GPUS] + ["spills", "shared", *GPUS.values(), *CODE]
    lines = [
        "# What kernels take",
        "",
        "Written by `cuda/resources.py` from `ptxas -v`: registers a thread by architecture, bytes "
        "spilled on any of them, the most shared memory of a block in bytes, and which part of a "
        "multiprocessor's warps it leaves room for. Then instructions in the machine code for "
        "the first of them, the whole kernel's. Estimates by the rules of the programming guide, "
        "not measurements. A kernel of one architecture alone has no numbers for others.",
        "",
        "| kernel | threads | " + " | ".join(heads) + " |",
        "|---|" + "---:|" * (len(heads) + 1),
    ]
    spilling = 0
    for source in sorted((HERE / "kernels").glob("*/*.cu")):
        names = targets(source)
        first = min(names)
        ptx = translated(source, names[first], folder)
        by = {a: compiled(ptx, names[first], name, folder) for a, name in names.items()}
        blocks = threads(ptx)
        for name in sorted(blocks):
            rows = {a: by[a][name] for a in names}
            spilled = max(row["spilled"] for row in rows.values())
            spilling += spilled > 0
            shared = max(row["shared"] for row in rows.values()) + dynamic_shared(name)
            fractions = {
                a: _cuda.occupancy(GPUS[a], blocks[name], row["registers"], shared)["fraction"]
                for a, row in rows.items()
            }
            code = rows[first].get("code")
            cells = [name, blocks[name], *(rows[a]["registers"] if a in rows else "" for a in GPUS)]
            cells += [spilled, shared]
            cells += [f"{fractions[a]:.0%}" if a in rows else "" for a in GPUS]
            cells += [code[opcode] if code else "" for opcode in CODE]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n", spilling


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        text, spilling = table(Path(folder))
    (HERE / "RESOURCES.md").write_text(text)
    sys.exit(1 if spilling else 0)
