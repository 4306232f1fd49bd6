"""Attention as people spell it is one primitive, with the values and gradients of the pieces."""

import numpy as np
import pytest
from keras import ops

import keras_native
from keras_native.engine import transforms
from keras_native.engine.tensor import from_numpy

RNG = np.random.default_rng(3)
BATCH, QUERIES, KEYS, HEADS, SIZE = 2, 5, 7, 3, 4


def tensor(*dims):
    return from_numpy(RNG.standard_normal(dims).astype(np.float32))


def heads_last(q, k, v, b):
    """KerasHub's Llama: a scale behind the product."""
    scores = ops.einsum("bqnd,bknd->bnqk", q, k) * 0.3
    return ops.einsum("bnqk,bknd->bqnd", ops.softmax(scores), v)


def biased(q, k, v, b):
    """KerasHub's T5: biases of positions and a mask that is added."""
    scores = ops.einsum("bqnd,bknd->bnqk", q, k) + b
    scores = scores + (1.0 - ops.cast(MASK[:, None, None], "float32")) * -1e9
    return ops.einsum("bnqk,bknd->bqnd", ops.softmax(scores, axis=-1), v)


def heads_first(q, k, v, b):
    """Swin's: heads in front of positions, a scale before the product, a bias."""
    q, k, v = (ops.transpose(x, (0, 2, 1, 3)) * 1.0 for x in (q, k, v))
    weights = ops.softmax(ops.matmul(q * 0.5, ops.transpose(k, (0, 1, 3, 2))) + b)
    return ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3))


def divided(q, k, v, b):
    """Keras's example of a Transformer block by hand: a division, a mask that is chosen."""
    q, k, v = (ops.transpose(x, (0, 2, 1, 3)) for x in (q, k, v))
    scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 2.0
    weights = ops.softmax(ops.where(MASK[:, None, None], scores, -1e9))
    return ops.reshape(ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3)), (BATCH, QUERIES, -1))


def one_head(q, k, v, b):
    """keras.layers.Attention: three axes, large numbers subtracted."""
    q, k, v = (x[:, :, 0] for x in (q, k, v))
    scores = ops.matmul(q, ops.transpose(k, (0, 2, 1))) * 0.7
    scores = scores - 1e9 * ops.cast(ops.logical_not(MASK[:, None]), "float32")
    return ops.matmul(ops.softmax(scores), v)


def heads_in_the_batch(q, k, v, b):
    """PyTorch's way: heads are examples."""
    q, k, v = (
        ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (BATCH * HEADS, -1, SIZE)) for x in (q, k, v)
    )
    scores = ops.matmul(q, ops.transpose(k, (0, 2, 1))) / ops.sqrt(4.0)
    return ops.matmul(ops.softmax(scores), v)


MASK = from_numpy(np.arange(KEYS) < np.array([[5], [7]]))
FORMS = (heads_last, biased, heads_first, divided, one_head, heads_in_the_batch)


def arguments():
    q, k, v = tensor(BATCH, QUERIES, HEADS, SIZE), *(tensor(BATCH, KEYS, HEADS, SIZE),) * 2
    return q, k, v + 0.0, tensor(1, HEADS, QUERIES, KEYS)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_one_primitive_with_the_values_and_gradients_of_the_pieces(form):
    given = arguments()
    used = (0, 1, 2, 3) if form in (biased, heads_first) else (0, 1, 2)

    def loss(*given):
        y = form(*given)
        return ops.sum(ops.square(y) * ops.cos(ops.arange(y.shape[-1], dtype="float32")))

    compiled = transforms.jit(form)
    graph = compiled.graph(*given).split("== ")[-1]
    assert "= attention(" in graph and "softmax" not in graph and "matmul" not in graph
    np.testing.assert_allclose(compiled(*given).numpy(), form(*given).numpy(), rtol=1e-5, atol=1e-6)

    gradient = keras_native.grad(loss, used)
    compiled = transforms.jit(gradient)
    graph = compiled.graph(*given).split("== ")[-1]
    assert "= attention_grad(" in graph and "softmax" not in graph and "matmul" not in graph
    for found, expected in zip(compiled(*given), gradient(*given)):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", [heads_last, divided], ids=lambda form: form.__name__)
def test_heads_beside_positions_are_read_where_they_lie(form):
    assert "transpose(" not in transforms.jit(form).graph(*arguments()).split("== ")[-1]


def scaled_bias(q, k, v, b):
    return ops.einsum("bnqk,bknd->bqnd", ops.softmax((products(q, k) + b) * 0.5), v)


def infinite_mask(q, k, v, b):
    weights = ops.softmax(ops.where(MASK[:, None, None], products(q, k), -np.inf))
    return ops.einsum("bnqk,bknd->bqnd", weights, v)


def over_queries(q, k, v, b):
    return ops.einsum("bnqk,bknd->bqnd", ops.softmax(products(q, k), axis=2), v)


def zeroed_only(q, k, v, b):
    weights = ops.where(MASK[:, None, None], ops.softmax(products(q, k)), 0.0)
    return ops.einsum("bnqk,bknd->bqnd", weights, v)


def small_fill(q, k, v, b):
    weights = ops.softmax(ops.where(MASK[:, None, None], products(q, k), -1.0))
    return ops.einsum("bnqk,bknd->bqnd", weights, v)


def products(q, k):
    return ops.einsum("bqnd,bknd->bnqk", q, k)


@pytest.mark.parametrize(
    "form", [scaled_bias, infinite_mask, over_queries, zeroed_only, small_fill]
)
def test_what_is_not_attention_is_left_alone(form):
    given = arguments()
    compiled = transforms.jit(form)
    assert "= attention(" not in compiled.graph(*given)
    np.testing.assert_allclose(compiled(*given).numpy(), form(*given).numpy(), rtol=1e-5, atol=1e-6)


def masked(mask, q, k, v):
    """As Keras does: probabilities are masked, too."""
    weights = ops.softmax(ops.where(mask, ops.einsum("bqnd,bknd->bnqk", q, k), -1e9))
    return ops.einsum("bnqk,bknd->bqnd", ops.where(mask, weights, 0.0), v)


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((QUERIES, 1), bool),
        np.ones((1, 1), bool),
        np.arange(KEYS)[None] < 1,
        np.tri(QUERIES, KEYS, dtype=bool),
        np.array(False),
    ],
    ids=["all, by query", "all", "one key", "causal", "a scalar"],
)
def test_known_masks_that_broadcast(mask):
    def form(*given):
        return masked(from_numpy(mask), *given)

    given = arguments()[:3]
    np.testing.assert_allclose(
        transforms.jit(form)(*given).numpy(), form(*given).numpy(), rtol=1e-5, atol=1e-6
    )


def test_a_mask_with_more_examples_than_scores():
    mask = from_numpy(RNG.random((BATCH, 1, QUERIES, KEYS)) < 0.5)
    q, k, v, _ = arguments()

    def form(q, k, v):
        return masked(mask, q, k, v)

    given = q[:1], k[:1], v
    np.testing.assert_allclose(
        transforms.jit(form)(*given).numpy(), form(*given).numpy(), rtol=1e-5, atol=1e-6
    )


def test_scores_rounded_to_integers_stay_so():
    def form(q, k, v):
        scores = ops.cast(ops.cast(3 * ops.einsum("bqnd,bknd->bnqk", q, k), "int32"), "float32")
        return ops.einsum("bnqk,bknd->bqnd", ops.softmax(scores), v)

    given = arguments()[:3]
    np.testing.assert_allclose(
        transforms.jit(form)(*given).numpy(), form(*given).numpy(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("hidden", [-1e9, -3e38])
def test_queries_whose_keys_are_all_masked_by_a_large_bias(hidden):
    """What softmax does not see is not lost beside the bias: the answer is that of float64."""
    bias = np.where(np.arange(KEYS) < np.array([0, 4])[:, None], 0.0, hidden)[:, None, None]

    def loss(dtype, *given):
        q, k, v = (ops.cast(x, dtype) for x in given)
        # float64 would lose the scores beside the largest bias, too
        b = from_numpy((np.maximum(bias, -1e6) if dtype == "float64" else bias).astype(dtype))
        weights = ops.softmax(ops.einsum("bqnd,bknd->bnqk", q, k) + b)
        return ops.sum(ops.sin(ops.einsum("bnqk,bknd->bqnd", weights, v)))

    given = arguments()[:3]
    found = transforms.jit(transforms.value_and_grad(lambda *x: loss("float32", *x), (0, 1, 2)))
    wanted = transforms.value_and_grad(lambda *x: loss("float64", *x), (0, 1, 2))
    (value, gradients), (right, slopes) = found(*given), wanted(*given)
    for a, b in zip((value, *gradients), (right, *slopes), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)
