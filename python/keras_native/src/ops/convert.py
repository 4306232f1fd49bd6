"""Between Keras's values and the engine's tensors."""

from __future__ import annotations

import numpy as np
from keras.src.backend import config
from keras.src.backend.common import KerasVariable, standardize_dtype
from keras.src.random.seed_generator import draw_seed

from keras_native.engine import dtype as dtypes
from keras_native.engine import exchange
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import shape as sh
from keras_native.engine.sparse import SparseTensor
from keras_native.engine.sparse_formats import from_other
from keras_native.engine.symbolic import SymInt
from keras_native.engine.tensor import Tensor, from_numpy

_ON_THE_HOST = (np.ndarray, np.generic, int, float, complex, str, list, tuple)
_NARROW_INTEGERS = {"int64": "int32", "uint64": "uint32"}


def result_type(*operands) -> str:
    """`engine.dtype.result_type` with Keras's current floatx."""
    return dtypes.result_type(*operands, floatx=config.floatx())


def promote(*operands) -> tuple[Tensor, ...]:
    """Operands as tensors of their common dtype; Python numbers are weak.

    Operands of one dtype keep it, also where the promotion table would narrow 64 bits to 32.
    """
    kinds = [type(x) if type(x) in (int, float) else None for x in operands]
    tensors = [x if kind else convert_to_tensor(x) for x, kind in zip(operands, kinds)]
    found = {x.dtype for x, kind in zip(tensors, kinds) if not kind}
    if len(found) == 1 and not any(kinds):
        return tuple(tensors)
    dtype = result_type(*(kind or x.dtype for x, kind in zip(tensors, kinds)))
    return tuple(convert_to_tensor(x, dtype) for x in tensors)


def convert_to_tensor(x, dtype=None, ragged=None):
    """A dense tensor with the values of `x`.

    Args:
        x: a tensor, variable, Python number, (nested) list of these, NumPy array, sparse tensor
            of this or another library, or any object that NumPy can read. 64-bit integers become
            32-bit ones if they fit, Python floats `floatx`; arrays of other dtypes keep them.
        dtype: of the result; None keeps or infers it.

    Raises:
        ValueError: ragged was asked for.
        TypeError: `x` holds something that is no number.
    """
    if type(x) is Tensor and (dtype is None or x.dtype == dtype) and not ragged:
        return x
    if ragged:
        raise ValueError("`ragged=True` is not supported with the native backend")
    if dtype is not None:
        dtype = standardize_dtype(dtype)
    if isinstance(x, KerasVariable):
        x = x.value
    if isinstance(x, SparseTensor):
        x = x.to_dense()
    if isinstance(x, Tensor):
        return x if dtype is None else ew.cast(x, dtype)
    if isinstance(x, (list, tuple)) and _has_tensors(x):
        return _stack(x, dtype)
    if type(x) is SymInt:
        # A number that the trace computes: it must not become a constant.
        return sh.full((), x, dtype or "int32")
    there = None if isinstance(x, _ON_THE_HOST) else exchange.from_gpu(x)
    if there is not None:
        return convert_to_tensor(there, dtype)
    other = None if isinstance(x, np.ndarray) else from_other(x)
    if other is not None:
        return convert_to_tensor(other, dtype)
    return from_numpy(_as_array(x, dtype), copy=isinstance(x, np.ndarray))


def keep_sparse(x) -> SparseTensor | None:
    """A sparse tensor, of another library too, as one of this backend; None for all else."""
    if type(x) is SparseTensor:
        return x
    return None if isinstance(x, (Tensor, np.ndarray)) else from_other(x)


def _has_tensors(x) -> bool:
    if isinstance(x, (list, tuple)):
        return any(map(_has_tensors, x))
    return isinstance(x, (Tensor, SparseTensor, KerasVariable)) or type(x) is SymInt


def _stack(items, dtype: str | None) -> Tensor:
    tensors = [convert_to_tensor(item) for item in items]
    if dtype is None:
        dtype = result_type(
            *(type(x) if type(x) in (int, float) else t.dtype for x, t in zip(items, tensors))
        )
    return sh.stack([convert_to_tensor(t, dtype) for t in tensors], 0)


def _as_array(x, dtype: str | None) -> np.ndarray:
    if isinstance(x, (np.ndarray, np.generic)):
        array = np.asarray(x)
    else:
        array = np.asarray(x)
        if isinstance(x, (bool, int, float, complex, list, tuple, range)) and dtype is None:
            dtype = _python_dtype(array)
    if dtype is None and array.dtype.name in _NARROW_INTEGERS:
        dtype = _narrow_integer(array)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind not in "biufcV" or array.dtype.fields:
        raise TypeError(
            f"cannot convert a value of type {type(x).__name__} (NumPy dtype {array.dtype}) "
            "to a tensor"
        )
    if dtype is None or array.dtype == dtypes.NUMPY[dtype]:
        return array
    if array.dtype.kind == "c" and dtype not in dtypes.COMPLEX:
        array = array.real
    with np.errstate(all="ignore"):
        return array.astype(dtypes.NUMPY[dtype])


def _python_dtype(array: np.ndarray) -> str | None:
    """The dtype of Python numbers that NumPy has read at its own, wider defaults."""
    if array.dtype == np.float64:
        return config.floatx()
    return "complex64" if array.dtype == np.complex128 else None


def _narrow_integer(array: np.ndarray) -> str | None:
    """The 32-bit dtype for 64-bit integers that fit: promotion knows no wider ones."""
    narrow = _NARROW_INTEGERS[array.dtype.name]
    info = np.iinfo(narrow)
    fits = array.size == 0 or (array.min() >= info.min and array.max() <= info.max)
    return narrow if fits else None


def seed_key(seed) -> Tensor:
    """The two words of a seed: an int, a SeedGenerator, None (the global one) or the words."""
    key = seed if isinstance(seed, Tensor) else draw_seed(seed)
    return convert_to_tensor(key, "uint32")


def convert_to_numpy(x):
    """A writable NumPy copy.

    Raises:
        TraceError: `x` is being traced and has no value.
    """
    if isinstance(x, KerasVariable):
        x = x.value
    if isinstance(x, (Tensor, SparseTensor)):
        return np.array(x.numpy())
    if isinstance(x, (list, tuple)) and _has_tensors(x):
        return np.array([convert_to_numpy(item) for item in x])
    return np.array(x)


def is_tensor(x):
    """Whether `x` is a tensor of this backend, dense or sparse."""
    return isinstance(x, (Tensor, SparseTensor))


def shape(x):
    """Sizes; under trace some may be symbolic integers."""
    if isinstance(x, (Tensor, SparseTensor)):
        return x.dims
    if isinstance(x, KerasVariable):
        return x.value.dims
    return np.shape(x)


def cast(x, dtype):
    """`x` in another dtype, rounded as NumPy's `astype` does."""
    return convert_to_tensor(x, dtype=dtype)
