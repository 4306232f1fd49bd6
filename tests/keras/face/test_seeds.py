"""Random numbers: moments, ranges, and that a seed fixes them."""

import numpy as np
import pytest

from keras_native.src import random

COUNT = 40000
DRAWS = {
    "normal": (lambda s: random.normal((COUNT,), 2.0, 3.0, seed=s), 2.0, 3.0),
    "uniform": (lambda s: random.uniform((COUNT,), -1.0, 3.0, seed=s), 1.0, 4 / 12**0.5),
    "randint": (lambda s: random.randint((COUNT,), 0, 10, seed=s), 4.5, 8.25**0.5),
    "gamma": (lambda s: random.gamma((COUNT,), 4.0, seed=s), 4.0, 2.0),
    "beta": (lambda s: random.beta((COUNT,), 2.0, 3.0, seed=s), 0.4, 0.2),
    "binomial": (lambda s: random.binomial((COUNT,), 10, 0.3, seed=s), 3.0, 2.1**0.5),
    "truncated_normal": (lambda s: random.truncated_normal((COUNT,), seed=s), 0.0, 0.8796),
    "dropout": (lambda s: random.dropout(np.ones(COUNT, "float32"), 0.2, seed=s), 1.0, 0.5),
}


@pytest.mark.parametrize("name", DRAWS)
def test_moments_and_seeds(name):
    draw, mean, deviation = DRAWS[name]
    first = draw(11).numpy()
    np.testing.assert_array_equal(first, draw(11).numpy())
    assert (first != draw(12).numpy()).any()
    # Five standard errors of either statistic.
    assert abs(first.mean() - mean) < 5 * deviation / COUNT**0.5
    assert abs(first.std() - deviation) < 5 * deviation / COUNT**0.5


def test_categorical_follows_the_logits():
    logits = np.log([[0.1, 0.2, 0.7], [0.5, 0.5, 1e-30]])
    drawn = random.categorical(logits, COUNT, seed=1).numpy()
    for row, p in zip(drawn, np.exp(logits)):
        np.testing.assert_allclose(np.bincount(row, minlength=3) / COUNT, p, atol=0.015)


def test_shuffle_permutes_whole_slices():
    x = np.arange(30).reshape(10, 3)
    out = random.shuffle(x, seed=3).numpy()
    assert sorted(out[:, 0]) == list(range(0, 30, 3)) and (out[:, 0] != x[:, 0]).any()
    np.testing.assert_array_equal(out - out[:, :1], np.tile([0, 1, 2], (10, 1)))


def test_dropout_shares_noise_along_axes():
    out = random.dropout(np.ones((4, 5, 6), "float32"), 0.5, (None, 1, None), seed=2).numpy()
    assert (out == out[:, :1]).all() and len(np.unique(out)) == 2


def test_the_end_of_a_narrow_range():
    drawn = random.randint((COUNT,), 0, 256, "uint8", seed=1).numpy()
    assert drawn.min() == 0 and drawn.max() == 255
