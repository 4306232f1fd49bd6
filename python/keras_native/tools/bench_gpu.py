"""The GPU's part of the bench tool: times on a GPU, counts on the emulator."""

from __future__ import annotations

import importlib
import json
import pathlib

from keras_native.tools.bench import time_peers
from keras_native.tools.emulate import estimate
from keras_native.tools.gpu import open_gpu

# Products and convolutions of theirs are cuBLAS and cuDNN, attention is flash-attention.
PEERS = ("torch", "cupy")


def run(cases, options, root) -> int:
    """Checks and times, or counts, the cases on gpu:0; returns the exit status."""
    gpu = importlib.import_module("bench.gpu")
    try:
        device = open_gpu()
    except RuntimeError as error:
        print(f"bench --device gpu: {error}")
        return 2
    taken, rest = gpu.runnable(cases, device["emulated"])
    what = "cases, small ones, counted in place of timed" if device["emulated"] else "cases"
    print(f"{len(taken)} {what}; {len(rest)} without a kernel there")
    failures = check(gpu, taken) if options.check else []
    if device["emulated"]:
        rows = count(gpu, taken)
    else:
        rows = measure(gpu, [case for case in taken if case.speed], options, root)
    if options.json:
        report = {"device": device, "rows": rows, "failures": failures, "without": rest}
        pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return 1 if failures else 0


def check(gpu, cases) -> list[str]:
    """Compares the small cases with float64; returns what failed."""
    harness = importlib.import_module("bench.harness")
    failures, worst, small = [], 0.0, harness.test_cases(cases)
    for case in small:
        try:
            worst = max(worst, gpu.check(case))
        except AssertionError as error:
            failures.append(f"{case}: {error}")
            print(f"FAILED {failures[-1]}")
    print(f"{len(small)} checked: {len(failures)} failed; largest error {worst:.2f} of the allowed")
    return failures


def count(gpu, cases) -> list[dict]:
    """What the emulator counts for each case: sectors of global memory as they were and at best,
    passes over the banks of shared memory and those too many."""
    width = max([len(str(case)) for case in cases], default=10)
    print(f"{'case':{width}} {'warp instr.':>12} {'sectors':>8} {'at best':>8}", end="")
    print(f" {'passes':>8} {'conflicts':>9}  kernel")
    rows = []
    for case in cases:
        done, kernel = estimate.work(gpu.counts(case)), gpu.kernel_of(case)
        print(
            f"{str(case):{width}} {done.instructions:12,} {done.sectors:8,} "
            f"{done.ideal_sectors:8,} {done.phases:8,} {done.conflicts:9,}  {kernel}",
            flush=True,
        )
        rows.append({"case": str(case), "kernel": kernel, **vars(done)})
    return rows


def measure(gpu, cases, options, root) -> list[dict]:
    """Times the speed cases beside other libraries, where they are asked for, and prints them."""
    peers = time_peers(PEERS, options, root)
    width = max([len(str(case)) for case in cases], default=10)
    print("".join(f"{p['library']} {p['version']}; " for p in peers), end="")
    print("times faster than it" if peers else "")
    print(f"{'case':{width}} {'us':>10} {'TFLOP/s':>8} {'GB/s':>6}", end="")
    print("".join(f" {p['library']:>8}" for p in peers))
    rows = []
    for case in cases:
        took = gpu.seconds(case, options.seconds)
        row = {"case": str(case), "kernel": gpu.kernel_of(case), "seconds": took}
        line = f"{str(case):{width}} {took * 1e6:10.1f} {case.flops / took / 1e12:8.2f}"
        line += f" {case.bytes / took / 1e9:6.0f}"
        for peer in peers:
            other = peer["seconds"].get(str(case))
            line += f" {other / took:8.2f}" if other else f" {'-':>8}"
            row[peer["library"]] = other
        print(line, flush=True)
        rows.append(row)
    return rows
