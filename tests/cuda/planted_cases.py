"""Kernels with planted faults that are launched by hand, each on one small problem."""

import dataclasses
import functools
import re
from collections.abc import Callable

import numpy as np
from planted_kernels import outcome, texts, unit
from ptxkernel import Buffer, _cuda

COMMON = ("types.h", "divisor.h", "device.cuh", "pack.cuh", "elements.cuh", "moments.cuh")
# The kernels that a source ends with, behind its unnamed namespace: each fault has its own.
ENTRIES = re.compile(r"(?<=\n}  // namespace\n).*?(?=\n}  // namespace \w)", re.DOTALL)
DIVISOR = np.dtype([("value", "u4"), ("multiplier", "u4"), ("shift", "i4")], align=True)


def divisor(d):
    """As kernels/divisor.h makes it."""
    shift = 31 + (d - 1).bit_length()
    return d, -(-(1 << shift) // d), shift


def structure(**fields):
    """That of fields in their order: their names by a letter for the type (p: pointers, q and i:
    integers of 64 and 32 bits, f: floats), with a digit behind it where that comes again."""
    short = {"p": "u8", "q": "i8", "i": "i4", "f": "f4"}
    return np.dtype(
        [(n, short[kind[0]]) for kind, names in fields.items() for n in names.split()], align=True
    )


def integers(*shape, dtype=np.float32, largest=8):
    """Sums of which have no error."""
    return np.random.default_rng(0).integers(-largest, largest + 1, shape).astype(dtype)


@dataclasses.dataclass(frozen=True)
class Case:
    """A kernel: `family.Structure` of its parameters, its body, the sources that this needs, and
    what launches it. `others`: bodies of kernels that run beside it, by the ends of their names,
    with the same structure. Without a body it is the kernels of the last source, whose names begin
    with the family's."""

    params: str
    entry: str
    files: tuple[str, ...]
    others: dict[str, str]
    run: Callable

    def unit(self, name, fault=None) -> str:
        """The sources, with a fault, and the kernel as `name`."""
        family, params = self.params.split(".")
        if not self.entry:
            whole = texts(self.files, fault).replace("namespace native", f"namespace {name}_space")
            return whole.replace(f" {family}_", f" {name}_")
        before = "".join(
            f'extern "C" __global__ void {name}{end}(const __grid_constant__ {params} p) {{{body}}}'
            for end, body in self.others.items()
        )
        made = unit(name, family, self.files, self.entry, fault, params, before=before)
        return ENTRIES.sub("", made)


class Cases(dict):
    """By name; `structures` are those of parameters."""

    def __init__(self, structures):
        super().__init__()
        self.structures = structures

    def add(self, params, entry, *files, **others):
        """Decorates what launches a kernel. It is given launch(blocks, threads, fields of the
        structure), and returns pairs of a result and what it should be."""

        def added(run):
            self[run.__name__] = Case(params, entry, (*COMMON, *files), others, run)
            return run

        return added

    def unit(self, name, kernel, fault=None) -> str:
        """For `fixtures`."""
        return self[kernel].unit(name, fault)

    def run(self, module, name, kernel):
        """Whether all results are right, and the names of what the emulator found."""
        case = self[kernel]
        launch = functools.partial(self.launch, module, name, case.params)
        results, found = outcome(lambda: case.run(launch))
        return bool(results) and all(np.allclose(a, b, 1e-5, 1e-5) for a, b in results), found

    def launch(
        self, module, name, params, blocks, threads, /, *, end="", of=None, shared=0, **fields
    ):
        """Launches the kernel, or the one beside it with that `end`, and waits; `of`: the structure
        of its parameters, if it is another; `shared`: bytes of memory that it is given."""
        p = np.zeros((), self.structures[of or params])
        for field, value in fields.items():
            p[field] = value.memory.address if isinstance(value, Buffer) else value
        grid = blocks if isinstance(blocks, list) else [blocks]
        module.kernel(name + end).launch(grid, [threads], [p.tobytes()], shared=shared)
        _cuda.synchronize()
