"""Another backend of Keras in a process of its own: reads pickled calls, writes pickled results.

Run with KERAS_BACKEND set. A call is (name, args, kwargs, wide, seed); `wide` computes in 64 bits,
as an oracle for narrower results; a seed that is not None asks for gradients.
"""

import contextlib
import importlib.util
import pickle
import sys
import types
import warnings


def let_jax_widen(on: bool) -> None:
    """Whether JAX, which the NumPy backend calls for some functions, keeps 64 bits."""
    import jax

    if not isinstance(jax, Missing):
        jax.config.update("jax_enable_x64", on)


@contextlib.contextmanager
def wide_dtypes():
    """Within it, floatx is float64 and promotion does not narrow to 32 bits."""
    import keras
    from keras.src.backend.common import dtypes

    saved = dict(dtypes.BIT64_TO_BIT32_DTYPE)
    dtypes.BIT64_TO_BIT32_DTYPE.clear()
    dtypes.BIT64_TO_BIT32_DTYPE.update({name: name for name in saved})
    keras.config.set_floatx("float64")
    let_jax_widen(True)
    try:
        yield
    finally:
        let_jax_widen(False)
        keras.config.set_floatx("float32")
        dtypes.BIT64_TO_BIT32_DTYPE.update(saved)


class Missing(types.ModuleType):
    """Stands for JAX, which the NumPy backend imports for functions that then fail one by one."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Missing(f"{self.__name__}.{name}")

    def __call__(self, *args, **kwargs):
        raise NotImplementedError(f"{self.__name__} is not installed")


def widened(x):
    """Arrays of floating-point numbers in 64 bits."""
    import numpy as np

    if not isinstance(x, np.ndarray):
        return x
    if x.dtype.kind == "c":
        return x.astype("complex128")
    return x.astype("float64") if x.dtype.kind in "fV" else x


def main() -> None:
    calls, results = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    warnings.simplefilter("ignore")
    if importlib.util.find_spec("jax") is None:
        for name in ("jax", "keras.src.backend.jax", "keras.src.backend.jax.math"):
            sys.modules[name] = Missing(name)
    from keras import tree
    from opcases import OPS
    from opcases.calling import evaluate
    from opcases.slopes import slopes

    pickle.dump("ready", results)
    results.flush()
    while True:
        try:
            name, args, kwargs, wide, seed = pickle.load(calls)
        except EOFError:
            return
        try:
            if seed is not None:
                answer = slopes(name, OPS[name], args, kwargs, seed)
            elif wide:
                args, kwargs = tree.map_structure(widened, (args, kwargs))
                with wide_dtypes():
                    answer = evaluate(name, args, kwargs)
            else:
                answer = evaluate(name, args, kwargs)
            blob = pickle.dumps((answer, None))
        except Exception as error:
            blob = pickle.dumps((None, f"{type(error).__name__}: {error}"[:300]))
        results.write(blob)
        results.flush()


if __name__ == "__main__":
    main()
