"""Functions over a batch: every batching rule against one call for each element."""

import itertools

import numpy as np
import pytest

from bench import harness
from keras_native.engine import batching, control, transforms
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import linalg, matmul, reduce, rnn, shape
from keras_native.engine.primitives.batch import Unbatchable
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy

FAMILIES = ("elementwise", "shape", "reduce", "matmul", "gather", "softmax", "conv", "pool", "norm")


def _some_cases(count=3):
    """A few small cases of each primitive, with sizes that are neither 0 nor large."""
    taken = {}
    for family in FAMILIES:
        for case in harness.test_cases(harness.load_cases(family)):
            sizes = [n for dims, _ in case.inputs for n in dims]
            known = taken.setdefault(case.op, [])
            if case.inputs and len(known) < count and 0 not in sizes and np.prod(sizes) < 1e5:
                known.append(case)
    return [case for cases in taken.values() for case in cases]


def _tuple(x):
    return x if isinstance(x, tuple) else (x,)


def _check(call, operands, batched):
    """over_batch of `call` against a loop; `operands` has three elements for each operand."""
    stacked = [from_numpy(np.stack(group)) for group, b in zip(operands, batched) if b]
    fixed = [from_numpy(group[0]) for group in operands]

    def one(elements):
        elements = iter(elements)
        return _tuple(call(*(next(elements) if b else t for t, b in zip(fixed, batched))))

    found = batching.over_batch(one, stacked)
    for i in range(3):
        each = [from_numpy(g[i] if b else g[0]) for g, b in zip(operands, batched)]
        for a, b in zip(found, _tuple(call(*each)), strict=True):
            a, b = a.numpy()[i], b.numpy()
            assert a.shape == b.shape and a.dtype == b.dtype
            if a.dtype.kind in "fcV":
                a, b = a.astype(np.complex128), b.astype(np.complex128)
                size = np.abs(b[np.isfinite(b)]).max(initial=1.0)
                loose = {2: 2e-2, 4: 1e-4}.get(found[0].numpy().dtype.itemsize, 1e-6)
                np.testing.assert_allclose(a, b, rtol=loose, atol=loose * size)
            else:
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", _some_cases(), ids=str)
def test_rules(case):
    primitive = harness.primitive(case.op)
    if primitive.batch is None and primitive.decompose is None:
        pytest.skip("no rule")
    operands = list(zip(*(case.arrays(seed) for seed in range(3))))
    count, tried = len(operands), 0
    for batched in itertools.product((False, True), repeat=min(count, 3)):
        batched = (*batched, *[False] * (count - len(batched)))
        if any(batched):
            try:
                _check(lambda *ts: primitive(*ts, **case.attrs), operands, batched)
                tried += 1
            except Unbatchable:
                assert count > 1, "an operand alone can be batched"
    assert tried


X = np.random.default_rng(4).standard_normal((3, 4, 4))


def test_gather_of_several_axes():
    from keras_native.engine.primitives.gather import gather

    x = np.arange(3 * 2 * 5 * 3.0).reshape(3, 2, 5, 3)
    at = np.random.default_rng(1).integers(-5, 5, (3, 2, 2)).astype(np.int32)
    for batched in ((True, False), (False, True), (True, True)):
        _check(lambda x, i: gather(x, i, 1), (tuple(x), tuple(at)), batched)


def test_linear_algebra():
    def solve(a):
        square = matmul.matmul(a, a, transpose_b=True)
        square = ew.add(square, from_numpy(np.eye(4)))
        return linalg.solve(square, a), linalg.inv(square), linalg.cholesky(square)

    _check(solve, (tuple(X),), (True,))


def test_gradients_inside_and_outside():
    w = from_numpy(X[0])

    def loss(w, a):
        return reduce.reduce_sum(ew.tanh(matmul.matmul(a, w)), None)

    def per_example(a):
        return transforms.grad(loss)(w, a)

    _check(per_example, (tuple(X),), (True,))

    def total(w, run):
        return reduce.reduce_sum(run(lambda a: ew.mul(loss(w, a), loss(w, a)), from_numpy(X)), None)

    def loop(f, xs):
        return shape.stack([f(from_numpy(x)) for x in xs.numpy()], 0)

    expected = transforms.grad(lambda w: total(w, loop))(w).numpy()
    batched = transforms.grad(lambda w: total(w, batching.over_batch))
    for f in (batched, transforms.jit(batched)):
        np.testing.assert_allclose(f(w).numpy(), expected, rtol=1e-9)


def test_nested():
    x = from_numpy(np.arange(3.0))
    inner = lambda a: batching.over_batch(lambda b: ew.sub(ew.mul(a, a), b), x)  # noqa: E731
    found = batching.over_batch(inner, x).numpy()
    np.testing.assert_array_equal(found, np.arange(3.0)[:, None] ** 2 - np.arange(3.0))


def test_results_that_depend_on_no_element_are_repeated():
    found = batching.over_batch(lambda a: (shape.ones((2,), "float32"), None), from_numpy(X))
    assert found[0].dims == (3, 2) and found[1] is None


def test_what_cannot_be_batched_says_so_and_changes_nothing():
    slot = Slot(from_numpy(np.float64(0)))

    def assigns(a):
        slot.write(ew.add(slot.read(), reduce.reduce_sum(a, None)))
        return a

    def loops(a):
        return control.scan(lambda c, row: (ew.add(c, row), None), a, a)[0]

    def recurs(a):
        a = shape.expand_dims(a, 0)
        w = shape.zeros((1, 4), "float64")
        return rnn.lstm(a, *[shape.zeros((1, 1), "float64")] * 2, w)[0]

    def custom(a):
        return transforms.custom_gradient(lambda t: (ew.exp(t), lambda ct: ct))(a)

    for function in (assigns, loops, recurs):
        with pytest.raises(Unbatchable):
            batching.over_batch(function, from_numpy(X))
    assert float(slot.read().numpy()) == 0 and STATE.trace is None
    # A tape around the batch would see what is inside a function with a gradient of its own.
    np.testing.assert_allclose(batching.over_batch(custom, from_numpy(X)).numpy(), np.exp(X))
    with pytest.raises(Unbatchable):
        transforms.grad(lambda x: reduce.reduce_sum(batching.over_batch(custom, x), None))(
            from_numpy(X)
        )


def test_wrong_elements_are_named():
    with pytest.raises(ValueError, match="leading sizes 3 and 2 differ"):
        batching.over_batch(lambda t: t[0], (from_numpy(X), from_numpy(X[:2])))
    with pytest.raises(ValueError, match="must have a leading dimension"):
        batching.over_batch(lambda t: t, from_numpy(np.float32(1)))
