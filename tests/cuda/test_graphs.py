"""Graphs of launches: what is recorded, what cannot be, and compiled steps that replay them."""

import emulated  # noqa: F401  skips this file where there are no kernels
import keras
import numpy as np
import pytest
from ptxkernel import Buffer, _cuda, source
from test_gpu_device import network, rows, train

from keras_native.engine import control, device, transforms
from keras_native.engine.host import host_call
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import linalg, matmul, reduce
from keras_native.engine.tensor import from_numpy

ADD = """add.u64 %rd1, %p0, %off4; ld.global.u32 %r1, [%rd1]; add.u32 %r1, %r1, 1;
st.global.u32 [%rd1], %r1;"""


@pytest.fixture
def add():
    """A function that puts `x += 1` into a stream."""
    kernel = _cuda.Module(source(ADD, 1, name="add")).kernel("add")
    return lambda x, stream=None: kernel.launch([1], [32], [x.memory], stream=stream)


@pytest.fixture(autouse=True)
def opened():
    device.find("gpu:0")


def calls():
    _cuda.synchronize()
    return _cuda.calls()


def test_a_recording_runs_when_it_is_launched(add):
    x, y = Buffer(np.zeros(32, np.uint32)), Buffer(np.zeros(32, np.uint32))
    graph = _cuda.record(lambda: (add(x), add(x), add(y)))
    assert graph.nodes == 3 and (x.get() == 0).all()
    _cuda.clear_counts()
    for _ in range(3):
        graph.launch()
    assert (x.get() == 6).all() and (y.get() == 3).all()
    assert _cuda.calls()["graphs"] == 3 and _cuda.calls()["launches"] == 0
    assert _cuda.reports() == []


WRONG = {
    "waiting cannot be recorded": lambda x: _cuda.synchronize(),
    "allocating memory cannot be recorded": lambda x: Buffer(np.zeros(4, np.uint8)),
    "copying from or to the host cannot be recorded": lambda x: x.get(),
    "waiting for an event|cuEventSynchronize": lambda x: _cuda.Event().synchronize(),
    "recording cannot be recorded": lambda x: _cuda.record(lambda: None),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_recorded(add, what):
    """Nothing of it is done, and the device goes on."""
    x = Buffer(np.zeros(32, np.uint32))
    with pytest.raises(RuntimeError, match=what):
        _cuda.record(lambda: (add(x), WRONG[what](x)))
    assert (x.get() == 0).all()
    add(x)
    assert (x.get() == 1).all()


def test_an_exception_ends_the_recording(add):
    x = Buffer(np.zeros(32, np.uint32))

    def enqueue():
        add(x)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _cuda.record(enqueue)
    add(x)
    assert (x.get() == 1).all()


@pytest.mark.emulator
def test_launches_of_a_graph_are_looked_at_for_races(add):
    """Its kernels are work of the stream that it is launched into."""
    x, stream = Buffer(np.zeros(32, np.uint32)), _cuda.Stream()
    _cuda.synchronize()
    graph = _cuda.record(lambda: add(x))
    graph.launch()
    add(x, stream)
    with pytest.raises(RuntimeError, match="missing synchronisation"):
        _cuda.synchronize()
        stream.synchronize()


@pytest.mark.emulator
def test_a_fault_in_a_graph_names_the_kernel():
    x = Buffer(np.zeros(8, np.uint32))
    kernel = _cuda.Module(source(ADD, 1, name="stray")).kernel("stray")
    graph = _cuda.record(lambda: kernel.launch([1], [32], [x.memory]))
    graph.launch()
    with pytest.raises(RuntimeError, match="out of bounds: kernel stray"):
        _cuda.synchronize()


def repeated(fn, *arguments, times=8):
    """What each run gives, and the driver's calls in it."""
    results, made = [], []
    for _ in range(times):
        _cuda.clear_counts()
        results.append(fn(*arguments))
        made.append(calls())
    return results, made


def test_a_compiled_step_is_replayed(kept):
    w = [from_numpy(rows(40, 80)), from_numpy(rows(80, 20, seed=1))]
    both = transforms.value_and_grad(network, (1, 2))
    x = from_numpy(rows(50, 40, seed=2))
    run = transforms.jit(both, device="gpu:0")
    results, made = repeated(lambda: [g.numpy() for g in run(x, *w)[1]])
    assert made[0]["launches"] > 5 and made[0]["graphs"] == 0
    assert made[-1]["launches"] == 0 and made[-1]["graphs"] == 1
    for result in results[1:]:
        for a, b in zip(results[0], result):
            assert a.tobytes() == b.tobytes()
    assert _cuda.reports() == []


def test_new_values_at_the_same_addresses(kept):
    run = transforms.jit(lambda x: ew.mul(ew.add(x, 1.0), x), device="gpu:0")
    for seed in range(8):
        x = rows(33, 7, seed=seed)
        np.testing.assert_allclose(run(from_numpy(x)).numpy(), (x + 1) * x, rtol=1e-6)
    _cuda.clear_counts()
    run(from_numpy(rows(33, 7)))
    assert calls()["graphs"] == 1


def test_other_sizes_are_other_graphs(kept):
    run = transforms.jit(lambda x: reduce.reduce_sum(ew.square(x), 0), device="gpu:0")
    for n in [5, 6] * 6:
        x = rows(n, 7, seed=n)
        np.testing.assert_allclose(
            run(from_numpy(x)).numpy(), (x.astype(np.float64) ** 2).sum(0), rtol=1e-5
        )
    assert _cuda.reports() == []


def on_the_host(x):
    (y,) = host_call(lambda a: a * 2, [x], [(x.dims, x.dtype)])
    return ew.add(y, 1.0)


def branching(x):
    total = reduce.reduce_sum(x, None)
    return control.cond(ew.lt(total, 0.0), lambda: ew.neg(x), lambda: ew.mul(x, 2.0))


def without_a_kernel(x):
    return linalg.det(ew.add(matmul.matmul(x, x, transpose_a=True), 1.0))


@pytest.mark.parametrize("fn", [on_the_host, branching, without_a_kernel])
@pytest.mark.filterwarnings("ignore:.*has no kernels for these")
def test_steps_with_work_on_the_host_are_not_recorded_as_a_whole(kept, fn):
    run, x = transforms.jit(fn, device="gpu:0"), rows(4, 3)
    results, made = repeated(lambda: run(from_numpy(x)).numpy())
    # The branch that is taken is code of its own, which may be replayed.
    assert made[-1]["launches"] > 0
    for result in results:
        np.testing.assert_allclose(result, fn(from_numpy(x)).numpy(), rtol=1e-6)


def test_without_reuse_nothing_is_recorded():
    run, x = transforms.jit(lambda x: ew.add(ew.neg(x), x), device="gpu:0"), from_numpy(rows(4))
    _, made = repeated(lambda: run(x).numpy())
    assert made[-1]["graphs"] == 0 and made[-1]["launches"] > 0


class Calls(keras.callbacks.Callback):
    """The driver's calls in each step, and its loss."""

    def __init__(self):
        super().__init__()
        self.made, self.losses = [], []

    def on_train_batch_begin(self, batch, logs=None):
        _cuda.clear_counts()

    def on_train_batch_end(self, batch, logs=None):
        self.made.append(calls())
        self.losses.append(logs["loss"])


def test_fit_replays_its_step(kept):
    """With the CPU's losses; each step is one call of the driver in place of dozens."""
    x, y = rows(32 * 12, 20), np.arange(32 * 12, dtype="int32") % 10
    losses, made = {}, None
    for place in ("cpu:0", "gpu:0"):
        model, _ = train(place)
        watch = Calls()
        with keras.device(place):
            model.fit(x, y, batch_size=32, shuffle=False, verbose=0, callbacks=[watch])
        losses[place], made = watch.losses, watch.made
    np.testing.assert_allclose(losses["gpu:0"], losses["cpu:0"], atol=1e-4)
    assert made[1]["launches"] > 30 and made[1]["graphs"] == 0
    for step in made[8:]:
        assert (step["launches"], step["graphs"], step["allocations"]) == (0, 1, 0)
    assert _cuda.reports() == []
