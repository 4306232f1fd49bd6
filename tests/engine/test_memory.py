"""Memory that a compiled function hands back is there for its next run."""

import resource

import numpy as np
import pytest

from keras_native import _core
from keras_native.engine import transforms
from keras_native.engine.primitives import reduce, shape
from keras_native.engine.tensor import from_numpy


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@pytest.fixture
def step():
    """A function with 96 MB of intermediate values, several times its argument."""
    x = from_numpy(np.ones((3072, 1024), "float32"))
    fn = transforms.jit(lambda x: reduce.reduce_sum(reduce.cumsum(shape.tile(x, (1, 8)), 0), None))
    yield lambda: fn(x)
    _core.trim_memory()


def test_the_second_run_asks_the_system_for_nothing(step):
    step()
    before = faults()
    for _ in range(3):
        step()
    # A fresh arena is 48 faults at the least, with pages of 2 MB.
    assert faults() - before < 3 * 16


def test_older_blocks_make_room(step):
    """What waits in the cache is given up before what has just been used."""
    blocks = [from_numpy(np.ones(n, "float32")) for n in range(5_000_000, 9_000_000, 1_000_000)]
    del blocks
    test_the_second_run_asks_the_system_for_nothing(step)


def test_trimming_gives_it_back(step):
    step()
    in_use = _core.memory_in_use()
    _core.trim_memory()
    assert _core.memory_in_use() == in_use
    before = faults()
    step()
    assert faults() - before >= 48
