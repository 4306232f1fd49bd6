"""What each function of keras.ops does with sparse tensors: one table, `RULES`.

A function that is not in it computes with the whole tensor, densely. The table holds those whose
result Keras infers to be sparse for a symbolic sparse tensor, so that eager, compiled and symbolic
results agree.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from keras_native.engine.sparse import SparseTensor
from keras_native.src.ops import _sparse_elementwise as elementwise
from keras_native.src.ops import _sparse_shape as shape
from keras_native.src.ops._sparse_elementwise import is_sparse

_LINEAR = "conj conjugate copy imag negative real stop_gradient"
_ZERO_PRESERVING = (
    "abs absolute arcsin arcsinh arctan arctanh ceil digitize expm1 fabs floor log1p round sign "
    "signbit sin sinh sqrt square tan tanh"
)
_UNION = "fmax fmin maximum minimum"
_QUOTIENT = "divide divide_no_nan true_divide"

# Name of a function: which of its arguments may be sparse, and what it does then.
RULES: dict[str, tuple[Callable, Callable]] = {}


def _first(fn, rule):
    @functools.wraps(fn)
    def call(x, *args, **kwargs):
        if type(x) is SparseTensor:
            return rule(fn, x, *args, **kwargs)
        return fn(x, *args, **kwargs)

    return call


def _both(fn, rule):
    @functools.wraps(fn)
    def call(x1, x2):
        if type(x1) is SparseTensor or type(x2) is SparseTensor:
            return rule(fn, x1, x2)
        return fn(x1, x2)

    return call


def _list(fn, rule):
    @functools.wraps(fn)
    def call(xs, axis=0):
        if any(map(is_sparse, xs)):
            return rule(fn, xs, axis)
        return fn(xs, axis)

    return call


for _which, _rule, _names in (
    (_first, elementwise.linear, _LINEAR),
    (_first, elementwise.zero_preserving, _ZERO_PRESERVING),
    (_first, elementwise.cast, "cast"),
    (_both, elementwise.sum_of_two, "add subtract"),
    (_both, elementwise.union, _UNION),
    (_both, elementwise.product, "multiply"),
    (_both, elementwise.quotient, _QUOTIENT),
    (_both, shape.matmul, "matmul"),
    (_first, shape.expand_dims, "expand_dims"),
    (_first, shape.mean, "mean"),
    (_first, shape.nansum, "nansum"),
    (_first, shape.reshape, "reshape"),
    (_first, shape.squeeze, "squeeze"),
    (_first, shape.sum, "sum"),
    (_first, shape.transpose, "transpose"),
    (_first, shape.zeros_like, "zeros_like"),
    (_list, shape.concatenate, "concatenate"),
):
    RULES.update(dict.fromkeys(_names.split(), (_which, _rule)))


def attach(namespace: dict) -> None:
    """Gives the functions of a module their rules."""
    for name, (which, rule) in RULES.items():
        if name in namespace:
            namespace[name] = which(namespace[name], rule)


def attach_operators(add, subtract, multiply, divide, matmul, negative, absolute) -> None:
    """Gives sparse tensors Python's operators, from the functions with their rules."""
    both = {"add": add, "sub": subtract, "mul": multiply, "truediv": divide, "matmul": matmul}
    for name, fn in both.items():
        setattr(SparseTensor, f"__{name}__", lambda self, other, fn=fn: fn(self, other))
        setattr(SparseTensor, f"__r{name}__", lambda self, other, fn=fn: fn(other, self))
    SparseTensor.__neg__ = lambda self: negative(self)
    SparseTensor.__abs__ = lambda self: absolute(self)
