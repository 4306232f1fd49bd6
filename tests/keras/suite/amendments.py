"""What Keras's own tests say backend by backend, said for this one.

A few test modules have chains and tables by the backend's name, in which a backend from outside
cannot stand. They get one more branch or entry, in memory, before they run; what they assert stays.
Where a chain makes sparse tensors or gradients with JAX, this backend goes JAX's way, with its own
counterparts (`as_jax.py`) in place of the imports.
"""

import re

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

# Trains with sparse data, and has dense gradients, as JAX's backend.
_DENSE_GRADIENTS = """\
        if backend.backend() != "jax":
            # Verify tensors did not get densified"""
# Where this backend's trainer takes batches from, and the class that `assertIsInstance` wants: a
# pipeline's own sparse tensors, and those of generators as they come.
_PIPELINE = """\
        elif backend.backend() == "tensorflow":
            it = adapter.get_tf_dataset()
            expected_class = tf.SparseTensor
"""
_BATCHES = """\
        elif backend.backend() == "jax":
            it = adapter.get_jax_iterator()
            expected_class = """
_GENERATOR_CLASS = """\
        elif backend.backend() == "native":
            it = adapter.get_numpy_iterator()
            expected_class = type(x)
"""
_NAMES = 'backend.backend() not in ("tensorflow", "jax", "torch")'
_FLASH = ['backend.backend() not in ("jax", "torch")', 'elif backend.backend() == "jax":']
_STATELESS = """\
        keras.backend.backend() != "jax",
        reason="This test requires `jax` as the backend.",
    )
    def test_dropout_jax_jit_stateless(self):
        import jax
        import jax.numpy as jnp
"""
_DISTRIBUTION = """\
@pytest.mark.skipif(
    backend.backend() != "jax",
    reason="Only JAX has the """
_JAX_ONLY = '@pytest.mark.skipif(backend.backend() != "jax", reason="{}")\n    def {}('


def _with_native(text: str) -> tuple[str, str, int]:
    """An amendment of a condition that has JAX's name: this backend's joins it."""
    for relation, joined in (('!= "jax"', "not in"), ('== "jax"', "in")):
        if relation in text:
            return text, text.replace(relation, f'{joined} ("jax", "native")'), 1
    return text, text.replace('"jax"', '"jax", "native"'), 1


# Module: triples of a text that stands there, what takes its place, and how many times.
TEXTS = {
    "device_scope_test": [  # its folder is no package
        _with_native(_JAX_ONLY.format("jax only", "test_invalid_jax_device"))
    ],
    "keras.src.distribution.distribution_lib_test": [
        (_DISTRIBUTION, _DISTRIBUTION.replace('!= "jax"', 'not in ("jax", "native")'), 4)
    ],
    "keras.src.export.saved_model_test": [
        _with_native(_NAMES),
        (
            '"tensorflow",\n        "jax",\n',
            '"tensorflow",\n        "native",\n        "jax",\n',
            1,
        ),
    ],
    "keras.src.layers.attention.grouped_query_attention_test": [*map(_with_native, _FLASH)],
    "keras.src.layers.attention.multi_head_attention_test": [*map(_with_native, _FLASH)],
    "keras.src.layers.core.dense_test": [(_TENSORFLOW_STEP, _FLOAT8_STEP, 1)],
    "keras.src.layers.core.einsum_dense_test": [(_TENSORFLOW_STEP, _FLOAT8_STEP, 1)],
    "keras.src.models.model_test": [_with_native(_NAMES)],
    "keras.src.ops.core_test": [_with_native(_NAMES)],
    "keras.src.ops.math_test": [
        (_ISTFT_ENDS, _ISTFT_ENDS.replace('"numpy"', '"native", "numpy"'), 2)
    ],
    "keras.src.ops.numpy_test": [
        _with_native(_NAMES),
        ('__name__ == "BCOO"', '__name__ in ("BCOO", "SparseTensor")', 1),
    ],
    "keras.src.quantizers.quantizers_test": [_with_native(_NAMES)],
    "keras.src.random.random_test": [
        (
            _STATELESS,
            _STATELESS.replace('!= "jax"', 'not in ("jax", "native")')
            .replace("import jax\n", "import as_jax as jax\n")
            .replace("import jax.numpy as jnp", "from as_jax import numpy as jnp"),
            1,
        )
    ],
    "keras.src.trainers.data_adapters.data_adapter_utils_test": [
        _with_native(
            _JAX_ONLY.format("jax only", "test_class_weight_to_sample_weights_jax_specific")
        )
    ],
    "keras.src.trainers.data_adapters.generator_data_adapter_test": [
        (_BATCHES + "jax_sparse.BCOO\n", _GENERATOR_CLASS + _BATCHES + "jax_sparse.BCOO\n", 1)
    ],
    "keras.src.trainers.data_adapters.tf_dataset_adapter_test": [
        (_PIPELINE, _PIPELINE.replace('== "tensorflow"', 'in ("tensorflow", "native")'), 1)
    ],
    "keras.src.trainers.trainer_test": [
        (
            '            "torch": "cpu",\n',
            '            "torch": "cpu",\n            "native": "cpu:0",\n',
            1,
        ),
        _with_native(_DENSE_GRADIENTS),
        _with_native(_JAX_ONLY.format("JAX only", "test_jit_fit_with_out_shardings_logic")),
    ],
}
# Module: how many branches of JAX in it this backend takes, with `as_jax` for what they import.
JOINED = {
    "keras.src.layers.core.dense_test": 2,
    "keras.src.layers.core.embedding_test": 1,
    "keras.src.layers.merging.merging_test": 1,
    "keras.src.layers.reshaping.flatten_test": 1,
    "keras.src.layers.reshaping.permute_test": 1,
    "keras.src.ops.core_test": 3,
    "keras.src.ops.numpy_test": 7,
    "keras.src.optimizers.optimizer_sparse_test": 2,
    "keras.src.quantizers.quantizers_test": 1,
    "keras.src.testing.test_case": 2,
}
_BRANCH = re.compile(
    r'^( *(?:if|elif) backend\.backend\(\) )== "jax":\n((?: +(?:import|from) jax[^\n]*\n)+)', re.M
)
_IMPORT = re.compile(
    r"(?:import jax\.experimental\.sparse|from jax\.experimental import sparse) as (\w+)"
    r"|import jax\.numpy as (\w+)|import jax$",
    re.M,
)


def _own_import(match) -> str:
    sparse, numpy = match.groups()
    if numpy:
        return f"from as_jax import numpy as {numpy}"
    return f"import as_jax as {sparse or 'jax'}"


def _join(match) -> str:
    condition, imports = match.groups()
    return f'{condition}in ("jax", "native"):\n{_IMPORT.sub(_own_import, imports)}'


# Module: the branch of its chain of backends at module level.
BRANCHES = {"keras.src.trainers.trainer_test": "from keras_native.src.trainer import Trainer"}


class _Amended:
    """A loader whose source is amended."""

    def __init__(self, loader, name):
        self._loader = loader
        source = loader.get_source(name)
        for old, new, times in TEXTS.get(name, ()):
            if source.count(old) != times:
                raise ImportError(f"{name}: {source.count(old)} times there, not {times}: {old}")
            source = source.replace(old, new)
        if name in JOINED:
            source, times = _BRANCH.subn(_join, source)
            if times != JOINED[name]:
                raise ImportError(f"{name}: {times} branches of JAX and not {JOINED[name]}")
        self._source = source

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
    finder.watched.update(dict.fromkeys([*TEXTS, *JOINED], _run))
