"""What a launch costs by its counts: instructions, memory, and the least time on a named GPU."""

from __future__ import annotations

import collections
import dataclasses
import math
import re

# Passes of a multiprocessor's four schedulers, its special function units and its shared memory.
ISSUED_A_CLOCK, SPECIAL_A_CLOCK, LANES = 4, 16, 32
# How a tensor core's rate for a type of operands compares with that for bfloat16.
TENSOR_RATE = {"tf32": 0.5, "s8": 2, "u8": 2, "f64": 1 / 16, "e4m3": 2, "e5m2": 2}


@dataclasses.dataclass
class Work:
    """Sums over a kernel's instructions.

    Attributes:
        classes: class of instruction -> how often a warp ran one.
        requests, sectors, ideal_sectors: of global memory; sectors have 32 bytes.
        phases, conflicts: passes over the banks of shared memory, and those too many.
        multiply_adds: of the tensor cores, in bfloat16's worth of time.
    """

    classes: dict[str, int]
    requests: int
    sectors: int
    ideal_sectors: int
    phases: int
    conflicts: int
    multiply_adds: float

    @property
    def instructions(self) -> int:
        return sum(self.classes.values())


def work(rows: list[dict]) -> Work:
    """Adds up what `_cuda.counts` says."""
    classes = collections.Counter()
    for row in rows:
        classes[row["class"]] += row["executed"]
    names = ("sectors", "ideal_sectors", "phases", "conflicts")
    sums = {name: sum(row[name] for row in rows) for name in names}
    sums["requests"] = sum(row["requests"] for row in rows if row["sectors"])
    products = sum(row["executed"] * tensor_work(row["opcode"]) for row in rows)
    return Work({k: n for k, n in classes.most_common() if n}, **sums, multiply_adds=products)


def tensor_work(opcode: str) -> float:
    """Multiply-adds of a warp's `mma` or `wgmma`, as many as bfloat16 does in the same time; 0 for
    the rest."""
    found = re.search(r"^(wg)?mma\..*\.m(\d+)n(\d+)k(\d+)\.", opcode)
    if not found:
        return 0.0
    warps = 4 if found[1] else 1
    kinds = [part for part in opcode.split(".") if part in TENSOR_RATE]
    work = math.prod(map(int, found.groups()[1:])) / warps
    return work / (TENSOR_RATE[kinds[0]] if kinds else 1)


def least_time(done: Work, gpu: dict, blocks: int, bytes_given: int) -> dict[str, float]:
    """Seconds that each part of the GPU is busy at the least; the launch takes the longest.

    Args:
        gpu: one of `_cuda.gpus()`.
        blocks: of the grid; fewer than multiprocessors leave some idle.
        bytes_given: of the arrays, each of which crosses to memory once at most if caches are
            perfect.
    """
    clocks = gpu["clock_ghz"] * 1e9 * min(gpu["multiprocessors"], max(blocks, 1))
    floats = done.classes.get("float", 0) * LANES / gpu["fp32_a_clock"]
    special = done.classes.get("special", 0) * LANES / SPECIAL_A_CLOCK
    memory = min(bytes_given, 32 * done.sectors) / (gpu["gigabytes_a_second"] * 1e9)
    return {
        "issue": done.instructions / ISSUED_A_CLOCK / clocks,
        "arithmetic in floating point": floats / clocks,
        "special functions": special / clocks,
        "tensor cores": done.multiply_adds / gpu["tensor_a_clock"] / clocks,
        "shared memory": done.phases / clocks,
        "memory": memory,
    }


def describe(done: Work, gpu: dict, blocks: int, bytes_given: int) -> list[str]:
    """Counts and estimate as lines of text."""
    total = max(done.instructions, 1)
    shares = ", ".join(f"{name} {n:,} ({n / total:.0%})" for name, n in done.classes.items())
    lines = [f"instructions of warps: {done.instructions:,}: {shares}"]
    if done.requests:
        lines.append(
            f"global memory: {done.requests:,} requests, {done.sectors / done.requests:.2f} "
            f"sectors each ({done.ideal_sectors / done.requests:.2f} at best), "
            f"{32 * done.sectors:,} bytes moved"
        )
    if done.phases:
        lines.append(f"shared memory: {done.phases:,} passes, {done.conflicts:,} for conflicts")
    parts = least_time(done, gpu, blocks, bytes_given)
    longest = max(parts, key=parts.get)
    lines.append(
        f"estimate for {gpu['name']}: at least {parts[longest] * 1e6:.3g} us, limited by {longest} "
        "(" + ", ".join(f"{n} {s * 1e6:.3g}" for n, s in parts.items() if s) + "); launching "
        "takes a few us more"
    )
    worst = 32 * done.sectors / (gpu["gigabytes_a_second"] * 1e9)
    lines.append(f"  memory would take {worst * 1e6:.3g} us if no cache held anything")
    return lines


def hot_lines(rows: list[dict], top: int) -> list[str]:
    """The places that cost most, and those that memory makes slow."""
    places: dict[tuple, dict] = {}
    numbers = ("executed", "conflicts", "phases", "sectors", "ideal_sectors")
    for row in rows:
        place = places.setdefault((row["source"], row["opcode"]), dict.fromkeys(numbers, 0))
        for name in numbers:
            place[name] += row[name]
    marked = []
    for (source, opcode), row in places.items():
        notes = []
        if row["conflicts"]:
            notes.append(f"{row['conflicts']:,} bank conflicts in {row['phases']:,} passes")
        if row["sectors"] > row["ideal_sectors"]:
            notes.append(f"{row['sectors']:,} sectors, {row['ideal_sectors']:,} at best")
        weight = row["executed"] + row["conflicts"] + row["sectors"] - row["ideal_sectors"]
        text = f"{row['executed']:>12,}  {source}  {opcode}"
        marked.append((weight, text + (f"  <- {'; '.join(notes)}" if notes else "")))
    marked.sort(key=lambda pair: -pair[0])
    return [text for _, text in marked[:top]]
