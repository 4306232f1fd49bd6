"""The command line: compile, launch, report, compare, count."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

import numpy as np

from keras_native.tools import nvidia
from keras_native.tools.emulate import arguments as args
from keras_native.tools.emulate import estimate

EXAMPLES = """\
arguments, one for each parameter of the kernel:
  5  -0.5  0x10                  a number of the parameter's type; with a type: int64:5
  x.npy                          an array with the file's elements
  float32[64,100]                an array of random numbers; or :zeros :ones :arange :empty
  '{x.npy,float32[8]:empty,64}'  a structure: numbers are int32 and float32 unless they say

examples:
  emulate saxpy.cu saxpy --grid 4 --block 256 --args 'float32[1000]' 'float32[1000]' 2.0 1000
  emulate gemm.ptx gemm --grid 2,2 --block 256 --args c.npy a.npy b.npy 64 64 64 \\
          --check 0=expected.npy --save 0=c.npy --gpu H100

exit status: 0, 1 if a fault was found or a comparison failed, 2 if the kernel could not be run
"""


def main(arguments: list[str]) -> int:
    """Runs the tool; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (args.ArgumentError, nvidia.ToolError) as error:
        print(f"emulate: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m keras_native emulate",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", type=Path, help="a .cu file, which nvcc compiles, or a .ptx file")
    add("entry", help="the kernel: its name, mangled or not")
    add("--grid", default="1", help="blocks, x[,y[,z]]")
    add("--block", default="32", help="threads of a block, x[,y[,z]]")
    add("--shared", type=int, default=0, help="bytes of dynamic shared memory")
    add("--args", nargs="*", default=[], metavar="ARG", help="see below")
    add("--check", action="append", default=[], metavar="N=FILE", help="compare argument N after")
    add("--save", action="append", default=[], metavar="N=FILE", help="write argument N after")
    add("--tolerance", type=float, help="of --check, relative to the largest element (1e-5)")
    add("--gpu", default="A100", help="whose limits hold and whose time is estimated")
    add("--seed", type=int, default=0, help="of random arrays and of the order of warps")
    add("--no-races", action="store_true", help="do not look for races: several times faster")
    add("--most", type=int, default=1 << 30, help="instructions of warps until it is given up")
    add("--top", type=int, default=8, help="how many instructions are listed")
    add("--json", type=Path, metavar="FILE", help="write reports and counts as data")
    add("--nvcc", action="append", default=[], metavar="OPTION", help="for nvcc, as --nvcc=-DX=1")
    return parser


def _run(options) -> int:
    extents = [_extent(name, getattr(options, name)) for name in ("grid", "block")]
    rng = np.random.default_rng(options.seed)
    given = [args.parse(text, rng) for text in options.args]
    cuda, gpu = _emulator(options)
    ptx = _ptx(options, gpu["capability"])
    entry, parameters = _find_entry(options.entry, args.entries(ptx))
    if len(given) != len(parameters):
        wanted = ", ".join(map(str, parameters)) or "none"
        raise args.ArgumentError(
            f"kernel '{entry}' takes {len(parameters)} arguments, got {len(given)}: {wanted}"
        )
    arrays = list(_arrays(given))
    checks = [_numbered("--check", text, given) for text in options.check]
    saves = [_numbered("--save", text, given) for text in options.save]
    wanted = [(array, _expected(array, path)) for array, path in checks]
    data = [args.encode(a, p, _uploader(cuda)) for a, p in zip(given, parameters)]
    cuda.set_options(options.seed + 1, not options.no_races, options.most)
    try:
        kernel = _launch(cuda, ptx, entry, extents, data, options.shared)
        print(f"{entry} on an emulated {gpu['name']}: no GPU was used")
        reports = cuda.reports()
        _print_reports(reports, arrays)
        equal = [_compare(a, want, options.tolerance) for a, want in wanted]
        _print_arrays(arrays)
        for array, path in saves:
            np.save(path, array.now())
        rows = cuda.counts(entry)
        done = estimate.work(rows)
        blocks = int(np.prod(extents[0]))
        lines = _occupancy(cuda, ptx, entry, kernel, gpu, extents[1], options.shared)
        lines += estimate.describe(done, gpu, blocks, sum(a.bytes for a in arrays))
        print(*lines, "what costs most (times a warp ran it, place, instruction):", sep="\n")
        print(*estimate.hot_lines(rows, options.top), sep="\n")
        if options.json:
            facts = {"reports": reports, "counts": rows, "text": lines, "equal": all(equal)}
            options.json.write_text(json.dumps(facts, indent=1) + "\n")
    finally:
        cuda.set_options()
    return 1 if reports or not all(equal) else 0


def _extent(name: str, text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+){0,2}", text):
        raise args.ArgumentError(f"--{name} {text}: one to three sizes, x,y,z")
    return [int(size) for size in text.split(",")]


def _emulator(options):
    """The module `_cuda` over the emulator, and the GPU that is emulated."""
    os.environ["NATIVE_CUDA_DRIVER"] = "emulator"
    os.environ["NATIVE_CUDA_GPU"] = options.gpu
    try:
        from keras_native import _cuda
    except ImportError as error:
        raise nvidia.ToolError(
            "this installation has no GPU part, which has the emulator: install "
            "keras-native-cuda13 (`pip install ./cuda` in the project's sources)"
        ) from error
    known = {gpu["name"]: gpu for gpu in _cuda.gpus()}
    if options.gpu not in known:
        raise args.ArgumentError(f"no GPU '{options.gpu}'; there are {', '.join(known)}")
    if not _cuda.device()["emulated"]:
        raise nvidia.ToolError("this process uses a real GPU already: run the tool by itself")
    _cuda.clear_reports()
    return _cuda, known[options.gpu]


def _ptx(options, capability: int) -> str:
    if not options.source.is_file():
        raise args.ArgumentError(f"there is no file {options.source}")
    if options.source.suffix == ".cu":
        return nvidia.compile_ptx(options.source, nvidia.target(capability), options.nvcc)
    if options.source.suffix == ".ptx":
        return options.source.read_text()
    raise args.ArgumentError(f"{options.source}: expected a .cu or a .ptx file")


def _find_entry(name: str, entries: dict):
    """The kernel of that name; C++ writes the length of a name before it."""
    mangled = [entry for entry in entries if re.search(rf"(?<!\d){len(name)}{name}", entry)]
    for found in ([name] if name in entries else [], mangled):
        if len(found) == 1:
            return found[0], entries[found[0]]
    what = f"several kernels '{name}'" if mangled else f"no kernel '{name}'"
    raise args.ArgumentError(f"{what}; there are {', '.join(entries) or 'none'}")


def _arrays(given):
    for argument in given:
        if isinstance(argument, args.Array):
            yield argument
        elif isinstance(argument, args.Struct):
            yield from _arrays(argument.parts)


def _numbered(option: str, text: str, given):
    """The array that "N=FILE" names, by place in the arguments ("0.2": part 2 of argument 0)."""
    place, _, path = text.partition("=")
    found = args.Struct("", given)
    try:
        for number in place.split("."):
            found = found.parts[int(number)]
    except (ValueError, IndexError, AttributeError):
        found = None
    if not path or not isinstance(found, args.Array):
        raise args.ArgumentError(f"{option} {text}: expected N=FILE, N the place of an array")
    return found, path


def _expected(array: args.Array, path: str) -> np.ndarray:
    want = args.parse(path if path.endswith(".npy") else path + ".npy", np.random.default_rng(0))
    if want.shape != array.shape:
        raise args.ArgumentError(f"--check: {path} is {want}, and the argument {array}")
    return want.before


def _uploader(cuda):
    def upload(array: args.Array) -> int:
        array.memory = cuda.DeviceArray(array.bytes)
        if array.before is not None:
            array.memory.copy_in(array.before.reshape(-1).view(np.uint8))
        return array.memory.address

    return upload


def _launch(cuda, ptx: str, entry: str, extents, data: list[bytes], shared: int):
    """Launches and waits. What the emulator finds wrong is in its reports; other failures raise."""
    try:
        kernel = cuda.Module(ptx).kernel(entry)
    except (RuntimeError, ValueError) as error:
        raise nvidia.ToolError(f"the emulator does not take it: {error}") from error
    cuda.clear_counts()
    try:
        kernel.launch(*extents, data, shared=shared)
        cuda.synchronize()
    except RuntimeError as error:
        if not cuda.reports():
            raise nvidia.ToolError(str(error)) from error
    return kernel


def _print_reports(reports: list[dict], arrays: list[args.Array]) -> None:
    for report in reports:
        print("FAULT " + report["text"] + _place(report["address"], arrays))
    print(f"{len(reports)} faults found" if reports else "no faults found")


def _place(address: int, arrays: list[args.Array]) -> str:
    """Which argument an address of global memory belongs to."""
    for array in arrays:
        offset = address - array.memory.address
        if -4096 <= offset < array.bytes + 4096:
            return f" [byte {offset} of argument {array.text}, which has {array.bytes}]"
    return ""


def _compare(array: args.Array, want: np.ndarray, tolerance: float | None) -> bool:
    got = array.now()
    exact = array.dtype.kind in "biu" and tolerance is None
    wide = (got.astype(np.float64), want.astype(np.float64))
    with np.errstate(all="ignore"):
        errors = np.abs(wide[0] - wide[1])
        scale = np.abs(wide[1][np.isfinite(wide[1])]).max(initial=0)
    same = (got == want) if exact else (wide[0] == wide[1]) | np.isnan(wide[0]) & np.isnan(wide[1])
    allowed = 0 if exact else (1e-5 if tolerance is None else tolerance) * scale
    bad = ~same & ~(errors <= allowed)
    worst = errors[np.isfinite(errors)].max(initial=0)
    text = f"check {array.text}: largest error {worst:.3g}, {allowed:.3g} allowed: "
    if not bad.any():
        print(text + "equal")
        return True
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    print(f"{text}{bad.sum():,} of {bad.size:,} differ, first at {first}:")
    print(f"  {got[first]}, expected {want[first]}")
    return False


def _print_arrays(arrays: list[args.Array]) -> None:
    for array in arrays:
        now = array.now()
        if array.before is not None and now.tobytes() == array.before.tobytes() or not now.size:
            continue
        with np.printoptions(threshold=6, edgeitems=3, precision=5):
            text = f"written: {array.text} ({array}): {now.reshape(-1)}"
        wide = now.astype(np.float64)
        if nans := int(np.isnan(wide).sum()):
            text += f", {nans:,} NaN"
        print(text)


def _occupancy(cuda, ptx, entry, kernel, gpu, block, shared) -> list[str]:
    threads, own = int(np.prod(block)), kernel.resources
    memory = f"{own['shared'] + shared:,} bytes of shared memory a block"
    try:
        registers, spilled = nvidia.registers(ptx, nvidia.target(gpu["capability"]))[entry]
    except nvidia.ToolError as error:
        reason = str(error).splitlines()[0]
        return [
            f"occupancy: not known without the registers that ptxas counts ({reason}); {memory}"
        ]
    found = cuda.occupancy(gpu["name"], threads, registers, own["shared"] + shared)
    return [
        f"resources: {registers} registers a thread, {spilled} bytes spilled, {memory}, "
        f"{own['local']} bytes of local memory a thread",
        f"occupancy of {gpu['name']}: {found['blocks']} blocks and {found['warps']} warps a "
        f"multiprocessor ({found['fraction']:.0%}), limited by {found['limit']}",
    ]
