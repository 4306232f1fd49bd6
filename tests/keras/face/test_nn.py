"""Neural-network functions that are composed in the face: values by other means, gradients."""

import itertools

import numpy as np
import pytest
from numeric import check_gradients

from keras_native.src.ops import nn
from keras_native.src.ops.core import convert_to_tensor

RNG = np.random.default_rng(3)

SMOOTH = ["celu", "gelu", "sparsemax", "squareplus", "tanh_shrink", "glu", "silu", "log_softmax"]


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_of_activations(name):
    check_gradients(getattr(nn, name), RNG.standard_normal((3, 4)))


def path_probability(log_p, target, blank):
    """The sum over all alignments, one by one."""
    steps, classes = log_p.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=steps):
        merged = [c for i, c in enumerate(path) if i == 0 or path[i - 1] != c]
        if [c for c in merged if c != blank] == list(target):
            total += np.exp(sum(log_p[t, c] for t, c in enumerate(path)))
    return total


@pytest.mark.parametrize("target", [[1, 2], [2, 2], [1], [2, 1, 2]])
def test_ctc_loss_sums_over_all_alignments(target):
    logits = RNG.standard_normal((1, 5, 3))
    log_p = nn.log_softmax(convert_to_tensor(logits)).numpy()[0]
    loss = nn.ctc_loss([target], logits, [len(target)], [5]).numpy()
    np.testing.assert_allclose(loss, [-np.log(path_probability(log_p, target, 0))], rtol=1e-5)


def test_ctc_beam_search_finds_the_likeliest_labels():
    logits = RNG.standard_normal((2, 4, 3))
    paths, scores = nn.ctc_decode(logits, [4, 3], "beam_search", 50, 2, mask_index=0)
    for b, steps in enumerate((4, 3)):
        log_p = nn.log_softmax(convert_to_tensor(logits)).numpy()[b, :steps]
        labels = [t for n in range(5) for t in itertools.product((1, 2), repeat=n)]
        ranked = sorted(((path_probability(log_p, t, 0), t) for t in labels), reverse=True)
        for i in range(2):
            found = tuple(c for c in paths.numpy()[i, b] if c >= 0)
            assert found == ranked[i][1]
            np.testing.assert_allclose(scores.numpy()[b, i], np.log(ranked[i][0]), rtol=1e-5)


def test_fold_is_the_adjoint_of_unfold():
    options = {"kernel_size": (2, 3), "dilation": (2, 1), "padding": (1, 2), "stride": (2, 1)}
    x = RNG.standard_normal((2, 3, 6, 7))
    columns = nn.unfold(x, **options).numpy()
    y = RNG.standard_normal(columns.shape)
    images = nn.fold(y, (6, 7), **options).numpy()
    np.testing.assert_allclose((columns * y).sum(), (images * x).sum(), rtol=1e-9)


@pytest.mark.parametrize("size, count", [(6, 3), (7, 3), (2, 5), (10, 4), (9, 6)])
def test_adaptive_pooling_covers_the_input(size, count):
    x = RNG.standard_normal((2, size, 3))
    bounds = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    for function, reduce in ((nn.adaptive_average_pool, np.mean), (nn.adaptive_max_pool, np.max)):
        expected = np.stack([reduce(x[:, a:b], axis=1) for a, b in bounds], axis=1)
        found = function(x, count, "channels_last").numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), (0, 2)])
def test_normalisations_over_any_axes(axis):
    x = RNG.standard_normal((2, 3, 4))
    mean, var = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
    found = nn.layer_normalization(x, axis=axis, epsilon=1e-3).numpy()
    np.testing.assert_allclose(found, (x - mean) / np.sqrt(var + 1e-3), rtol=1e-6)
    found = nn.rms_normalization(x, axis=axis, epsilon=1e-3).numpy()
    power = (x * x).mean(axis, keepdims=True)
    np.testing.assert_allclose(found, x / np.sqrt(power + 1e-3), rtol=1e-6)


def test_losses_by_axis_agree():
    probabilities = RNG.random((4, 5)) + 0.1
    labels = np.array([0, 4, 2, 7])
    sparse = nn.sparse_categorical_crossentropy(labels, probabilities).numpy()
    dense = nn.categorical_crossentropy(nn.one_hot(labels, 5, dtype="float64"), probabilities)
    np.testing.assert_allclose(sparse, dense.numpy(), rtol=1e-9)
    assert sparse[3] == 0


def test_capped_attention_tends_to_the_kernel():
    q, k, v = (RNG.standard_normal((2, 5, 4, 3)).astype("float32") for _ in range(3))
    plain = nn.dot_product_attention(q, k, v, is_causal=True).numpy()
    capped = nn.dot_product_attention(q, k, v, is_causal=True, attn_logits_soft_cap=1e6).numpy()
    np.testing.assert_allclose(plain, capped, atol=1e-5)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="glu: axis 1"):
        nn.glu(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="Invalid padding"):
        nn.max_pool(convert_to_tensor(np.zeros((1, 4, 4, 1))), 2, padding="full")
    with pytest.raises(ValueError, match="only supports 4D"):
        nn.dot_product_attention(*[np.zeros((2, 3))] * 3)
