"""One case drives three things: comparison with the float64 reference on every instruction set and
thread count, finite-difference gradients, and speed.

Importing this file imports neither keras_native nor any peer, so that a peer's process can read the
same tables.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

THREADS = (1, 2, 7)
# Spacing of the numbers next to 1.
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@dataclass(frozen=True)
class Case:
    """One problem of one primitive.

    Attributes:
        op: the primitive's name.
        inputs: (shape, dtype) of each operand.
        attrs: attributes as the primitive takes them.
        flops, bytes: work and traffic of one run, for the speed table.
        tol: allowed error as a multiple of eps(dtype of the output), say sqrt(k) or k times a small
            number for a sum of k terms. Relative to the largest finite reference element of that
            output, or to each element if `relative`. Integers and bools must be equal.
        relative: see `tol`.
        terms: size of the terms that make an element, where they may cancel: errors are relative
            to at least this. A number, or a function of the operands that gives one per output.
        grad: check the gradient rule (floating point operands only).
        speed: belongs to the speed table (slow sizes); such a case is not run as a test.
        make: `make(rng)` gives the operands as arrays, where random ones will not do.
        updates: the operand that each result replaces, as a compiled step writes a variable's new
            value: timed so, in the operand's own memory. Empty where results are new.
        complete: `complete(arrays)` gives the operands with those filled in that another primitive
            of ours computes (what a gradient takes from the forward pass). Not called for peers.
        peer: name of a library -> `build(arrays)`, which gives a callable that does the same work
            and returns when it is done.
        label: shown instead of the shapes.
        spell: what the family's `parse` makes this case of, shown in its stead.
    """

    op: str
    inputs: Sequence[tuple[tuple[int, ...], str]]
    attrs: dict = field(default_factory=dict)
    flops: float = 0
    bytes: float = 0
    tol: float = 4
    relative: bool = False
    terms: float | Callable[[Sequence[np.ndarray]], Sequence[float]] = 0
    grad: bool = True
    speed: bool = False
    make: Callable | None = None
    complete: Callable | None = None
    updates: Sequence[int] = ()
    peer: dict | None = None
    label: str = ""
    spell: str = ""

    @property
    def name(self) -> str:
        """What the bench tool shows and takes on its command line."""
        return self.spell or str(self)

    def __str__(self) -> str:
        shapes = self.label or " ".join(f"{d}{list(s)}" for s, d in self.inputs).replace(", ", "x")
        attrs = ",".join(f"{k}={v}" for k, v in self.attrs.items() if v not in (False, None))
        return f"{self.op}[{shapes}{';' + attrs if attrs else ''}]".replace(" ", "_")

    def arrays(self, seed: int = 0) -> list[np.ndarray]:
        """Operands; the same for the same case and seed."""
        given = self.given(seed)
        return given if self.complete is None else self.complete(given)

    def given(self, seed: int = 0) -> list[np.ndarray]:
        """Operands that need nothing of ours to be made."""
        rng = np.random.default_rng([seed, zlib.crc32(str(self).encode())])
        if self.make is not None:
            return [np.asarray(a) for a in self.make(rng)]
        return [random(rng, shape, dtype) for shape, dtype in self.inputs]


def random(rng, shape, dtype: str) -> np.ndarray:
    """Operands of ordinary size: standard normal, integers below 100, or coin flips."""
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith("uint"):
        return rng.integers(0, 100, shape).astype(dtype)
    if dtype.startswith("int"):
        return rng.integers(-100, 100, shape).astype(dtype)
    values = rng.standard_normal(shape)
    if dtype.startswith("complex"):
        values = values + 1j * rng.standard_normal(shape)
    return np.asarray(values).astype(_numpy_dtype(dtype))


def _numpy_dtype(name: str) -> np.dtype:
    if name.startswith(("bfloat16", "float8")):
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
    return np.dtype(name)


def load_lists(family: str) -> dict[str, Callable[[int], list[Case]]]:
    """The family's named lists of speed cases: of a batch size, where it has such lists."""
    return getattr(importlib.import_module(f"bench.cases.{family}"), "LISTS", {})


def load_cases(family: str) -> list[Case]:
    """The table of a family.

    Raises:
        ModuleNotFoundError: there is no bench/cases/<family>.py.
    """
    return importlib.import_module(f"bench.cases.{family}").CASES


def test_cases(cases: Iterable[Case]) -> list[Case]:
    """Those that are small enough for the test suite."""
    return [case for case in cases if not case.speed]


test_cases.__test__ = False  # not a test, whatever pytest thinks of its name


def primitive(op: str):
    """The primitive of that name, every family imported."""
    from keras_native.engine import primitives
    from keras_native.engine.primitive import REGISTRY

    if op not in REGISTRY:
        import pkgutil

        for module in pkgutil.iter_modules(primitives.__path__):
            # A family that fails to import must not hide another's results.
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{primitives.__name__}.{module.name}")
    return REGISTRY[op]


def isas() -> list[str]:
    """Instruction sets that this build has and this machine runs."""
    from keras_native import _core

    return list(_core.isas())


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype.name in EPS or dtype.name.startswith("float8")


def _widen(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "c":
        return array.astype(np.complex128)
    return array.astype(np.float64) if _is_float(array.dtype) else array


def as_tuple(value) -> tuple:
    """A primitive's results as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def run(case: Case, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The primitive's results as arrays."""
    from keras_native.engine.tensor import from_numpy

    results = primitive(case.op)(*(from_numpy(a) for a in arrays), **case.attrs)
    return tuple(r.numpy() for r in as_tuple(results))


def expected(case: Case, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The reference on operands widened to float64."""
    with np.errstate(all="ignore"):
        results = primitive(case.op).reference(*(_widen(a) for a in arrays), **case.attrs)
    return tuple(np.asarray(r) for r in as_tuple(results))


def compare(
    got: np.ndarray, want: np.ndarray, case: Case, where: str = "", terms: float = 0
) -> float:
    """Error in units of the allowed one.

    Args:
        terms: `case.terms` for these operands and this output.

    Raises:
        AssertionError: above 1, or shapes, infinities or NaNs differ; names the case to repeat it.
    """
    where = f"{case} {where}".rstrip()
    assert got.shape == want.shape, f"{where}: shape {got.shape}, expected {want.shape}"
    if got.size == 0:
        return 0.0
    if not _is_float(got.dtype) and got.dtype.kind != "c":
        wrong = np.count_nonzero(got != want)
        assert wrong == 0, f"{where}: {wrong} of {got.size} elements differ"
        return 0.0
    name = {"complex64": "float32", "complex128": "float64"}.get(got.dtype.name, got.dtype.name)
    wide = got.astype(np.complex128 if got.dtype.kind == "c" else np.float64)
    with np.errstate(all="ignore"):
        # What overflows in the output's dtype is infinite there.
        rounded = want.astype(got.dtype).astype(wide.dtype)
    special = ~np.isfinite(rounded)
    same = (np.isnan(wide) & np.isnan(rounded)) | (wide == rounded)
    bad = (special | ~np.isfinite(wide)) & ~same
    assert not bad.any(), (
        f"{where}: {np.count_nonzero(bad)} infinities or NaNs differ, first at "
        f"{_first(bad)}: {wide[bad][0]}, expected {rounded[bad][0]}"
    )
    plain = ~special
    if not plain.any():
        return 0.0
    size = np.abs(want[plain])
    unit = size if case.relative else max(size.max(), terms)
    tiny = float(np.finfo(np.float32).tiny) if name != "float64" else 1e-300
    allowed = case.tol * EPS[name] * np.maximum(unit, tiny if name != "float16" else 6e-5)
    ratio = np.zeros(got.shape)
    ratio[plain] = np.abs(wide[plain] - want[plain]) / allowed
    worst = float(ratio.max())
    assert worst <= 1, (
        f"{where}: error is {worst:.3g} times the allowed one at {_first(ratio == ratio.max())}: "
        f"{wide[ratio == ratio.max()][0]!r}, expected {want[ratio == ratio.max()][0]!r}"
    )
    return worst


def _first(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0]) if mask.ndim else ()


def check_forward(
    case: Case, isa: str | None = None, threads: Sequence[int] = THREADS, seed: int = 0
) -> float:
    """Compares a case with its float64 reference and demands equal bits at every thread count, and
    where results are written past the caches, as large ones are.

    Args:
        isa: one instruction set, or None for each that this machine runs.

    Returns:
        The largest error in units of the allowed one.

    Raises:
        AssertionError: naming case, instruction set and place.
    """
    from keras_native import _core

    arrays = case.arrays(seed)
    wanted = expected(case, arrays)
    terms = case.terms(arrays) if callable(case.terms) else [case.terms] * len(wanted)
    before = _core.isa(), _core.threads(), _core.far_bytes()
    ways = [(count, before[2]) for count in threads] + [(threads[-1], 0)]
    worst = 0.0
    try:
        for name in [isa] if isa else isas():
            _core.set_isa(name)
            first = None
            for count, far in ways:
                _core.set_threads(count)
                if far != _core.far_bytes():
                    _core.set_far_bytes(far)
                    # What is not written would else be what an earlier run left in that memory.
                    run(case, case.arrays(seed + 1))
                results = run(case, arrays)
                assert len(results) == len(wanted), f"{case}: {len(results)} outputs"
                if first is None:
                    first = [r.tobytes() for r in results]
                    for got, want, size in zip(results, wanted, terms, strict=True):
                        worst = max(worst, compare(got, want, case, f"isa={name}", size))
                for got, bits in zip(results, first):
                    assert got.tobytes() == bits, (
                        f"{case} isa={name}: other bits at {count} threads and {far} bytes in "
                        f"caches than at {ways[0]}"
                    )
            _core.set_far_bytes(before[2])
    finally:
        _core.set_isa(before[0])
        _core.set_threads(before[1])
        _core.set_far_bytes(before[2])
    return worst


def has_gradient(case: Case) -> bool:
    """Whether the primitive has a gradient rule and the case an operand in floating point."""
    return primitive(case.op).vjp is not None and any(d in EPS for _, d in case.inputs)


def check_gradient(case: Case, seed: int = 0, tol: float = 2e-6) -> None:
    """Compares the gradient rule with central differences of the reference, in float64, along a
    random direction in each operand.

    Raises:
        AssertionError: naming the operand and both numbers.
    """
    from keras_native.engine.tensor import from_numpy

    prim = primitive(case.op)
    assert prim.vjp is not None, f"{case.op} has no gradient rule"
    arrays = [_widen(a) for a in case.arrays(seed)]
    attrs = {
        k: "float64" if k in ("dtype", "out_dtype") and v in EPS else v
        for k, v in case.attrs.items()
    }
    rng = np.random.default_rng(seed + 1)
    inputs = [from_numpy(a) for a in arrays]
    out = prim(*inputs, **attrs)
    outs = as_tuple(out)
    weights = [rng.standard_normal(o.dims) if o.dtype == "float64" else None for o in outs]
    cts = tuple(None if w is None else from_numpy(np.asarray(w)) for w in weights)
    cotangents = prim.vjp(cts if type(out) is tuple else cts[0], out, *inputs, **attrs)
    assert len(cotangents) == len(inputs), f"{case}: {len(cotangents)} cotangents"

    def value(operands) -> float:
        results = as_tuple(prim.reference(*operands, **attrs))
        return sum(
            float(np.sum(np.asarray(r) * w)) for r, w in zip(results, weights) if w is not None
        )

    for i, array in enumerate(arrays):
        if array.dtype != np.float64:
            continue
        direction = rng.standard_normal(array.shape)
        step = 1e-5 * max(1.0, float(np.abs(array).max(initial=0)))
        shifted = [list(arrays), list(arrays)]
        shifted[0][i] = array + step * direction
        shifted[1][i] = array - step * direction
        numeric = (value(shifted[0]) - value(shifted[1])) / (2 * step)
        ct = cotangents[i]
        if ct is None:
            assert abs(numeric) < 1e-6, f"{case}: operand {i} has no cotangent, expected {numeric}"
            continue
        assert tuple(ct.dims) == array.shape, (
            f"{case}: cotangent {i} is {ct.dims}, not {array.shape}"
        )
        products = ct.numpy() * direction
        analytic = float(np.sum(products))
        # Differences cancel: the error is relative to the size of what is summed.
        scale = float(np.sqrt(np.sum(products**2))) + 1e-6 * float(np.sum(np.abs(products)))
        error = abs(analytic - numeric)
        assert error <= tol * max(scale, abs(numeric), 1e-3), (
            f"{case}: gradient of operand {i} along a direction is {analytic!r}, "
            f"differences give {numeric!r}"
        )


# What time is: the wall's, or that of this process alone, which on a busy machine says more about
# one thread and nothing about several.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def sample(
    call: Callable[[], object],
    seconds: float = 0.4,
    least: int = 3,
    clock: str = "wall",
    wait: Callable[[], object] = lambda: None,
) -> list[float]:
    """Seconds of one call, again and again for about `seconds`; short calls in batches.

    Args:
        wait: returns when what the calls began is done, where they return before.
    """
    now = CLOCKS[clock]
    call()
    wait()
    start = now()
    call()
    wait()
    once = max(now() - start, 1e-7)
    batch = max(1, math.ceil(1e-4 / once))
    found, spent = [], 0.0
    while len(found) < least or spent < seconds:
        start = now()
        for _ in range(batch):
            call()
        wait()
        took = now() - start
        found.append(took / batch)
        spent += took
    return found


def time_callable(call: Callable[[], object], seconds: float = 0.4, least: int = 3) -> float:
    """The minimum of `sample`, because other work on the machine only ever adds."""
    return min(sample(call, seconds, least))


@dataclass(frozen=True)
class Bound:
    """A case with its operands as `_core` takes them: what runs, without the engine's Python."""

    op: str
    arrays: list
    attrs: dict
    outputs: list

    def run(self):
        """One run of the kernel; None where none takes the problem."""
        from keras_native import _core

        return _core.run(self.op, self.arrays, self.attrs, self.outputs)


def problem_of(case: Case) -> tuple:
    """Primitive, operands, results and attributes, as the questions of `_core` take them.

    Raises:
        ValueError, TypeError: the shape rule refuses the case.
    """
    from keras_native.engine.tensor import Tensor, from_numpy

    if case.make or case.complete:  # which know their operands alone
        inputs = [from_numpy(array) for array in case.arrays()]
    else:
        inputs = [Tensor(dims=tuple(dims), dtype=dtype) for dims, dtype in case.inputs]
    specs = primitive(case.op).shape(*inputs, **case.attrs)
    outputs = [(dtype, dims) for dims, dtype in (specs if type(specs) is list else [specs])]
    return case.op, [(t.dtype, t.dims) for t in inputs], outputs, case.attrs


def bind(case: Case) -> Bound:
    """Makes the operands, and asks the shape rule for the results."""
    from keras_native.engine.tensor import from_numpy

    inputs = [from_numpy(a) for a in case.arrays()]
    bound = Bound(case.op, [t.array for t in inputs], case.attrs, problem_of(case)[2])
    if not case.updates:
        return bound
    from bench.updating import Updating

    return Updating(bound, case.updates)


def sample_case(case: Case, seconds: float = 0.4, clock: str = "wall") -> list[float]:
    """`sample` of the case's kernel.

    Raises:
        LookupError: no kernel takes the problem.
    """
    bound = bind(case)
    if bound.run() is None:
        raise LookupError(f"no kernel takes {case.name}")
    return sample(bound.run, seconds, clock=clock)


def time_case(case: Case, seconds: float = 0.4) -> float:
    """Seconds of one run of the case's kernel: the minimum of `sample_case`.

    Raises:
        LookupError: no kernel takes the problem.
    """
    return min(sample_case(case, seconds))


def kernel_of(case: Case) -> str | None:
    """Name of the kernel that takes the case, None for the host reference."""
    from keras_native import _core

    return _core.chosen_kernel(*problem_of(case))


def traffic(case: Case) -> float:
    """Bytes that one run must read and write: what the case says, or operands and results."""
    if case.bytes:
        return case.bytes
    _, inputs, outputs, _ = problem_of(case)
    specs = [*inputs, *outputs]
    return float(sum(math.prod(dims) * _numpy_dtype(dtype).itemsize for dtype, dims in specs))


def set_up(threads: int | None, isa: str | None) -> None:
    """Threads and instruction set of this process, where given."""
    from keras_native import _core

    if isa:
        _core.set_isa(isa)
    if threads:
        _core.set_threads(threads)


@contextlib.contextmanager
def using_isa(isa: str):
    """Runs a block with an instruction set, then with the one of before again."""
    from keras_native import _core

    before = _core.isa()
    _core.set_isa(isa)
    try:
        yield
    finally:
        _core.set_isa(before)


@contextlib.contextmanager
def forced(op: str, kernel: str | None):
    """Lets only that kernel serve the primitive, where one is given."""
    from keras_native import _core

    if kernel:
        _core.force_kernel(op, kernel)
    try:
        yield
    finally:
        if kernel:
            _core.force_kernel(op, "")
