"""The gradient of an embedding is made in the program that updates the table: the same bits."""

import numpy as np
import pytest

from keras_native import _core
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather, reduce
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.slot import Slot
from keras_native.engine.tape import Tape, backward
from keras_native.engine.tensor import from_numpy
from keras_native.engine.trace import CompiledFunction

TABLES = [(50, 16), (700, 3), (3, 2000), (40,)]


def array(dims, seed):
    return from_numpy(np.random.default_rng(seed).uniform(0.5, 2, dims).astype("float32"))


def places(dims, seed, count=90):
    indices = np.random.default_rng(seed).integers(-dims[0], dims[0], (count // 9, 9))
    return from_numpy(indices.astype("int32"))


def trained(tables, indices, runs=3):
    """What some steps make of tables and their momenta, and the primitives of a step."""
    weights = [Slot(array(dims, k)) for k, dims in enumerate(tables)]
    velocities = [Slot(array(dims, 9 + k)) for k, dims in enumerate(tables)]

    def step(*indices):
        with Tape() as tape:
            read = [slot.read() for slot in weights]
            rows = [gather.gather(w, i, 0) for w, i in zip(read, indices)]
            losses = [reduce.reduce_sum(ew.square(row)) for row in rows]
            total = losses[0]
            for loss in losses[1:]:
                total = ew.add(total, loss)
        gradients = backward(tape.records, [total], [scalar(1.0, "float32")], read)
        for weight, velocity, g in zip(weights, velocities, gradients):
            new = ew.add(ew.mul(velocity.read(), scalar(0.9, "float32")), g)
            velocity.write(new)
            weight.write(ew.sub(weight.read(), ew.mul(new, scalar(0.1, "float32"))))
        return []

    fn = CompiledFunction(step, [(i.dims, i.dtype) for i in indices])
    at = []
    for _ in range(runs):
        fn.run([i.array for i in indices], [])
        at = at or [slot.core.get().address for slot in weights + velocities]
    stayed = [slot.core.get().address for slot in weights + velocities] == at
    values = [slot.core.get().numpy().tobytes() for slot in weights + velocities]
    return values, [op for op, _ in fn.compiled.chosen([])], stayed


@pytest.mark.parametrize("tables", [TABLES, *([t] for t in TABLES)], ids=str)
def test_same_bits(monkeypatch, tables):
    indices = [places(dims, k) for k, dims in enumerate(tables)]
    fused, ops, stayed = trained(tables, indices)
    assert "fused_gather_grad" in ops and "gather_grad" not in ops and stayed
    threads = _core.threads()
    try:
        for count in (1, 3, 7):
            _core.set_threads(count)
            assert trained(tables, indices)[0] == fused
    finally:
        _core.set_threads(threads)
    monkeypatch.setenv("NATIVE_DISABLE_PASSES", "gather_gradients")
    plain, ops, _ = trained(tables, indices)
    assert "fused_gather_grad" not in ops and "gather_grad" in ops
    assert plain == fused


def test_a_gradient_that_somebody_else_reads_is_made():
    table, indices = Slot(array((50, 16), 0)), places((50, 16), 1)

    def step(indices):
        with Tape() as tape:
            read = table.read()
            loss = reduce.reduce_sum(ew.square(gather.gather(read, indices, 0)))
        (g,) = backward(tape.records, [loss], [scalar(1.0, "float32")], [read])
        norm = reduce.reduce_sum(ew.square(g))
        table.write(ew.sub(read, ew.div(ew.mul(g, scalar(0.1, "float32")), norm)))
        return [g]

    fn = CompiledFunction(step, [(indices.dims, indices.dtype)])
    before = table.core.get().numpy().copy()
    (g,) = (t.numpy() for t in fn.run([indices.array], []))
    assert "gather_grad" in [op for op, _ in fn.compiled.chosen([])]
    want = np.zeros_like(before)
    np.add.at(want, indices.numpy().ravel(), 2 * before[indices.numpy().ravel()])
    np.testing.assert_allclose(g, want, rtol=1e-6)
    np.testing.assert_allclose(
        table.core.get().numpy(), before - want * 0.1 / np.square(want).sum(), rtol=1e-6
    )
