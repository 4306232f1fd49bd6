"""`keras.ops`, NumPy's part: creation, shapes, indexing, products."""

from opcases.drawing import (
    ALL,
    ANY_ORDER,
    COMPLEX,
    EVERY,
    INEXACT,
    NUMBER,
    REAL,
    Op,
    call,
    elementwise,
    first_of,
    kind,
    pieces,
)


def _move(make, dtypes=ALL, **options):
    """Moves elements and computes nothing."""
    return Op(make, dtypes, ANY_ORDER, **options)


def _of_rank(low, high=3, **static):
    def make(d):
        return call(d.array(d.shape(low, high)), **{k: d.pick(*v) for k, v in static.items()})

    return make


def _new(*args, dtypes=EVERY):
    """Creation from static arguments, in a given dtype."""
    return Op(lambda d: call(*(a(d) for a in args), dtype=d.pick(d.dtype, None)), dtypes)


def _sizes(d):
    return d.shape()


def _reshape(d):
    x = d.array()
    new = list(x.shape)
    d.random.shuffle(new)
    if d.flip() and x.size:
        new = [-1, *new[1:]] if new else [-1]
    return call(x, tuple(new))


def _permuted(d):
    x = d.array()
    axes = list(range(x.ndim))
    d.random.shuffle(axes)
    return call(x, d.pick(None, tuple(axes)))


def _two_axes(low=2):
    def make(d):
        x = d.array(d.shape(low, 3))
        a, b = d.random.sample(range(x.ndim), 2)
        return x, a - x.ndim if d.flip() else a, b

    return make


def _swap(d):
    return call(*_two_axes()(d))


def _of_diagonal(d):
    x, a, b = _two_axes()(d)
    return call(x, d.between(-1, 1), a, b)


def _split(whole=True, lists=True):
    def make(d):
        n = d.pick(1, 2, 3)
        shape = list(d.shape(1, empty=False))
        axis = d.axis(len(shape))
        shape[axis] = n * d.pick(1, 2) if whole else d.pick(3, 5)
        x = d.array(tuple(shape))
        return call(
            x,
            n if d.flip() or not lists else sorted(d.between(0, shape[axis]) for _ in range(2)),
            axis,
        )

    return make


def _halves(axis, low):
    def make(d):
        shape = list(d.shape(low, 3, empty=False))
        shape[axis if len(shape) > 1 else 0] = 4
        return call(d.array(tuple(shape)), d.pick(2, [1, 3]))

    return make


def _pad(d):
    x = d.array(d.shape(1, empty=False))
    mode = d.pick("constant", "constant", "edge", "reflect", "symmetric")
    widths = [
        (d.between(0, min(2, n - 1)), d.between(0, min(2, n - 1))) if mode != "constant"
        else (d.between(0, 2), d.between(0, 2))
        for n in x.shape
    ]  # fmt: skip
    value = d.pick(None, 1) if mode == "constant" else None
    return call(x, d.pick(tuple(widths), widths), mode=mode, constant_values=value)


def _take(d):
    x = d.array(d.shape(1, empty=False))
    axis = d.axis_or_none(x.ndim)
    n = x.size if axis is None else x.shape[axis]
    return call(x, d.array(d.shape(0, 2), "int32", low=-n, high=n - 1, special=False), axis=axis)


def _take_along(d):
    x = d.array(d.shape(1, empty=False))
    axis = d.axis(x.ndim)
    shape = list(x.shape)
    n, shape[axis] = shape[axis], d.pick(1, 2, 4)
    return call(x, d.array(tuple(shape), "int32", low=-n, high=n - 1, special=False), axis=axis)


def _repeat(d):
    x = d.array()
    axis = d.axis_or_none(x.ndim)
    return call(x, d.pick(0, 1, 2, 3), axis=axis)


def _tile(d):
    x = d.array()
    return call(x, d.pick(2, (2,), (2, 1), (1, 2, 3)[: max(1, x.ndim)]))


def _roll(d):
    x = d.array(d.shape(1))
    return call(x, d.between(-3, 3), d.axis_or_none(x.ndim))


def _squeeze(d):
    shape = [1 if d.flip() else d.pick(2, 3) for _ in range(d.between(0, 3))]
    ones = [i for i, n in enumerate(shape) if n == 1]
    axis = d.pick(*ones) if ones and d.flip() else None
    return call(d.array(tuple(shape)), axis)


def _item(d):
    x = d.array((3, 4, 2))
    keys = (0, -1, slice(None), slice(2, None, -1), Ellipsis, None, (1, slice(1, 3)), (Ellipsis, 1))
    return call(x, d.pick(*keys))


def _diagonal_of(d):
    return call(d.array(d.shape(1, 2)), d.between(-2, 2))


_KERAS = "Keras's symbolic rule differs from its backends"


def _view(d):
    same_size = {
        1: ("int8", "uint8"),
        2: ("int16", "uint16"),
        4: ("int32", "uint32"),
        8: ("int64",),
    }
    x = d.array(d.shape(1), special=False)
    return call(x, d.pick(*same_size.get(x.dtype.itemsize, (d.dtype,))))


def _product(make, **options):
    return Op(make, ALL, ANY_ORDER, bound=16, level=1, special=False, **options)


def _matmul(d):
    k, batch = d.pick(1, 3, 5), d.shape(0, 1, empty=False)
    left = d.pick((k,), (2, k), (*batch, 3, k))
    right = d.pick((k,), (k, 4), (*batch, k, 2))
    return call(d.array(left), d.array(right, d.other_dtype()))


def _dot(d):
    k = d.pick(1, 3, 5)
    left, right = d.pick((), (k,), (2, k), (3, 2, k)), d.pick((k,), (k, 4), (2, k, 2))
    return call(d.array(left), d.array(right if left else (k, 2), d.other_dtype()))


def _inner(d):
    k = d.pick(1, 3, 5)
    return call(d.array(d.pick((k,), (2, k))), d.array(d.pick((k,), (3, k)), d.other_dtype()))


def _einsum(d):
    rules = {
        "ij,jk->ik": [(2, 3), (3, 4)], "bij,bjk": [(2, 2, 3), (2, 3, 2)], "ij->ji": [(2, 3)],
        "ii->i": [(3, 3)], "ii": [(3, 3)], "i,j->ij": [(2,), (3,)], "ij,j": [(2, 3), (3,)],
        "...i,...i->...": [(2, 3), (2, 3)], "abcd,ced->abe": [(2, 2, 3, 2), (3, 4, 2)],
        "ij,jk,kl->il": [(2, 3), (3, 2), (2, 2)], "ij->": [(2, 3)],
        "bhwc,bhwc->bc": [(1, 2, 2, 3)] * 2,
    }  # fmt: skip
    rule = d.pick(*rules)
    return call(
        rule, *(d.array(s, d.other_dtype() if i else None) for i, s in enumerate(rules[rule]))
    )


def _tensordot(d):
    axes = d.pick(0, 1, 2, ((1,), (0,)), ((0, 1), (1, 0)))
    shapes = {0: ((2,), (3,)), 1: ((2, 3), (3, 4)), 2: ((2, 3, 4), (3, 4, 2))}
    left, right = shapes.get(axes, ((2, 3), (3, 2))) if isinstance(axes, int) else ((2, 3), (3, 2))
    return call(d.array(left), d.array(right), axes=axes)


def _same_vectors(d):
    shape = (*d.shape(0, 2, empty=False), 3)
    return call(d.array(shape), d.array(shape, d.other_dtype()))


def _outer(d):
    return call(d.array(d.shape(0, 2)), d.array(d.shape(0, 2), d.other_dtype()))


def _grid(d):
    vectors = [d.array((d.pick(1, 2, 3),)) for _ in range(d.between(1, 3))]
    return call(*vectors, indexing=d.pick("xy", "ij"))


def _spaced(low, high, **more):
    def make(d):
        shape = d.pick((), (2,)) if not d.smooth else (2,)
        start, stop = (d.array(shape, "float32", low, high, special=False) for _ in range(2))
        return call(start, stop, num=d.pick(1, 2, 5), endpoint=d.flip(), **more)

    return make


def _vector(d):
    return d.array((d.pick(1, 3, 5),))


def _append(d):
    x = d.array(d.shape(1, empty=False))
    y = d.array(x.shape, d.other_dtype())
    return call(x, y, axis=d.axis_or_none(x.ndim))


def _unravel(d):
    x = d.array(d.shape(0, 2), "int32", low=0, high=11, special=False)
    return call(x, d.pick((12,), (3, 4), (2, 2, 3)))


def _arange(d):
    if kind(d.dtype) == "f" and d.flip():
        return call(d.pick(0, -1, 0.5), d.pick(3, 5, 7.5), d.pick(1, 0.5), d.dtype)
    return call(d.pick(0, 1, 2), d.pick(3, 5, 9), d.pick(1, 2), d.pick(None, d.dtype))


def _window(*more):
    return Op(lambda d: call(d.pick(1, 2, 5, 8), *(d.pick(*m) for m in more)), ("int32",), level=1)


def _twice(x):
    return x * 2


_BAND = (
    lambda d: d.pick(0, 1, 3),
    lambda d: d.pick(None, 2, 4),
    lambda d: d.between(-2, 2),
)

OPS = {
    "append": _move(_append),
    "arange": Op(
        _arange,
        NUMBER,
        level=1,
    ),
    "array": _move(lambda d: call(d.array(), d.pick(None, d.dtype))),
    "array_split": _move(_split(whole=False, lists=False)),
    "bartlett": _window(),
    "blackman": _window(),
    "broadcast_to": _move(
        lambda d: call(d.array(s := d.shape(0, 2)), (*d.shape(0, 1), *s)),
    ),
    "concatenate": _move(pieces()),
    "correlate": _product(
        lambda d: call(_vector(d), _vector(d), mode=d.pick("valid", "same", "full")),
        numpy="it drops imaginary parts",
        symbolic=_KERAS,
        unsymbolic=first_of(*COMPLEX),
    ),
    "cross": Op(_same_vectors, NUMBER, ANY_ORDER, bound=16, level=1, special=False),
    "diag": _move(_diagonal_of),
    "diagflat": _move(_diagonal_of),
    "diagonal": _move(_of_diagonal),
    "diff": Op(
        lambda d: call(d.array(s := d.shape(1, empty=False)), n=d.pick(1, 2), axis=d.axis(len(s))),
        ALL,
        ANY_ORDER,
        level=1,
        special=False,
    ),
    "dot": _product(_dot),
    "dsplit": _move(_halves(2, 3)),
    "dstack": _move(pieces(axis=False)),
    "einsum": _product(_einsum),
    "empty": Op(_new(_sizes).make, EVERY, values=False),
    "empty_like": Op(lambda d: call(d.array(), d.pick(None, d.dtype)), ALL, values=False),
    "expand_dims": _move(
        lambda d: call(
            x := d.array(d.shape(0, 2)), d.pick(d.between(-x.ndim - 1, x.ndim), (0, -1))
        ),
    ),
    "eye": _new(
        lambda d: d.pick(0, 1, 3), lambda d: d.pick(None, 2, 4), lambda d: d.between(-2, 2)
    ),
    "flip": _move(lambda d: call(x := d.array(d.shape(1)), d.axes(x.ndim))),
    "fliplr": _move(_of_rank(2)),
    "flipud": _move(_of_rank(1)),
    "full": _new(_sizes, lambda d: d.pick(0, 1, 2)),
    "full_like": Op(lambda d: call(d.array(), d.pick(0, 2), d.pick(None, d.dtype)), ALL),
    "geomspace": Op(_spaced(1, 4), ("float32",), bound=64),
    "get_item": _move(
        _item, symbolic=_KERAS, unsymbolic=lambda x, key: not isinstance(key, (int, tuple))
    ),
    "hamming": _window(),
    "hanning": _window(),
    "hsplit": _move(_halves(1, 1)),
    "hstack": _move(pieces(axis=False), symbolic=_KERAS),
    "identity": _new(lambda d: d.pick(0, 1, 3)),
    "inner": _product(_inner),
    "kaiser": _window((0.0, 2.5, 14.0)),
    "kron": _product(_outer, symbolic=_KERAS),
    "linspace": Op(_spaced(-4, 4), ("float32",), ANY_ORDER, level=1),
    "logspace": Op(_spaced(-1, 2), ("float32",), ANY_ORDER, bound=64),
    "matmul": _product(_matmul),
    "meshgrid": _move(_grid, symbolic=_KERAS),
    "moveaxis": _move(_swap),
    "ndim": Op(elementwise(), ALL, symbolic=_KERAS),
    "nonzero": Op(elementwise(low=-1, high=1), REAL, compiled=False),
    "ones": _new(_sizes),
    "ones_like": Op(lambda d: call(d.array(), d.pick(None, d.dtype)), ALL),
    "outer": _product(_outer),
    "pad": _move(_pad),
    "ravel": _move(elementwise()),
    "repeat": _move(_repeat),
    "reshape": _move(_reshape),
    "roll": _move(_roll),
    "rot90": _move(_of_rank(2, k=(0, 1, 2, 3, -1)), symbolic=_KERAS),
    "size": Op(elementwise(), ALL, symbolic=_KERAS),
    "slogdet": Op(
        lambda d: call(d.invertible()),
        INEXACT,
        ANY_ORDER,
        bound=256,
        level=1,
        symbolic=_KERAS,
        numpy_dtype="it gives float64 for 16-bit floats",
    ),
    "split": _move(_split()),
    "squeeze": _move(_squeeze),
    "stack": _move(
        lambda d: call(
            [d.array(s := d.shape(0, 2)), d.array(s, d.other_dtype())], d.axis(len(s) + 1)
        ),
    ),
    "swapaxes": _move(_swap),
    "take": _move(_take),
    "take_along_axis": _move(_take_along),
    "tensordot": _product(_tensordot),
    "tile": _move(_tile),
    "trace": Op(_of_diagonal, ALL, ANY_ORDER, bound=16, level=1, special=False),
    "transpose": _move(_permuted),
    "tri": _new(
        lambda d: d.pick(0, 1, 3), lambda d: d.pick(None, 2, 4), lambda d: d.between(-2, 2)
    ),
    "tril": _move(_of_rank(2, k=(-1, 0, 1))),
    "triu": _move(_of_rank(2, k=(-1, 0, 1))),
    "unravel_index": Op(_unravel, ("int32",)),
    "vander": Op(
        lambda d: call(d.array((d.pick(1, 3),), special=False), d.pick(None, 2, 4), d.flip()),
        NUMBER,
        ANY_ORDER,
        jax_ties="JAX has NaN at zero",
        bound=32,
    ),
    "vdot": _product(lambda d: call(x := _vector(d), d.array(x.shape, d.other_dtype()))),
    "vectorize": Op(lambda d: call(_twice), REAL, compiled=False),
    "view": Op(
        _view,
        NUMBER,
        numpy="it counts bytes, not elements, of 16-bit floats",
        reason="the bits are those of this machine",
    ),
    "vsplit": _move(_halves(0, 2)),
    "vstack": _move(pieces(axis=False), symbolic=_KERAS),
    "zeros": _new(_sizes),
    "zeros_like": Op(lambda d: call(d.array(), d.pick(None, d.dtype)), ALL),
}
