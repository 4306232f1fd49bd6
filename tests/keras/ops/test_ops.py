"""Every operation of `keras.ops`, over one table: against other backends, compiled, symbolic, and
differentiated.

    pytest tests/keras/ops                                           a few fixed calls of each
    pytest tests/keras/ops --examples 200 --jax-python path/to/python   thousands of random ones
"""

import dataclasses
import sys
from pathlib import Path

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from keras import ops, tree
from opcases import OPS, Draw
from opcases.calling import evaluate, function, leaves, tensors
from opcases.derivatives import Scalar, Weighted, differentiable, sixty_four_bits
from opcases.drawing import ANY_ORDER, FLOAT, NONE
from opcases.peer import check, narrowed
from opcases.slopes import VARIES, slopes, varies

import keras_native
from keras_native.engine.tensor import from_numpy


def each_call(examples, few, op, body, smooth=False, mixed=False):
    """Runs `body(args, kwargs, draw)` for random calls of an operation, and shrinks failures."""

    @hypothesis.settings(
        max_examples=examples or few,
        derandomize=examples is None,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.randoms(use_true_random=False))
    def run(random):
        dtypes = op.dtypes
        if smooth:
            dtypes = ["float64"] * any(name in FLOAT for name in op.dtypes)
            dtypes += ["complex128"] * ("complex128" in op.dtypes)
        dtype = dtypes[random.randrange(len(dtypes))]
        draw = Draw(random, dtype, op.dtypes, op.special, smooth, mixed=mixed)
        args, kwargs = op.make(draw)
        hypothesis.note(f"{args} {kwargs}")
        body(args, kwargs, draw)

    run()


def arrays_of(*arguments) -> list:
    return [x for x in tree.flatten(arguments) if isinstance(x, np.ndarray)]


def has_64_bits(*arguments) -> bool:
    """JAX has no 64-bit dtypes unless it is told to change all defaults."""
    names = [x.dtype.name if isinstance(x, np.ndarray) else x for x in tree.flatten(arguments)]
    return any(name in ("int64", "uint64", "float64", "complex128") for name in map(str, names))


def test_every_operation_is_in_the_table():
    public = {name for name in dir(ops) if name[0] != "_" and callable(getattr(ops, name))}
    public |= {f"image.{name}" for name in dir(ops.image) if name[0] != "_"}
    assert set(OPS) == public


@pytest.mark.parametrize("name", [name for name in OPS if not OPS[name].numpy])
def test_as_the_numpy_backend(name, numpy_backend, examples):
    op = OPS[name]
    dtypes_alone = dataclasses.replace(op, values=False)

    def body(args, kwargs, draw):
        expected, refused = numpy_backend(name, args, kwargs)
        if refused:
            return
        found, arrays = evaluate(name, args, kwargs), arrays_of(args, kwargs)
        check(found, expected, dtypes_alone, name, arrays=arrays, dtypes=not op.numpy_dtype)
        if op.oracle:
            expected, refused = numpy_backend(name, args, kwargs, wide=True)
        if not refused:
            slack = 1 if op.oracle else 4
            check(found, expected, op, name, slack, arrays=arrays, dtypes=False)

    each_call(examples, 6, op, body)


def test_as_the_jax_backend(name, jax_backend, examples):
    op = OPS[name]

    def body(args, kwargs, draw):
        if has_64_bits(args, kwargs):
            return
        expected, refused = jax_backend(name, args, kwargs)
        if not refused:
            found = evaluate(name, args, kwargs)
            check(found, expected, op, name, slack=4, arrays=arrays_of(args, kwargs))

    each_call(examples, 4, op, body)


@pytest.mark.parametrize("name", [name for name in OPS if OPS[name].compiled])
def test_compiled_and_symbolic_as_eager(name, examples):
    op, f = OPS[name], function(name)

    def body(args, kwargs, draw):
        expected = evaluate(name, args, kwargs)
        compiled = keras_native.jit(lambda a, k: f(*a, **k))
        with np.errstate(all="ignore"):
            found = leaves(compiled(*tensors((args, kwargs))))
        arrays = arrays_of(args, kwargs)
        check(found, expected, dataclasses.replace(op, values=True), name, arrays=arrays)
        if op.symbolic and (op.unsymbolic is None or op.unsymbolic(*args)):
            return
        symbols = tree.map_structure(
            lambda x: keras.KerasTensor(x.shape, x.dtype.name) if isinstance(x, np.ndarray) else x,
            (args, kwargs),
        )
        specs = tree.flatten(f(*symbols[0], **symbols[1]))
        assert len(specs) == len(expected)
        for spec, (dtype, value) in zip(specs, expected, strict=True):
            if isinstance(spec, keras.KerasTensor):
                assert spec.shape == value.shape
                same = narrowed if has_64_bits(args, kwargs) else str
                assert same(spec.dtype) == same(dtype)

    each_call(examples, 3, op, body, mixed=True)


@pytest.mark.parametrize("name", [name for name in OPS if OPS[name].gradient != NONE])
def test_gradients_are_those_of_finite_differences(name, examples):
    op = OPS[name]

    def body(args, kwargs, draw):
        if not any(differentiable(x) for x in tree.flatten((args, kwargs))):
            return
        scalar = Scalar(name, op, args, kwargs, draw.values)
        with sixty_four_bits(), np.errstate(all="ignore"):
            first = scalar.along(scalar.slope, 0.0)
            np.testing.assert_allclose(first, scalar.difference(scalar), rtol=1e-5, atol=1e-5)
            if op.gradient == ANY_ORDER:
                second = scalar.along(scalar.bend, 0.0)
                expected = scalar.difference(scalar.slope)
                np.testing.assert_allclose(second, expected, rtol=1e-4, atol=1e-4)

    each_call(examples, 2, op, body, smooth=True)


def test_gradients_are_those_of_jax(name, jax_backend, examples):
    """Also where they are a matter of choice: at zeros, at ties and at bounds."""
    op = OPS[name]
    op = dataclasses.replace(op, dtypes=[d for d in op.dtypes if d in VARIES], special=False)
    if op.gradient == NONE or not op.dtypes or op.jax_gradient:
        return
    compared = []

    def body(args, kwargs, draw):
        if has_64_bits(args, kwargs):
            return
        if draw.flip() and not op.jax_ties:
            args, kwargs = tree.map_structure(
                lambda x: np.round(2 * x) / 2 if varies(x) else x, (args, kwargs)
            )
        if not any(map(varies, tree.flatten((args, kwargs)))):
            return
        seed = draw.between(0, 1 << 30)
        expected, refused = jax_backend(name, args, kwargs, seed=seed)
        if refused:
            return
        found = slopes(name, op, args, kwargs, seed)
        loose = dataclasses.replace(op, level=1, bound=max(op.bound, 32), values=True)
        check(found, expected, loose, name, slack=4, arrays=arrays_of(args, kwargs))
        compared.append(name)

    each_call(examples, 4, op, body)
    assert compared, f"{name}: JAX took none of the calls"


@pytest.mark.parametrize("name", [name for name in OPS if OPS[name].gradient != NONE])
def test_compiled_derivatives_are_the_eager_ones(name, examples):
    """In all dtypes; what is recognised and fused must not change a derivative."""
    op = OPS[name]

    def body(args, kwargs, draw):
        weighted = Weighted(name, op, args, kwargs, draw.values)
        if not op.values or not weighted.points or any(x.size == 0 for x in weighted.points):
            return
        points = [from_numpy(x) for x in weighted.points]
        with np.errstate(all="ignore"):
            slopes = keras_native.grad(weighted, tuple(range(len(points))))
            expected, found = slopes(*points), keras_native.jit(slopes)(*points)
        for x, y, z in zip(points, expected, found, strict=True):
            assert (y.dims, y.dtype) == (z.dims, z.dtype) == (x.dims, x.dtype)
        dtypes = [[(t.dtype, t.numpy()) for t in tensors] for tensors in (found, expected)]
        loose = dataclasses.replace(op, level=1, bound=max(op.bound, 32), oracle=True)
        check(*dtypes, loose, name, arrays=weighted.points)

    each_call(examples, 1, dataclasses.replace(op, special=False), body)


def test_the_page_of_operations_is_what_the_script_would_write():
    root = Path(__file__).resolve().parents[3]
    sys.path.insert(0, str(root / "docs"))
    import make_ops_table

    assert make_ops_table.TARGET.read_text() == make_ops_table.table()
