"""Gradients through a decomposition: how fused gradient primitives are differentiated once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import STATE
from keras_native.engine.tensor import Tensor


class _Recorder:
    """What the decomposition called, in order; stands among the tapes while it runs."""

    def __init__(self, inputs: Sequence[Tensor]):
        self.reached = {id(t) for t in inputs if dtypes.is_differentiable(t.dtype)}
        self.calls = []

    def record(self, primitive, inputs, attrs, result):
        if not any(id(t) in self.reached for t in inputs):
            return
        outputs = result if isinstance(result, tuple) else (result,)
        self.reached.update(id(t) for t in outputs)
        self.calls.append((primitive, inputs, attrs, result))


def vjp_through(function: Callable, ct, inputs: Sequence[Tensor]) -> tuple:
    """Cotangents of `inputs` through `function(*inputs)`.

    Args:
        function: composed of primitives; returns a Tensor or a tuple of Tensors. It runs once more
            here, visible to outer tapes, so derivatives of any order come out right.
        ct: a cotangent, or for a tuple of outputs a tuple of cotangents and Nones.
        inputs: the tensors it is differentiated by.

    Returns:
        A cotangent or None for each input.
    """
    from keras_native.engine.primitives import elementwise

    recorder = _Recorder(inputs)
    STATE.tapes.append(recorder)
    try:
        outputs = function(*inputs)
    finally:
        STATE.tapes.remove(recorder)
    cotangents = {}

    def accumulate(tensor, value):
        if value is not None and id(tensor) in recorder.reached:
            known = cotangents.get(id(tensor))
            cotangents[id(tensor)] = value if known is None else elementwise.add(known, value)

    if not isinstance(outputs, tuple):
        outputs, ct = (outputs,), (ct,)
    for tensor, value in zip(outputs, ct, strict=True):
        accumulate(tensor, value)
    for primitive, arguments, attrs, result in reversed(recorder.calls):
        if isinstance(result, tuple):
            flowing = tuple(cotangents.get(id(t)) for t in result)
            stopped = all(c is None for c in flowing)
        else:
            flowing = cotangents.get(id(result))
            stopped = flowing is None
        if stopped or primitive.vjp is None:
            continue
        for tensor, value in zip(arguments, primitive.vjp(flowing, result, *arguments, **attrs)):
            accumulate(tensor, value)
    return tuple(cotangents.get(id(t)) for t in inputs)
