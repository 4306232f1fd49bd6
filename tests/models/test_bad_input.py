"""Bad input to any operation of `keras.ops` is a Python error that names what it saw, no crash."""

import contextlib
import inspect

import keras
import numpy as np
import pytest
from keras import ops

import keras_native

A = np.ones((2, 3), "float32")
B = np.ones((4, 5), "float32")
WRONG = ["text", -1, (-3, 2), (1 << 40, 1 << 40), None, object(), A, B, A.astype("int32"), [A, B]]
# These take functions, run for as many steps as they are told, or write.
LEFT_OUT = {"while_loop", "fori_loop", "saturate_cast", "view_as_complex", "map", "scan"}
FUNCTIONS = sorted(
    name for name, f in vars(ops).items() if inspect.isfunction(f) and name not in LEFT_OUT
)


def required(function) -> int:
    """Number of positional arguments without a default."""
    parameters = inspect.signature(function).parameters.values()
    return len([p for p in parameters if p.default is p.empty and p.kind <= 1])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_arguments_raise_or_work(name):
    function = getattr(ops, name)
    count = required(function)
    rng = np.random.default_rng(len(name))
    for _ in range(12):
        picks = rng.integers(0, len(WRONG), count)
        # Which exception is the operation's business; a crash is not.
        with contextlib.suppress(Exception):
            function(*(WRONG[i] for i in picks))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ops.matmul(A, B), ValueError, ["matmul", "2, 3", "4, 5"]),
        (lambda: ops.add(A, B), ValueError, ["add", "2, 3", "4, 5"]),
        (lambda: ops.concatenate([A, B], 0), ValueError, ["concat", "2, 3", "4, 5"]),
        (lambda: ops.reshape(A, (4, 4)), ValueError, ["reshape", "2, 3", "4, 4"]),
        (lambda: ops.zeros((-1, 2)), ValueError, ["-1"]),
        (lambda: ops.zeros((1 << 40, 1 << 40)), (ValueError, MemoryError), []),
        (lambda: ops.zeros((1 << 42,)), MemoryError, ["available"]),
        (lambda: ops.repeat(A, 1 << 40, axis=0), MemoryError, ["available", "float32"]),
        (lambda: ops.conv(np.ones((1, 4, 4, 3)), np.ones((3, 3, 2, 8))), ValueError, ["3", "2"]),
        (lambda: ops.conv(A, B), ValueError, ["conv", "2, 3", "4, 5"]),
        (lambda: ops.conv(np.ones((1, 4, 0)), np.ones((3, 0, 2))), ValueError, ["0"]),
        (lambda: ops.depthwise_conv(1.0, A), ValueError, ["depthwise_conv", "2, 3"]),
        (lambda: ops.conv_transpose(A, A), ValueError, ["conv_transpose", "2, 3"]),
        (lambda: ops.stack(A[:0]), ValueError, ["at least one"]),
        (lambda: ops.glu(A, 3), ValueError, ["glu", "3"]),
        (lambda: ops.transpose(A, (0, 0)), ValueError, ["transpose", "2, 3"]),
        (lambda: ops.sum(A, axis=5), ValueError, ["5"]),
        (lambda: ops.softmax(A, axis=7), ValueError, ["7"]),
        (lambda: ops.cast(A, "no_such_dtype"), (ValueError, TypeError), ["no_such_dtype"]),
    ],
)
def test_message_names_the_operation_and_its_operands(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_out_of_memory_leaves_the_process_working():
    with pytest.raises(MemoryError):
        ops.ones((1 << 42,))
    assert float(ops.sum(ops.ones((3,)))) == 3


def test_out_of_memory_in_compiled_code_says_for_which_sizes():
    def squared(x):
        outer = ops.matmul(x[:, None], x[None])
        return ops.sum(ops.matmul(outer, outer))

    compiled = keras_native.jit(squared)
    for size in (2, 3):
        assert float(compiled(ops.ones((size,)))) == size**3
    with pytest.raises(MemoryError, match=r"available, for the values of .*\(1000000,\)"):
        compiled(ops.ones((1_000_000,)))


def test_wrong_data_for_a_model_is_an_error_of_keras():
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="4"):
        model.fit(np.ones((8, 5)), np.ones((8, 2)), verbose=0)
