"""Every layer of Keras with the ways to use it that run on other kernels: (label, input, layers).

Layers that make or read integers, or that only reshape, stand between others that are trained.
"""

import inspect
from functools import partial

import keras
import numpy as np
from keras import layers as L

RNG = np.random.default_rng(0)
BATCH = 4


def _floats(*dims):
    return RNG.random((BATCH, *dims)).astype("float32")


TABLE = _floats(6)
SEQUENCE = _floats(8, 6)
PICTURES = 255 * _floats(12, 12, 3)
VOLUMES = _floats(6, 6, 6, 2)
FILMS = {1: _floats(3, 8, 2), 2: _floats(3, 6, 6, 2), 3: _floats(3, 5, 5, 5, 2)}
SOUND = _floats(3000)
TOKENS = RNG.integers(0, 9, (BATCH, 7))  # 0 is masked
BY_RANK = {1: SEQUENCE, 2: PICTURES, 3: VOLUMES}

embed = partial(L.Embedding, 9, 6, mask_zero=True)


def plain():
    """Layers of one input that need nothing else."""
    made = {
        "Dense": (SEQUENCE, L.Dense(4, "gelu")),
        "EinsumDense": (SEQUENCE, L.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de")),
        "Embedding": (TOKENS, L.Embedding(9, 4)),
        "ReversibleEmbedding": (TOKENS, L.ReversibleEmbedding(9, 4)),
        "Masking": (SEQUENCE, L.Masking(), L.LSTM(3)),
        "Lambda": (SEQUENCE, L.Lambda(lambda x: 2 * x)),
        "Activation": (SEQUENCE, L.Activation("silu")),
        "ReLU": (SEQUENCE, L.ReLU(6, 0.1, 0.2)),
        "BatchNormalization": (PICTURES, L.Conv2D(4, 3), L.BatchNormalization()),
        "BatchNormalization mask": (TOKENS, embed(), L.BatchNormalization()),
        "GroupNormalization": (PICTURES, L.Conv2D(4, 3), L.GroupNormalization(2)),
        "SpectralNormalization": (PICTURES, L.SpectralNormalization(L.Conv2D(4, 3))),
        "CategoryEncoding": (TOKENS, L.CategoryEncoding(9, "multi_hot"), L.Dense(3)),
        "Discretization": (TABLE, L.Discretization([0.2, 0.6]), L.Embedding(3, 2)),
        "Normalization": (TABLE, L.Normalization(mean=0.5, variance=0.1), L.Dense(3)),
        "Pipeline": (PICTURES, L.Pipeline([L.RandomFlip(), L.Rescaling(1 / 255)])),
        "RepeatVector": (TABLE, L.RepeatVector(3)),
        "Reshape": (TABLE, L.Reshape((3, 2))),
        "Permute": (SEQUENCE, L.Permute((2, 1))),
        "ActivityRegularization": (TABLE, L.ActivityRegularization(0.1)),
        "MelSpectrogram": (SOUND, L.MelSpectrogram(), L.Dense(3)),
        "STFTSpectrogram": (SOUND[..., None], L.STFTSpectrogram(), L.Dense(3)),
        "TimeDistributed": (FILMS[2], L.TimeDistributed(L.Conv2D(3, 3))),
    }
    for name in [
        "ELU",
        "LeakyReLU",
        "PReLU",
        "Softmax",
        "Flatten",
        "Identity",
        "LayerNormalization",
    ]:
        made[name] = SEQUENCE, getattr(L, name)()
    for name in ["RMSNormalization", "UnitNormalization"]:
        made[name] = SEQUENCE, getattr(L, name)()
    for name in ["AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"]:
        made[name] = SEQUENCE, getattr(L, name)(0.3)
    return made


def convolutions():
    made = {}
    for rank, x in BY_RANK.items():
        kinds = [f"Conv{rank}D", f"Conv{rank}DTranspose"]
        kinds += [f"SeparableConv{rank}D", f"DepthwiseConv{rank}D"] if rank < 3 else []
        for kind in kinds:
            make = partial(getattr(L, kind), *(() if "Depthwise" in kind else (4,)))
            made[kind] = x, make(kernel_size=3, padding="same")
            made[f"{kind} strides"] = x, make(kernel_size=3, strides=2)
            made[f"{kind} dilated"] = x, make(kernel_size=2, dilation_rate=2)
        made[f"Conv{rank}D groups"] = x, L.Dense(4), getattr(L, f"Conv{rank}D")(4, 3, groups=2)
    made["Conv1D causal"] = SEQUENCE, L.Conv1D(4, 3, padding="causal")
    made["Conv2D first"] = PICTURES, L.Conv2D(4, 3, data_format="channels_first")
    return made


def pooling():
    made = {}
    for rank, x in BY_RANK.items():
        for kind in ("Max", "Average"):
            pool = partial(getattr(L, f"{kind}Pooling{rank}D"), 3, 2)
            made[f"{kind}Pooling{rank}D"] = x, pool(padding="same")
            made[f"{kind}Pooling{rank}D valid"] = x, pool()
            made[f"Global{kind}Pooling{rank}D"] = x, getattr(L, f"Global{kind}Pooling{rank}D")()
            made[f"Adaptive{kind}Pooling{rank}D"] = (
                x,
                getattr(L, f"Adaptive{kind}Pooling{rank}D")(4),
            )
        for name, argument in (
            ("Cropping", 1),
            ("ZeroPadding", 2),
            ("UpSampling", 2),
            ("SpatialDropout", 0.3),
        ):
            made[f"{name}{rank}D"] = x, getattr(L, f"{name}{rank}D")(argument)
    for mode in ("bilinear", "bicubic", "lanczos5"):
        made[f"UpSampling2D {mode}"] = PICTURES, L.UpSampling2D(2, interpolation=mode)
    return made


def recurrence():
    made = {
        "RNN": (SEQUENCE, L.RNN(L.SimpleRNNCell(3))),
        "StackedRNNCells": (TOKENS, embed(), L.RNN([L.LSTMCell(3), L.GRUCell(2)])),
        "Bidirectional": (TOKENS, embed(), L.Bidirectional(L.GRU(3, return_sequences=True))),
        "GRU before": (SEQUENCE, L.GRU(3, reset_after=False)),
    }
    for name in ["LSTM", "GRU", "SimpleRNN"]:
        make = getattr(L, name)
        made[name] = SEQUENCE, make(3)
        made[f"{name} mask"] = TOKENS, embed(), make(3, go_backwards=True, return_sequences=True)
        made[f"{name} dropout"] = SEQUENCE, make(3, dropout=0.2, recurrent_dropout=0.2)
        made[f"{name} relu"] = SEQUENCE, make(3, activation="relu")
        made[f"{name} unroll"] = SEQUENCE, make(3, unroll=True)
    for rank, x in FILMS.items():
        made[f"ConvLSTM{rank}D"] = x, getattr(L, f"ConvLSTM{rank}D")(2, 3)
    return made


def pictures():
    made = {
        "AutoContrast": L.AutoContrast(),
        "CenterCrop": L.CenterCrop(6, 8),
        "ContrastLimitedAdaptiveHistogramEqualization": (
            L.ContrastLimitedAdaptiveHistogramEqualization()
        ),
        "CutMix": L.CutMix(),
        "MixUp": L.MixUp(),
        "AugMix": L.AugMix(),
        # Its spec is its input, so that a functional model leaves it out; a pipeline does not.
        "Equalization": L.Pipeline([L.Equalization()]),
        "RandAugment": L.RandAugment(),
        "RandomElasticTransform": L.RandomElasticTransform(),
        "RandomCrop": L.RandomCrop(6, 8),
        "RandomFlip": L.RandomFlip(),
        "RandomPerspective": L.RandomPerspective(1.0),
        "RandomColorJitter": L.RandomColorJitter((0, 255), 0.2, 0.2, 0.2, 0.2),
        "Rescaling": L.Rescaling(1 / 255),
        "Resizing": L.Resizing(7, 9),
        "Resizing crop": L.Resizing(7, 9, crop_to_aspect_ratio=True),
        "Resizing pad": L.Resizing(7, 9, pad_to_aspect_ratio=True),
        "Solarization": L.Solarization(),
    }
    for name, argument in {
        "RandomBrightness": 0.3,
        "RandomColorDegeneration": 0.5,
        "RandomContrast": 0.4,
        "RandomErasing": 1.0,
        "RandomGaussianBlur": 1.0,
        "RandomGrayscale": 0.5,
        "RandomHue": 0.3,
        "RandomInvert": 0.5,
        "RandomPosterization": 4,
        "RandomRotation": 0.2,
        "RandomSaturation": 0.3,
        "RandomSharpness": 0.3,
        "RandomShear": 0.2,
        "RandomTranslation": 0.2,
        "RandomZoom": 0.2,
    }.items():
        count = 2 if name in ("RandomTranslation", "RandomShear") else 1
        made[name] = getattr(L, name)(*[argument] * count)
    for mode in ("nearest", "bicubic", "lanczos3"):
        made[f"Resizing {mode}"] = L.Resizing(7, 9, interpolation=mode)
    # A product before, so that a gradient flows through; none may through integers.
    return {name: (PICTURES, layer, L.Conv2D(3, 3)) for name, layer in made.items()}


def attention():
    """Functions of a sequence [batch, time, 6]."""
    return {
        "MultiHeadAttention": (SEQUENCE, lambda x: L.MultiHeadAttention(2, 4, dropout=0.1)(x, x)),
        "MultiHeadAttention causal": (
            TOKENS,
            lambda x: L.MultiHeadAttention(2, 4)(*[embed()(x)] * 2, use_causal_mask=True),
        ),
        "MultiHeadAttention axes": (
            FILMS[2],
            lambda x: L.MultiHeadAttention(2, 4, attention_axes=(2, 3))(x, x),
        ),
        "MultiHeadAttention scores": (
            SEQUENCE,
            lambda x: L.MultiHeadAttention(2, 6)(x, x, return_attention_scores=True)[0],
        ),
        "GroupQueryAttention": (SEQUENCE, lambda x: L.GroupQueryAttention(4, 4, 2)(x, x)),
        "Attention": (
            TOKENS,
            lambda x: L.Attention(use_scale=True, dropout=0.1)([embed()(x), embed()(x)]),
        ),
        "Attention concat": (
            SEQUENCE,
            lambda x: L.Attention(score_mode="concat")([L.Dense(4)(x), L.Dense(4)(x)]),
        ),
        "AdditiveAttention": (
            TOKENS,
            lambda x: L.AdditiveAttention()([embed()(x), embed()(x)]),
        ),
    }


def merging():
    names = ["Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"]
    layers = {name: getattr(L, name)() for name in names} | {"Dot": L.Dot(2, normalize=True)}
    return {
        name: (SEQUENCE, lambda x, layer=layer: layer([L.Dense(4)(x), L.Dense(4, "tanh")(x)]))
        for name, layer in layers.items()
    }


FAMILIES = [plain, convolutions, pooling, recurrence, pictures, attention, merging]
# Layers that are no part of a compiled model, or of none at all.
ELSEWHERE = {
    **dict.fromkeys(["Layer", "Wrapper", "InputLayer"], "no computation of their own"),
    **dict.fromkeys(["SimpleRNNCell", "LSTMCell", "GRUCell"], "run by RNN"),
    **dict.fromkeys(["TFSMLayer", "JaxLayer", "FlaxLayer"], "another framework by name"),
    "TorchModuleWrapper": "another framework by name",
    **dict.fromkeys(["Hashing", "HashedCrossing", "IntegerLookup"], "computed by TensorFlow"),
    **dict.fromkeys(["StringLookup", "TextVectorization"], "computed by TensorFlow"),
    "MaxNumBoundingBoxes": "takes labels, not tensors",
}


def names() -> set[str]:
    """Layers of Keras, without those that are there under two names."""
    found = {}
    for name, value in vars(L).items():
        if inspect.isclass(value) and issubclass(value, L.Layer):
            found.setdefault(value, name) if name != value.__name__ else found.update({value: name})
    return set(found.values())


def build(x, *parts) -> keras.Model:
    """A model of layers one after the other, or of a function of the input."""
    inputs = outputs = L.Input(x.shape[1:], dtype=x.dtype.name)
    for part in parts:
        outputs = part(outputs)
    # Something to be trained before and after, where a gradient can flow.
    return keras.Model(inputs, L.Dense(2)(outputs))
