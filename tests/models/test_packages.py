"""Packages on top of Keras, which look at the backend's name: KerasHub, KerasTuner, KerasRS."""

import warnings

import keras
import numpy as np
import pytest

import keras_native
from keras_native.engine.primitive import STATE

VOCABULARY, LENGTH, BATCH = 30, 12, 4
RNG = np.random.default_rng(0)
IDS = RNG.integers(1, VOCABULARY, (BATCH, LENGTH))
TEXT = {"token_ids": IDS, "padding_mask": np.ones((BATCH, LENGTH), "int32")}
TWO_TEXTS = {
    **{f"encoder_{name}": value for name, value in TEXT.items()},
    **{f"decoder_{name}": value for name, value in TEXT.items()},
}
PICTURES = RNG.random((BATCH, 32, 32, 3)).astype("float32")
SMALL = {"num_layers": 2, "hidden_dim": 16, "intermediate_dim": 32, "vocabulary_size": VOCABULARY}
HEADS = {**SMALL, "num_heads": 2}
GROUPED = {**SMALL, "num_query_heads": 4, "num_key_value_heads": 2}
# class of keras_hub.models -> arguments, inputs
BACKBONES = {
    "BertBackbone": (HEADS, {**TEXT, "segment_ids": 0 * IDS}),
    "DebertaV3Backbone": ({**HEADS, "bucket_size": 4}, TEXT),
    "GPT2Backbone": (HEADS, TEXT),
    "BloomBackbone": (HEADS, TEXT),
    "LlamaBackbone": (GROUPED, TEXT),
    "MistralBackbone": ({**GROUPED, "sliding_window": 4}, TEXT),
    "GemmaBackbone": ({**GROUPED, "head_dim": 8}, TEXT),
    "MixtralBackbone": ({**GROUPED, "num_experts": 2, "top_k": 1}, TEXT),
    "T5Backbone": (HEADS, TWO_TEXTS),
    "BartBackbone": (HEADS, TWO_TEXTS),
    "ViTBackbone": (
        {
            "image_shape": (32, 32, 3),
            "patch_size": (8, 8),
            "num_layers": 2,
            "num_heads": 2,
            "hidden_dim": 16,
            "mlp_dim": 32,
        },
        PICTURES,
    ),
    "DenseNetBackbone": (
        {
            "stackwise_num_repeats": [1, 1],
            "growth_rate": 4,
            "compression_ratio": 0.5,
            "image_shape": (32, 32, 3),
        },
        PICTURES,
    ),
}


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub", reason="keras-hub is not installed")


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def language_model(hub, name="GPT2", **kwargs):
    """A small language model with weights large enough that its choices differ."""
    keras.utils.set_random_seed(2)
    arguments, _ = BACKBONES[f"{name}Backbone"]
    backbone = getattr(hub.models, f"{name}Backbone")(**arguments)
    model = getattr(hub.models, f"{name}CausalLM")(backbone, preprocessor=None)
    for w in model.trainable_variables:
        w.assign(w + 0.3 * keras.random.normal(w.shape))
    model.compile("adam", cross_entropy(), **kwargs)
    return model


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_trains_on_kernels_alone(hub, name):
    keras.utils.set_random_seed(0)
    arguments, x = BACKBONES[name]
    backbone = getattr(hub.models, name)(**arguments)
    features = [f for f in keras.tree.flatten(backbone(backbone.input)) if f.ndim > 2]
    first = [keras.layers.Flatten()(f[:, 0]) for f in features]
    outputs = keras.layers.Dense(3)(
        first[0] if len(first) == 1 else keras.ops.concatenate(first, 1)
    )
    model = keras.Model(backbone.input, outputs)
    model.compile(keras.optimizers.Adam(1e-2), cross_entropy(), jit_compile=True)
    y = np.arange(BATCH) % 3
    losses = [model.train_on_batch(x, y) for _ in range(8)]
    assert losses[-1] < 0.9 * losses[0]
    step, arrays, sizes = model.train_function.step.compiled((x, y, None))
    assert [op for op, kernel in step.executed(arrays, sizes) if kernel == "host"] == []


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["GPT2", "Llama"])
def test_generation_with_a_cache_chooses_what_the_whole_model_would(hub, name, compiled):
    model = language_model(hub, name, sampler="greedy")
    if compiled:
        model.generate_function = keras_native.jit(model.generate_step)
    given = 5
    mask = np.arange(LENGTH) < given
    prompt = {"token_ids": IDS * mask, "padding_mask": np.broadcast_to(mask, IDS.shape) * 1}
    for _ in range(2):
        found = np.array(model.generate(prompt, stop_token_ids=None)["token_ids"])
    if compiled:
        assert model.generate_function.traces == 1
    np.testing.assert_array_equal(found[:, :given], IDS[:, :given])
    logits = model.predict({**TEXT, "token_ids": found}, verbose=0)
    np.testing.assert_array_equal(found[:, given:], logits.argmax(-1)[:, given - 1 : -1])
    assert len(np.unique(found[:, given:])) > 2


@pytest.mark.parametrize("sampler", ["top_k", "top_p", "random", "beam"])
def test_samplers_stop_at_the_token_that_ends(hub, sampler):
    model = language_model(hub, sampler=sampler)
    prompt = {"token_ids": IDS, "padding_mask": np.ones_like(IDS) * (np.arange(LENGTH) < 3)}
    found = model.generate(prompt, stop_token_ids=tuple(range(15)))
    ids, kept = (np.array(found[name]) for name in ("token_ids", "padding_mask"))
    assert ids.shape == IDS.shape and ids.max() < VOCABULARY
    np.testing.assert_array_equal(ids[:, :3], IDS[:, :3])
    for row, mask in zip(ids, kept.astype(bool)):
        assert (row[3:][mask[3:]][:-1] >= 15).all()


def test_low_rank_adapters_and_int8(hub):
    model = language_model(hub, "Llama")
    frozen = len(model.trainable_variables)
    model.backbone.enable_lora(2)
    assert 0 < len(model.trainable_variables) < frozen
    model.compile(keras.optimizers.Adam(1e-2), cross_entropy())
    losses = model.fit(TEXT, np.roll(IDS, -1, 1), epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    before = model.predict(TEXT, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # KerasHub says which layers have nothing to quantise
        model.quantize("int8")
    after = model.predict(TEXT, verbose=0)
    assert 0 < np.abs(after - before).max() < 0.2 * np.abs(before).max()


def test_text_goes_in_and_comes_out(hub):
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "quick", "brown", "fox"]
    preprocessor = hub.models.BertTextClassifierPreprocessor(
        hub.models.BertTokenizer(vocabulary=words), sequence_length=8
    )
    arguments = {**HEADS, "vocabulary_size": len(words), "max_sequence_length": 8}
    backbone = hub.models.BertBackbone(**arguments)
    model = hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor)
    texts = ["the quick fox", "brown fox"] * 4
    model.compile(keras.optimizers.Adam(1e-2), cross_entropy(), metrics=["accuracy"])
    losses = model.fit(texts, np.array([0, 1] * 4), epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert model.predict(texts[:3], verbose=0).shape == (3, 2)


@pytest.mark.parametrize("search", ["RandomSearch", "Hyperband", "BayesianOptimization"])
def test_keras_tuner_finds_the_rate_that_learns(search, tmp_path):
    tuner = pytest.importorskip("keras_tuner", reason="keras-tuner is not installed")

    def build(hp):
        keras.utils.set_random_seed(0)
        rate = hp.Choice("rate", [0.0, 0.1])
        layers = [keras.layers.Input((4,)), keras.layers.Dense(8, hp.Choice("act", ["relu"]))]
        model = keras.Sequential([*layers, keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(rate), "mse")
        return model

    x = RNG.standard_normal((64, 4)).astype("float32")
    y = x.sum(1)
    limit = {"max_epochs": 4} if search == "Hyperband" else {"max_trials": 2}
    found = getattr(tuner, search)(build, "val_loss", directory=tmp_path, seed=1, **limit)
    before = STATE.calls
    found.search(x, y, validation_split=0.25, epochs=4, verbose=0)
    assert STATE.calls > before
    assert found.get_best_hyperparameters()[0].get("rate") == 0.1
    best = found.get_best_models()[0]
    assert best.evaluate(x, y, verbose=0) < np.var(y)


def test_keras_rs_ranks():
    rs = pytest.importorskip("keras_rs", reason="keras-rs is not installed")
    features = RNG.standard_normal((40, 6, 3)).astype("float32")
    grades = (features[..., 0] > 0.5).astype("float32")
    inputs = keras.layers.Input((6, 3))
    outputs = keras.layers.Reshape((6,))(keras.layers.Dense(1)(inputs))
    model = keras.Model(inputs, outputs)
    loss = rs.losses.PairwiseLogisticLoss()
    model.compile(keras.optimizers.Adam(0.05), loss, metrics=[rs.metrics.NDCG(name="ndcg")])
    history = model.fit(features, grades, epochs=20, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["ndcg"][-1] > max(0.9, history["ndcg"][0])
    candidates = RNG.standard_normal((10, 4)).astype("float32")
    queries = RNG.standard_normal((2, 4)).astype("float32")
    scores, chosen = rs.layers.BruteForceRetrieval(candidates, k=3)(queries)
    expected = np.argsort(-queries @ candidates.T, 1)[:, :3]
    np.testing.assert_array_equal(np.array(chosen), expected)
    np.testing.assert_allclose(
        np.array(scores), np.take_along_axis(queries @ candidates.T, expected, 1), rtol=1e-5
    )
