"""The GPU's part of the bench tool: times on a GPU, counts on the emulator."""

from __future__ import annotations

import importlib
import json
import pathlib

from keras_native import _core
from keras_native.tools.bench import to_check
from keras_native.tools.emulate import estimate
from keras_native.tools.gpu import open_gpu

# Products and convolutions of theirs are cuBLAS and cuDNN, attention is flash-attention.
PEERS = ("torch", "cupy")


def run(family: str, cases: list, options) -> int:
    """Checks and times, or counts, the cases on gpu:0; returns the exit status."""
    gpu = importlib.import_module("bench.gpu")
    try:
        device = open_gpu()
    except RuntimeError as error:
        print(f"bench --device gpu: {error}")
        return 2
    small, rest = gpu.runnable(to_check(family, cases, options), device["emulated"])
    failures = check(gpu, small) if options.check else []
    if device["emulated"]:
        print("The emulator: small cases, counted in place of timed")
        rows = count(gpu, small)
    else:
        cases, rest = gpu.runnable(cases, False)
        rows = measure(gpu, family, cases, options)
    print(f"{len(rows)} cases; {len(rest)} without a kernel there")
    if options.json:
        report = {"device": device, "rows": rows, "failures": failures, "without": rest}
        pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return 1 if failures else 0


def check(gpu, cases) -> list[str]:
    """Compares the cases with float64; returns what failed."""
    failures, worst = [], 0.0
    for case in cases:
        try:
            worst = max(worst, gpu.check(case))
        except AssertionError as error:
            failures.append(f"{case.name}: {error}")
            print(f"FAILED {failures[-1]}")
    print(f"{len(cases)} checked: {len(failures)} failed; largest error {worst:.2f} of the allowed")
    return failures


def count(gpu, cases) -> list[dict]:
    """What the emulator counts for each case: sectors of global memory as they were and at best,
    passes over the banks of shared memory and those too many."""
    width = max([len(case.name) for case in cases], default=10)
    print(f"{'case':{width}} {'warp instr.':>12} {'sectors':>8} {'at best':>8}", end="")
    print(f" {'passes':>8} {'conflicts':>9}  kernel")
    rows = []
    for case in cases:
        done, kernel = estimate.work(gpu.counts(case)), gpu.kernel_of(case)
        print(
            f"{case.name:{width}} {done.instructions:12,} {done.sectors:8,} "
            f"{done.ideal_sectors:8,} {done.phases:8,} {done.conflicts:9,}  {kernel}",
            flush=True,
        )
        rows.append({"case": case.name, "kernel": kernel, **vars(done)})
    return rows


def measure(gpu, family: str, cases: list, options) -> list[dict]:
    """Times the cases beside other libraries, where they are asked for, and prints them."""
    measuring = importlib.import_module("bench.measure")
    libraries = PEERS if options.peers == [] else options.peers or ()
    setting = measuring.Setting(
        options.threads, _core.isa(), seconds=options.seconds, libraries=libraries,
        python=options.peer_python, batch=options.batch, device="gpu",
    )  # fmt: skip
    found = {"versions": {}, "missing": {}, "timed": []}
    sides = measuring.open_sides(setting, found, own=())
    for library, why in found["missing"].items():
        print(f"{library}: {why}")
    width = max([len(case.name) for case in cases], default=10)
    print("".join(f"{library} {found['versions'][library]}; " for library in sides), end="")
    print("times faster than it" if sides else "")
    print(f"{'case':{width}} {'us':>10} {'TFLOP/s':>8} {'GB/s':>6}", end="")
    print("".join(f" {library:>8}" for library in sides))
    rows = []
    try:
        for case in cases:
            rows.append(_row(gpu, case, options.seconds))
            for library, side in sides.items():
                others = side.time(family, case, setting)
                rows[-1][library] = measuring.summary([others], "median") if others else None
            print(_line(case, rows[-1], list(sides), width), flush=True)
    finally:
        for side in sides.values():
            side.close()
    return rows


def _row(gpu, case, seconds: float) -> dict:
    return {
        "case": case.name,
        "kernel": gpu.kernel_of(case),
        "seconds": gpu.seconds(case, seconds),
        "flops": case.flops,
        "bytes": gpu.harness.traffic(case),
    }


def _line(case, row: dict, libraries: list[str], width: int) -> str:
    took = row["seconds"]
    line = f"{case.name:{width}} {took * 1e6:10.1f} {case.flops / took / 1e12:8.2f}"
    line += f" {row['bytes'] / took / 1e9:6.0f}"
    for library in libraries:
        line += f" {row[library] / took:8.2f}" if row[library] else f" {'-':>8}"
    return line
