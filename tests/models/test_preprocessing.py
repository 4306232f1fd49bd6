"""Preprocessing layers: inside a tf.data pipeline, in a model, and called by themselves give the
same."""

import keras
import numpy as np
import pytest
from keras import layers

RNG = np.random.default_rng(0)
PICTURES = RNG.uniform(0, 255, (12, 16, 16, 3)).astype("float32")
NUMBERS = RNG.standard_normal((12, 3)).astype("float32") * [1.0, 5.0, 0.1] + [0.0, 2.0, -1.0]
LEVELS = RNG.integers(0, 5, (12, 2)).astype("int32")
# Integers, since these must come out the same to the last of them.
WORDS = np.array(["red", "green", "blue", "green", "none", "red"])
TEXTS = np.array(["the quick fox", "a fox", "the the dog", "nothing known"])


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow", reason="tensorflow is not installed")


def adapted(layer, data):
    layer.adapt(data)
    return layer


def through(tf, layer, data, **kwargs):
    """What a tf.data pipeline makes of batches of four."""
    batches = tf.data.Dataset.from_tensor_slices(data).batch(4)
    return np.concatenate([b.numpy() for b in batches.map(lambda b: layer(b, **kwargs))])


DETERMINISTIC = {
    "Rescaling": (lambda: layers.Rescaling(1 / 127.5, -1.0), PICTURES),
    "Resizing": (lambda: layers.Resizing(9, 7), PICTURES),
    "Resizing, cropped": (lambda: layers.Resizing(9, 7, crop_to_aspect_ratio=True), PICTURES),
    "CenterCrop": (lambda: layers.CenterCrop(8, 10), PICTURES),
    "Normalization": (lambda: adapted(layers.Normalization(), NUMBERS), NUMBERS),
    "Discretization": (lambda: adapted(layers.Discretization(num_bins=4), NUMBERS), NUMBERS),
    "CategoryEncoding": (lambda: layers.CategoryEncoding(5, output_mode="multi_hot"), LEVELS),
    "CategoryEncoding, counted": (lambda: layers.CategoryEncoding(5, output_mode="count"), LEVELS),
    "IntegerLookup": (lambda: layers.IntegerLookup(vocabulary=[3, 1, 4]), LEVELS),
    "Hashing": (lambda: layers.Hashing(7), LEVELS),
}
RANDOM = {
    "RandomFlip": lambda: layers.RandomFlip(seed=1),
    "RandomRotation": lambda: layers.RandomRotation(0.2, seed=1),
    "RandomZoom": lambda: layers.RandomZoom(0.3, seed=1),
    "RandomTranslation": lambda: layers.RandomTranslation(0.2, 0.2, seed=1),
    "RandomCrop": lambda: layers.RandomCrop(9, 9, seed=1),
    "RandomContrast": lambda: layers.RandomContrast(0.5, seed=1),
    "RandomBrightness": lambda: layers.RandomBrightness(0.5, seed=1),
    "RandomErasing": lambda: layers.RandomErasing(1.0, seed=1),
    "RandomHue": lambda: layers.RandomHue(0.5, seed=1),
    "Solarization": lambda: layers.Solarization(seed=1),
}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_pipeline_does_what_the_layer_does_by_itself(tf, name):
    make, data = DETERMINISTIC[name]
    layer = make()
    found = through(tf, layer, data)
    expected = np.array(layer(data))
    assert found.shape == expected.shape and np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", RANDOM)
def test_random_layers_in_a_pipeline_and_in_a_model(tf, name):
    layer = RANDOM[name]()
    found = through(tf, layer, PICTURES, training=True)
    assert np.isfinite(found).all() and found.shape[0] == len(PICTURES)
    at_rest = through(tf, layer, PICTURES, training=False)
    assert not np.array_equal(found, at_rest)
    inputs = layers.Input((16, 16, 3))
    outputs = layers.Dense(2)(layers.GlobalAveragePooling2D()(RANDOM[name]()(inputs)))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    scaled = tf.data.Dataset.from_tensor_slices((PICTURES / 255, np.zeros((12, 2)))).batch(4)
    assert np.isfinite(model.fit(scaled, verbose=0).history["loss"][0])


def test_words_become_numbers_in_a_pipeline(tf):
    lookup = layers.StringLookup(vocabulary=["blue", "green", "red"])
    expected = [3, 2, 1, 2, 0, 3]
    np.testing.assert_array_equal(through(tf, lookup, WORDS), expected)
    np.testing.assert_array_equal(np.array(lookup(WORDS)), expected)
    one_hot = layers.StringLookup(vocabulary=["blue", "green", "red"], output_mode="one_hot")
    np.testing.assert_array_equal(through(tf, one_hot, WORDS), np.eye(4)[expected])
    back = layers.StringLookup(vocabulary=["blue", "green", "red"], invert=True)
    assert [w.decode() for w in through(tf, back, np.array([3, 1]))] == ["red", "blue"]


def test_a_model_learns_from_texts_through_a_pipeline(tf):
    vectorise = layers.TextVectorization(output_mode="int", output_sequence_length=4)
    vectorise.adapt(TEXTS)
    np.testing.assert_array_equal(through(tf, vectorise, TEXTS), np.array(vectorise(TEXTS)))
    counts = layers.TextVectorization(output_mode="tf_idf")
    counts.adapt(TEXTS)
    assert (through(tf, counts, TEXTS) > 0).sum(1).tolist() == [3, 2, 2, 2]

    labels = np.array([1, 1, 0, 0])
    data = tf.data.Dataset.from_tensor_slices((TEXTS, labels)).batch(2)
    data = data.map(lambda text, label: (vectorise(text), label)).cache().prefetch(2)
    model = keras.Sequential(
        [layers.Embedding(vectorise.vocabulary_size(), 8), layers.GRU(8), layers.Dense(2)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss, metrics=["accuracy"])
    history = model.fit(data, epochs=20, verbose=0).history
    assert history["accuracy"][-1] == 1 and history["loss"][-1] < 0.2 * history["loss"][0]


def test_columns_of_all_kinds_through_a_feature_space(tf):
    space = keras.utils.FeatureSpace(
        features={
            "size": keras.utils.FeatureSpace.float_normalized(),
            "level": keras.utils.FeatureSpace.integer_categorical(num_oov_indices=0),
            "colour": keras.utils.FeatureSpace.string_categorical(),
        },
        crosses=[keras.utils.FeatureSpace.cross(("level", "colour"), crossing_dim=8)],
        output_mode="concat",
    )
    columns = {"size": NUMBERS[:6, 1], "level": LEVELS[:6, 0], "colour": WORDS}
    rows = tf.data.Dataset.from_tensor_slices(columns)
    space.adapt(rows)
    width = space.get_encoded_features().shape[-1]
    found = np.concatenate([b.numpy() for b in rows.batch(2).map(space)])
    assert found.shape == (6, width)
    # One of each category: of levels, colours and their cross; beside them the normalised number.
    ones = (found == 1).sum(1)
    np.testing.assert_array_equal(ones, 3)
    number = found.sum(1) - ones
    assert abs(number.mean()) < 1e-5 and number.std() == pytest.approx(1, abs=1e-3)


def test_augmentation_and_rescaling_in_front_of_a_convnet(tf):
    labels = (PICTURES.mean((1, 2, 3)) > np.median(PICTURES.mean((1, 2, 3)))).astype("int32")
    augment = layers.Pipeline(
        [layers.Rescaling(1 / 255), layers.RandomFlip("horizontal"), layers.RandomRotation(0.05)]
    )
    data = tf.data.Dataset.from_tensor_slices((PICTURES, labels)).shuffle(12, seed=0).batch(5)
    data = data.map(lambda x, y: (augment(x, training=True), y), num_parallel_calls=2)
    model = keras.Sequential(
        [layers.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    losses = model.fit(data, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < losses[0] and model.train_function.step.traces == 1
