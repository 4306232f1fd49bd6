"""What Keras's own tests say backend by backend, said for this one.

A few test modules have chains and tables by the backend's name, in which a backend from outside
cannot stand. They get one more branch or entry, in memory, before they run.
"""

from _keras_native_hook import finder

from keras_native import plugin

_FLOAT8_STEP = """\
        if backend.backend() == "native":
            import keras_native

            @keras_native.jit
            def train_one_step(x, dy):
                with keras_native.GradientTape() as tape:
                    loss = loss_fn(x, dy)
                grads = tape.gradient(loss, layer.trainable_variables)
                optimizer.apply(grads, layer.trainable_variables)

        elif backend.backend() == "tensorflow":
            import tensorflow as tf

            @tf.function"""
_TENSORFLOW_STEP = _FLOAT8_STEP[_FLOAT8_STEP.index("tensorflow") :]
_TENSORFLOW_STEP = '        if backend.backend() == "' + _TENSORFLOW_STEP

# The reference normalises the signal's ends as TensorFlow does; NumPy's, JAX's and this backend's
# results are right up to them, and the test leaves the ends of these backends' out.
_ISTFT_ENDS = """\
        if backend.backend() in ("numpy", "jax", "torch", "openvino"):
            # these backends have different implementation for the boundary of
"""

# Module: (text that stands there, text that takes its place, how many times).
TEXTS = {
    "keras.src.layers.core.dense_test": (_TENSORFLOW_STEP, _FLOAT8_STEP, 1),
    "keras.src.layers.core.einsum_dense_test": (_TENSORFLOW_STEP, _FLOAT8_STEP, 1),
    "keras.src.ops.math_test": (
        _ISTFT_ENDS,
        _ISTFT_ENDS.replace('"numpy"', '"native", "numpy"'),
        2,
    ),
    "keras.src.trainers.trainer_test": (
        '            "torch": "cpu",\n',
        '            "torch": "cpu",\n            "native": "cpu:0",\n',
        1,
    ),
}
# Module: the branch of its chain of backends at module level.
BRANCHES = {"keras.src.trainers.trainer_test": "from keras_native.src.trainer import Trainer"}


class _Amended:
    """A loader whose source is amended."""

    def __init__(self, loader, name):
        self._loader = loader
        old, new, times = TEXTS[name]
        source = loader.get_source(name)
        if source.count(old) != times:
            raise ImportError(f"{name}: the text to amend stands there {source.count(old)} times")
        self._source = source.replace(old, new)

    def get_source(self, name):
        return self._source

    def get_filename(self, name):
        return self._loader.get_filename(name)


def _run(loader, module):
    name = module.__name__
    loader = _Amended(loader, name)
    if name in BRANCHES:
        plugin.extend(loader, module, BRANCHES[name])
    else:
        code = compile(loader.get_source(name), loader.get_filename(name), "exec")
        exec(code, module.__dict__)


def apply() -> None:
    """Amends the modules when they are imported."""
    finder.watched.update(dict.fromkeys(TEXTS, _run))
