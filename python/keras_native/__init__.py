"""keras-native: a Keras backend on its own C++ and CUDA kernels."""

import _keras_native_hook

try:
    from keras_native import _core  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"keras_native in {__path__[0]} has no compiled part that this Python can load. "
        "Build it with `pip install .` (or `pip install -e .`) in the root of its repository, "
        f"with the Python that you run. The loader says: {error}"
    ) from error

__version__ = "0.1.0"

_keras_native_hook.install(prefer=True)

from keras_native import tuned as _tuned  # noqa: E402 (needs __version__)

_tuned.load()

_PUBLIC = {
    "GradientTape": "keras_native.engine.tape",
    "SparseTensor": "keras_native.engine.sparse",
    "checkpoint": "keras_native.engine.transforms",
    "custom_gradient": "keras_native.engine.transforms",
    "grad": "keras_native.engine.transforms",
    "jit": "keras_native.engine.transforms",
    "inference_dtype": "keras_native.engine.precision",
    "set_inference_dtype": "keras_native.engine.precision",
    "stop_gradient": "keras_native.engine.transforms",
    "value_and_grad": "keras_native.engine.transforms",
}


def __getattr__(name: str):
    """The public names, loaded when first asked for: importing the package stays cheap."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'keras_native' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__():
    return [*globals(), *_PUBLIC]
