"""Updates of variables at the end of a step: one launch for all of one program, written to where
the variables are."""

import collections
import os

import emulated  # noqa: F401  skips this file where there are no kernels
import numpy as np
import pytest
from ptxkernel import _cuda

os.environ["KERAS_BACKEND"] = "native"

import keras  # noqa: E402
from keras import layers  # noqa: E402

from keras_native.engine import device  # noqa: E402
from keras_native.engine.primitives import elementwise as ew  # noqa: E402
from keras_native.engine.primitives import gather, matmul, shape  # noqa: E402
from keras_native.engine.primitives.elementwise_common import scalar  # noqa: E402
from keras_native.engine.slot import Slot  # noqa: E402
from keras_native.engine.tensor import from_numpy  # noqa: E402
from keras_native.engine.trace import CompiledFunction  # noqa: E402

# One element, packs of four or not, whole tiles and rests, several tiles.
SIZES = [1, 2, 4, 511, 512, 513, 1000, 2048, 3001]


@pytest.fixture(autouse=True)
def opened():
    device.find("gpu:0")


def tensor(seed, dims, dtype="float32"):
    return from_numpy(np.random.default_rng(seed).uniform(0.5, 2, dims).astype(dtype))


def values(slots):
    return [slot.core.get().numpy().astype("float64") for slot in slots]


def addresses(slots):
    return [slot.core.get().address for slot in slots]


def momentum(weight, velocity, g):
    """Two variables' update by one program."""
    new = ew.add(ew.mul(velocity.read(), scalar(0.9, g.dtype)), g)
    velocity.write(new)
    weight.write(ew.sub(weight.read(), ew.mul(new, scalar(0.1, g.dtype))))


def both(slots, tensors):
    """Each of the two variables that a tensor has is an update by itself."""
    for k, slot in enumerate(slots):
        slot.write(ew.add(slot.read(), tensors[k // 2]))


class Step:
    """`update(slots, tensors)` compiled for a device, with slots and tensors of these dtypes and
    sizes: two slots a tensor."""

    def __init__(self, place, kinds, update=None):
        self.tensors = [tensor(k, (size,), dtype) for k, (size, dtype) in enumerate(kinds)]
        self.slots = [
            Slot(tensor(100 + 2 * k + i, (size,), dtype))
            for k, (size, dtype) in enumerate(kinds)
            for i in range(2)
        ]
        self.fn = CompiledFunction(
            lambda *given: (update or self.all)(self.slots, given) or [],
            [(t.dims, t.dtype) for t in self.tensors],
            place=place,
        )

    def all(self, slots, tensors):
        for k, g in enumerate(tensors):
            momentum(*slots[2 * k : 2 * k + 2], g)

    def __call__(self):
        return self.fn.run([t.array for t in self.tensors], [])

    def kernels(self):
        return [kernel for _, kernel in self.fn.compiled.chosen([])]


def launches(run):
    """Of the second run: variables have moved to the GPU before."""
    run()
    _cuda.synchronize()
    _cuda.clear_counts()
    run()
    _cuda.synchronize()
    return _cuda.calls()["launches"]


def agree(kinds, update=None, runs=3, rtol=1e-6):
    """Runs on both devices, with the same values; gives the GPU's step."""
    there, here = Step("gpu:0", kinds, update), Step("cpu:0", kinds, update)
    for _ in range(runs):
        there(), here()
    for got, want in zip(values(there.slots), values(here.slots), strict=True):
        np.testing.assert_allclose(got, want, rtol=rtol)
    assert _cuda.reports() == []
    return there


@pytest.mark.parametrize("count", [2, 9, 40])
def test_one_launch_for_any_number_of_variables(count):
    """Of more than one element: a variable of one is another program's."""
    kinds = [(SIZES[1 + k % (len(SIZES) - 1)], "float32") for k in range(count)]
    step = agree(kinds)
    assert step.kernels() == ["tile_group"]
    assert launches(step) == 1


def test_more_than_the_parameters_of_a_launch():
    """Which has room for 512 segments."""
    step = agree([(2, "float32")] * 257, both, runs=1)
    assert step.kernels() == ["tile_group"]
    assert launches(step) == 2


def test_more_tiles_than_blocks():
    """A block runs several tiles of one variable."""
    kinds = [(8192 * 512 + 4, "float32"), (513, "float32"), (1024, "float32")]
    assert agree(kinds, both, runs=1).kernels() == ["tile_group"]


def test_alone_nothing_is_joined():
    assert agree([(700, "float32")]).kernels() == ["tile"]


ROUNDED = {"float16": 2e-3, "bfloat16": 2e-2}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32", "int8"])
@pytest.mark.parametrize("size", [1, 4, 5, 2048])
def test_other_types_stay_apart(dtype, size):
    kinds = [(512, "float32"), (size, dtype), (33, "float32"), (size, dtype)]
    step = agree(kinds, rtol=ROUNDED.get(dtype, 1e-6))
    assert step.kernels() == ["tile_group"] * 2


@pytest.mark.parametrize("size", SIZES)
def test_variables_stay_where_they_are(size):
    step = Step("gpu:0", [(size, "float32")] * 3)
    step()
    places = addresses(step.slots)
    step()
    assert addresses(step.slots) == places


def test_what_somebody_holds_is_copied():
    """And only that, with the same results."""
    held, free = (Step("gpu:0", [(513, "float32")] * 4) for _ in range(2))
    held(), free()
    places = addresses(held.slots)
    watched = held.slots[3].core.get()
    before = watched.numpy().copy()
    held(), free()
    np.testing.assert_array_equal(watched.numpy(), before)
    moved = [a != b for a, b in zip(addresses(held.slots), places)]
    assert moved == [k == 3 for k in range(8)]
    for a, b in zip(values(held.slots), values(free.slots)):
        np.testing.assert_array_equal(a, b)


def test_one_array_for_two_variables():
    step = Step("gpu:0", [(513, "float32")] * 2)
    step.slots[2].store(step.slots[0].current())
    start, g = values(step.slots), [t.numpy().astype("float64") for t in step.tensors]
    step()
    for k in range(2):
        want = start[2 * k] - 0.1 * (0.9 * start[2 * k + 1] + g[k])
        np.testing.assert_allclose(values(step.slots)[2 * k], want, rtol=1e-5)
    assert _cuda.reports() == []


def test_old_values_are_read_first():
    """By other updates of the same launch, by one of another shape and by a product."""

    def update(slots, tensors):
        a, b, c, d, wide, product = slots[:6]
        old = a.read()
        a.write(ew.add(old, tensors[0]))
        b.write(ew.add(b.read(), old))
        c.write(ew.add(c.read(), tensors[1]))
        d.write(ew.add(d.read(), b.read()))  # the new one
        wide.write(ew.mul(wide.read(), shape.reshape(old, (1600,))))
        square = matmul.matmul(shape.reshape(old, (40, 40)), shape.reshape(old, (40, 40)))
        product.write(ew.add(product.read(), shape.reshape(square, (1600,))))

    agree([(1600, "float32")] * 3, update, rtol=1e-5)


def test_rows_of_a_variable_are_scattered_as_before():
    """Which is no tile program; what comes with it is joined."""

    def update(slots, tensors):
        index = ew.cast(ew.lt(tensors[0], scalar(1, "float32")), "int32")
        slots[0].write(gather.scatter_add(slots[0].read(), index, tensors[0], 0))
        for slot, g in zip(slots[1:], tensors[1:]):
            slot.write(ew.add(slot.read(), g))

    step = agree([(64, "float32")] * 3, update, rtol=1e-5)
    assert "tile_group" in step.kernels()


OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "clipped": lambda: keras.optimizers.AdamW(0.01, global_clipnorm=0.5),
    "average": lambda: keras.optimizers.AdamW(0.01, use_ema=True, ema_momentum=0.8),
    "accumulation": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, clipnorm=0.5),
}
DEPTH = 5


def network():
    """Odd sizes; the gradient of the first layer is sparse."""
    dense = [layers.Dense(7 + 6 * k, "tanh") for k in range(DEPTH)]
    return keras.Sequential(
        [
            layers.Input((6,), dtype="int32"),
            layers.Embedding(50, 12),
            layers.Conv1D(9, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling1D(),
            *dense,
            layers.Dense(4),
        ]
    )


def train(place, optimizer, steps=4):
    """The model, its losses, what a step executes (names), and how many steps joining saved."""
    keras.utils.set_random_seed(4)
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 50, (16, 6)), rng.integers(0, 4, 16)
    with keras.device(place):
        model = network()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer(), loss)
        losses = [float(model.train_on_batch(x, y)) for _ in range(steps)]
        step, arrays, sizes = model.train_function.step.compiled((x, y, None))
        executed = collections.Counter(kernel for _, kernel in step.executed(arrays, sizes))
        saved = step.steps - len(step.chosen(sizes))
    return model, losses, executed, saved


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimisers(optimizer, policy):
    """The CPU's losses and variables; one launch, or few, in place of one for each variable.

    On the CPU all programs are one group, beside those of a branch."""
    there, losses, executed, saved = train("gpu:0", optimizer)
    here, expected, on_cpu, _ = train("cpu:0", optimizer)
    rtol = 1e-4 if policy == "float32" else 5e-2
    np.testing.assert_allclose(losses, expected, rtol=rtol)
    if policy == "float32":
        for a, b in zip(there.trainable_variables, here.trainable_variables, strict=True):
            np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-3, atol=1e-4)
    assert _cuda.reports() == []
    assert 0 < executed["tile_group"] <= 3 and 0 < on_cpu["tile_group"] <= 2
    # Accumulated gradients are applied in a branch of the step; a table's gradient is sparse.
    if there.optimizer.gradient_accumulation_steps is None:
        assert saved >= len(there.trainable_variables) - 4


def test_recorded_steps_write_to_where_variables_are(kept):
    """Replayed as a graph, by addresses that are the same in every step; not to what is held."""
    step, plain = Step("gpu:0", [(513, "float32")] * 4), Step("cpu:0", [(513, "float32")] * 4)
    made, places = [], []
    for k in range(10):
        held = step.slots[0].core.get() if k == 6 else None
        before = held.numpy().copy() if held else None
        _cuda.synchronize()
        _cuda.clear_counts()
        step(), plain()
        _cuda.synchronize()
        made.append(_cuda.calls())
        places.append(addresses(step.slots))
        if held:
            np.testing.assert_array_equal(held.numpy(), before)
        for got, want in zip(values(step.slots), values(plain.slots), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6)
    assert [m["graphs"] for m in made[3:6]] == [1] * 3 and made[6]["graphs"] == 0
    assert [m["launches"] for m in made[3:7]] == [0, 0, 0, 1]
    assert places[3] == places[4] == places[5] != places[6]
    assert _cuda.reports() == []
