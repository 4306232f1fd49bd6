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
