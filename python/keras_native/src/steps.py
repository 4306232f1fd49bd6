"""One step of a model (train, test or predict) on a batch: eager, or traced once and replayed."""

from __future__ import annotations

import inspect
import os
import traceback
import warnings
from collections.abc import Callable

import keras
import numpy as np
from keras.src import tree as keras_tree

import keras_native
from keras_native.engine import tree
from keras_native.engine.dispatch import Dispatcher
from keras_native.engine.errors import TraceError
from keras_native.engine.precision import inference_passes
from keras_native.engine.primitive import STATE
from keras_native.engine.sparse import SparseTensor
from keras_native.engine.tensor import Tensor, from_numpy
from keras_native.src.ops.core import convert_to_tensor


class StepFunction:
    """Calls `step(data)` for batches of data.

    Args:
        step: takes the batch as a structure of tensors (None where something is missing).
        flags: a function giving what else the trace depends on (hashable).
        mode: "jit" (a value needed while tracing is an error), "auto" (then it warns once and runs
            eagerly from there on) or "eager" (nothing is traced, the bodies of loops neither).
        inference: whether the step runs in the dtype of `keras_native.set_inference_dtype`.

    Attributes:
        traces: how often the step was traced.
    """

    def __init__(self, step: Callable, flags: Callable, mode: str, inference: bool = False):
        self.step = step
        self.flags = flags
        self.mode = mode
        self.traces_nothing = mode == "eager"
        self.dispatcher = Dispatcher(
            self._traced,
            leading=True,
            name=getattr(step, "__name__", "step"),
            passes=inference_passes if inference else tuple,
        )

    @property
    def traces(self) -> int:
        return self.dispatcher.traces

    def _traced(self, *tensors, key):
        structure, missing, _ = key
        given = iter(tensors)
        leaves = [None if i in missing else next(given) for i in range(structure.num_leaves)]
        return self.step(tree.unflatten(structure, leaves))

    @staticmethod
    def _flatten(data, copy):
        """A batch's tensors, None where something is missing, and its structure."""
        leaves, structure = tree.flatten(data)
        tensors = [None if leaf is None else as_input(leaf, copy) for leaf in leaves]
        if SparseTensor in map(type, tensors):
            return tree.flatten(tree.unflatten(structure, tensors))
        return tensors, structure

    def __call__(self, data):
        try:
            return self._run(data)
        except Exception as error:
            note = _foreign(error)
            if note and note not in getattr(error, "__notes__", ()):
                error.add_note(note)
            raise

    def _run(self, data):
        if self.mode != "eager":
            # Compiled code gives back nothing of what it was lent.
            tensors, structure = self._flatten(data, copy=False)
            missing = tuple(i for i, t in enumerate(tensors) if t is None)
            present = [t for t in tensors if t is not None]
            key = (structure, missing, self.flags())
            try:
                return self.dispatcher(key, present)
            except TraceError as error:
                if self.mode == "jit":
                    raise
                self.mode = "eager"
                warnings.warn(
                    f"This model cannot be compiled and runs eagerly from here on: {error}. "
                    f"It happened at {_user_line(error)}.",
                    stacklevel=5,
                )
        tensors, structure = self._flatten(data, copy=True)
        python_loops, STATE.python_loops = STATE.python_loops, self.traces_nothing
        try:
            return self.step(tree.unflatten(structure, tensors))
        finally:
            STATE.python_loops = python_loops

    def compiled(self, data):
        """The compiled code for a batch with its arrays and sizes, for profilers and tests."""
        leaves, structure = self._flatten(data, copy=True)
        missing = tuple(i for i, leaf in enumerate(leaves) if leaf is None)
        tensors = [leaf for leaf in leaves if leaf is not None]
        variant, sizes = self.dispatcher.variant((structure, missing, self.flags()), tensors)
        return variant.compiled.compiled, [t.array for t in tensors], sizes


def check_signature(step: Callable) -> None:
    """TypeError for a step that does not take a batch alone."""
    try:
        inspect.signature(step).bind(None)
    except TypeError:
        name = getattr(step, "__name__", "step")
        raise TypeError(
            f"{name}{inspect.signature(step)}: a step takes a batch, `{name}(self, data)`. JAX's "
            "backend alone hands over the state of the model; here variables are read and assigned "
            "as they are (docs/custom_training.md)"
        ) from None
    except ValueError:  # a callable that tells nothing of its arguments
        pass


def as_input(leaf, copy: bool) -> Tensor | SparseTensor:
    """A batch's leaf as a tensor; with `copy` of its own memory, as the caller may write to his
    array afterwards."""
    if isinstance(leaf, Tensor):
        return leaf
    if type(leaf) is np.ndarray and leaf.dtype in _DIRECT:
        return from_numpy(leaf, copy)
    return convert_to_tensor(leaf)


_DIRECT = frozenset(
    np.dtype(t) for t in ("float32", "int32", "uint8", "bool", "float16", "int64", "int8")
)

_LIBRARIES = tuple(
    os.path.dirname(os.path.abspath(m.__file__)) + os.sep for m in (keras, keras_native)
)


def _user_line(error: BaseException) -> str:
    """The innermost line of the traceback outside Keras and this package, else the innermost of
    Keras."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [f for f in frames if not f.filename.startswith(_LIBRARIES)]
    # The outermost frames are the caller's own `fit`; a layer's `call` comes below Keras's.
    if not outside or outside[-1] is frames[0]:
        outside = [f for f in frames if f.filename.startswith(_LIBRARIES[0])] or frames
    inner = outside[-1]
    return f"{inner.filename}:{inner.lineno} ({inner.line})"


_FRAMEWORKS = {"tensorflow": "tensorflow", "tf": "tensorflow", "torch": "torch", "jax": "jax"}
# What PyTorch's tensors and its backend's models have.
_OF_TORCH = dict.fromkeys(
    ["backward", "cpu", "cuda", "detach", "grad", "requires_grad_", "zero_grad"], "torch"
)


def _foreign(error: BaseException) -> str | None:
    """A word on an error of code that is written for another framework, None for any other."""
    if not isinstance(error, (TypeError, AttributeError)):
        return None
    framework = _OF_TORCH.get(error.name) if isinstance(error, AttributeError) else None
    if framework is None:
        # By the names that the failing line's function uses: frames of C++ are not seen.
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        own = [f for f in frames if not f.f_code.co_filename.startswith(_LIBRARIES)]
        used = own[-1].f_code.co_names + own[-1].f_code.co_varnames if own else ()
        used = [_FRAMEWORKS[name] for name in used if name in _FRAMEWORKS]
        inside = [m for m in set(_FRAMEWORKS.values()) if _is_in(m, frames[-1])]
        framework = next(iter(used + inside), None)
    if framework is None:
        return None
    return (
        f"The step uses {framework}, which knows nothing of this backend's tensors: "
        "docs/custom_training.md says what to write instead (keras_native.GradientTape, "
        "keras_native.value_and_grad)."
    )


def _is_in(package: str, frame) -> bool:
    return frame.f_globals.get("__name__", "").split(".")[0] == package


def append_outputs(outputs, batch):
    """Adds a batch's predictions to lists in the structure of the predictions."""
    if outputs is None:
        return keras_tree.map_structure(lambda leaf: [leaf], batch)
    keras_tree.map_structure_up_to(batch, lambda o, leaf: o.append(leaf), outputs, batch)
    return outputs
