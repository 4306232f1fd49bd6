"""Keras's control flow: eagerly, compiled, and in derivatives."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_native
from keras_native.engine.primitive import STATE

X = np.array([0.3, 0.9, 1.4], "float32")
both = pytest.mark.parametrize("wrap", [lambda f: f, keras_native.jit])


def tensor(x):
    return ops.convert_to_tensor(x)


@both
def test_vectorized_map_is_one_batch(wrap):
    calls = []

    def one(pair):
        calls.append(pair)
        a, b = pair["a"], pair["b"]
        return ops.softmax(ops.matmul(a, ops.transpose(a)) + b), None, ops.ones(2)

    a = np.random.default_rng(0).standard_normal((5, 3, 4)).astype("float32")
    run = wrap(lambda a, b: ops.vectorized_map(one, {"a": a, "b": b}))
    found, nothing, ones = run(tensor(a), tensor(a[:, 0, :3]))
    expected = ops.softmax(ops.matmul(a, ops.transpose(a, (0, 2, 1))) + a[:, 0, None, :3])
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5)
    assert nothing is None and ones.shape == (5, 2)
    assert len(calls) == 1


@both
@pytest.mark.parametrize("function", [ops.map, ops.vectorized_map])
def test_maps_of_loops_assignments_and_branches(function, wrap):
    count = keras.Variable(np.float32(0))

    def one(a):
        count.assign_add(1.0)
        last = ops.scan(lambda c, x: (c * x + a, None), a, tensor(X))[0]
        return ops.cond(a > 0.5, lambda: last, lambda: -last)

    found = wrap(lambda x: function(one, x))(tensor(X)).numpy()
    expected = []
    for a in X:
        last = a
        for x in X:
            last = last * x + a
        expected.append(last if a > 0.5 else -last)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert float(count.numpy()) == 3


def test_functions_that_look_at_values_are_called_one_by_one():
    for function in (ops.map, ops.vectorized_map):
        found = function(lambda a: a * 2 if float(a) > 0.5 else -a, tensor(X))
        np.testing.assert_allclose(found.numpy(), [-0.3, 1.8, 2.8])


@both
def test_derivatives_of_loops(wrap):
    def loop(x):
        doubled = ops.fori_loop(0, 3, lambda i, v: v * x + ops.cast(i, "float32"), x)
        chosen = ops.switch(ops.cast(x[0], "int32") + 1, [ops.sin, ops.square, ops.exp], doubled)
        return ops.sum(chosen) + ops.sum(ops.associative_scan(ops.multiply, x, reverse=True))

    def plain(x):
        v = x
        for i in range(3):
            v = v * x + i
        tails = x[2] * (1 + x[1] * (1 + x[0]))
        return ops.sum(v * v) + tails

    first = keras_native.grad(loop)
    second = keras_native.grad(lambda x: ops.sum(first(x) * first(x)))
    expected = keras_native.grad(plain)
    expected_second = keras_native.grad(lambda x: ops.sum(expected(x) * expected(x)))
    np.testing.assert_allclose(wrap(first)(tensor(X)).numpy(), expected(tensor(X)), rtol=1e-5)
    found = wrap(second)(tensor(X)).numpy()
    np.testing.assert_allclose(found, expected_second(tensor(X)), rtol=1e-4)


def test_an_unbounded_loop_has_no_derivative_in_the_graph():
    def loop(x):
        return ops.sum(ops.while_loop(lambda v: ops.sum(v) < 100, lambda v: v * 2, x))

    assert float(keras_native.jit(loop)(tensor(X)).numpy()) == pytest.approx(166.4)
    with pytest.raises(ValueError, match="while_loop has no reverse-mode derivative"):
        keras_native.jit(keras_native.grad(loop))(tensor(X))


@both
@pytest.mark.parametrize("several", [False, True])
def test_the_limit_of_a_while_loop_may_be_computed(wrap, several):
    def times(count):
        start = (count * 0.0, count) if several else count * 0.0
        body = (lambda v, c: (v + 2.0, c)) if several else lambda v: v + 2.0
        found = ops.while_loop(lambda v, *_: v < 7.0, body, start, maximum_iterations=count)
        return found[0] if several else found

    for count, expected in [(0, 0.0), (3, 6.0), (9, 8.0)]:
        assert float(wrap(times)(ops.convert_to_tensor(count, "int32"))) == expected


@both
def test_the_pieces_that_have_gradients_of_their_own(wrap):
    @ops.custom_gradient
    def clipped(x):
        return x * x, lambda *args, upstream=None: ops.clip(upstream or args[0], -1, 1)

    recomputed = keras.remat(lambda x: ops.sin(x) * ops.exp(x))
    gradient = keras_native.grad(lambda x: ops.sum(recomputed(x)) + clipped(x[0]) * 5)
    expected = np.exp(X) * (np.sin(X) + np.cos(X)) + [1, 0, 0]
    np.testing.assert_allclose(wrap(gradient)(tensor(X)).numpy(), expected, rtol=1e-5)


def test_compiled_eager_loops_draw_the_same_random_numbers():
    def walk(length):
        seed = keras.random.SeedGenerator(7)
        draw = lambda c, _: (c + keras.random.normal((2,), seed=seed), None)  # noqa: E731
        return ops.scan(draw, ops.zeros(2), length=length)[0].numpy(), seed.state.numpy()

    found, state = walk(40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(STATE, "python_loops", True)
        expected, expected_state = walk(40)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(state, expected_state)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_run_eagerly_calls_the_bodies_of_loops_for_each_step(run_eagerly):
    calls = []

    class Summed(keras.layers.Layer):
        def call(self, x):
            def body(c, row):
                calls.append(c)
                return c + row, None

            return ops.scan(body, ops.zeros_like(x[:, 0]), ops.transpose(x))[0]

    model = keras.Sequential([keras.Input((20,)), Summed()])
    model.compile(loss="mse", run_eagerly=run_eagerly)
    calls.clear()
    found = model.predict(np.ones((2, 20), "float32"), verbose=0)
    np.testing.assert_array_equal(found, [20, 20])
    assert (len(calls) == 20) == run_eagerly


@both
@pytest.mark.parametrize("bounds", [(0, 3), (np.int64(0), np.int32(3)), (np.array(0), 3)])
def test_loops_between_numbers_have_derivatives(wrap, bounds):
    gradient = keras_native.grad(lambda x: ops.fori_loop(*bounds, lambda i, v: v * x, x))
    assert float(wrap(gradient)(tensor(np.float32(2))).numpy()) == 32
