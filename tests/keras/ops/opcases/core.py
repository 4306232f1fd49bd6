"""`keras.ops`: conversion, slices, scatters, control flow."""

import numpy as np
from keras import ops

from opcases.drawing import (
    ALL,
    ANY_ORDER,
    EVERY,
    FLOAT,
    NUMBER,
    REAL,
    Op,
    call,
    elementwise,
)


def _target(*dtypes):
    return lambda d: call(d.array(special=d.dtype not in FLOAT), d.pick(*dtypes))


def _cast(d):
    """To any dtype; what cannot be held there is undefined, so values stay small."""
    wanted = d.pick(*(REAL if d.plain else EVERY))
    return call(d.array(low=0 if "u" in wanted else -4, special=False), wanted)


def _slice(d):
    x = d.array(d.shape(1, 3, empty=False))
    starts = [d.between(0, n - 1) for n in x.shape]
    return x, starts, [d.between(1, n - s) for s, n in zip(starts, x.shape, strict=True)]


def _update(d):
    x, starts, sizes = _slice(d)
    return call(x, starts, d.array(tuple(sizes)))


def _indices(d):
    return d.array((d.pick(1, 3), 1), "int32", low=0, high=3, special=False)


def _scatter(d):
    at = _indices(d)
    rest = d.shape(0, 1, empty=False)
    return call(at, d.array((len(at), *rest), special=False), (4, *rest))


def _scatter_update(d):
    at = np.array(d.pick([[0]], [[3], [1]], [[2], [0], [1]]), "int32")
    rest = d.shape(0, 1, empty=False)
    reduction = d.pick(None, "add", "max", "min", "mul")
    x, updates = d.array((4, *rest), special=False), d.array((len(at), *rest), special=False)
    return call(x, at, updates, reduction)


def _unstack(d):
    x = d.array(d.shape(1, empty=False))
    return call(x, None, d.axis(x.ndim))


def _twice(x):
    return x + x


def _added(a, b):
    return a + b


def _kept(x):
    return x * 3


def _step(carry, x):
    return carry + x, carry * x


def _counted(i, x):
    return x + ops.cast(i, x.dtype)


def _small(i, x):
    return i < 3


def _next(i, x):
    return i + 1, x * 2


def _with_gradient(x):
    return x * x, lambda *args, upstream=None: (args[0] if upstream is None else upstream) * 2 * x


def _true_branch():
    return ops.ones((2,))


def _false_branch():
    return ops.zeros((2,))


def _custom(d):
    return call(_with_gradient)


def _function(make, **options):
    return Op(make, NUMBER, special=False, compiled=False, **options)


OPS = {
    "associative_scan": _function(
        lambda d: call(_added, d.array((4, 2)), reverse=d.flip()),
        numpy_dtype="it stacks into float64",
        level=1,
    ),
    "cast": Op(_cast, ALL, ANY_ORDER),
    "cond": _function(lambda d: call(d.flip(), _true_branch, _false_branch)),
    "convert_to_numpy": Op(elementwise(), EVERY, compiled=False),
    "convert_to_tensor": Op(lambda d: call(d.array(), d.pick(None, d.dtype)), ALL, ANY_ORDER),
    "custom_gradient": _function(_custom, values=False),
    "dtype": Op(elementwise(), ALL),
    "fori_loop": _function(lambda d: call(0, 3, _counted, d.array((2,)))),
    "is_tensor": Op(elementwise(), ALL, compiled=False),
    "map": _function(lambda d: call(_twice, d.array((3, 2)))),
    "rearrange": Op(
        lambda d: call(d.array((2, 3, 4)), d.pick("a b c -> c a b", "a b c -> a (b c)")),
        ALL,
        ANY_ORDER,
    ),
    "saturate_cast": Op(
        lambda d: call(d.array(special=False), d.pick("int8", "uint8", "int32", "float32")),
        tuple(name for name in NUMBER if name != "uint64"),  # Keras refuses it
    ),
    "scan": _function(
        lambda d: call(_step, d.array((2,)), d.array((3, 2)), reverse=d.flip()), level=1
    ),
    "scatter": Op(_scatter, NUMBER, ANY_ORDER, level=1, bound=16),
    "scatter_update": Op(_scatter_update, NUMBER, ANY_ORDER),
    "shape": Op(elementwise(), ALL),
    "slice": Op(lambda d: call(*_slice(d)), ALL, ANY_ORDER),
    "slice_update": Op(_update, ALL, ANY_ORDER),
    "stop_gradient": Op(elementwise(), ALL, reason="zero by intent"),
    "switch": _function(lambda d: call(d.pick(0, 1), [_twice, _kept], d.array((2,)))),
    "unstack": Op(_unstack, ALL, ANY_ORDER),
    "vectorized_map": _function(lambda d: call(_twice, d.array((3, 2)))),
    "while_loop": _function(lambda d: call(_small, _next, (np.array(0, "int32"), d.array((2,))))),
}
