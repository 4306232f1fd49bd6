"""`keras.ops`, NumPy's part: reductions, scans, order statistics, sorting."""

from opcases.drawing import (
    ALL,
    ANY_ORDER,
    FLOAT,
    INTEGER,
    NUMBER,
    REAL,
    Op,
    along,
    call,
    reduction,
)

_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def _sum(dtypes=ALL, low=-4.0, high=4.0, gradient=ANY_ORDER, **options):
    """A reduction whose rounding errors add up and may cancel."""
    options = {"bound": 16, "level": 1} | options
    return Op(reduction(low, high), dtypes, gradient, **options)


def _extremum(**options):
    return Op(reduction(empty=False), REAL, ANY_ORDER, **options)


def _spread(d):
    """At equal elements a standard deviation has no derivative."""
    (x,), kwargs = reduction()(d)
    if d.smooth and 1 in x.shape or not x.shape:
        x = d.array((3, 2), low=1)
        kwargs["axis"] = d.axes(2)
    return call(x, **kwargs)


def _initial(d):
    (x,), kwargs = reduction()(d)
    initial = None if x.size and d.flip() else d.pick(-1, 0, 2)
    return call(x, **kwargs, initial=initial)


def _position(special=True):
    return Op(reduction(keepdims=True, one_axis=True, empty=False), REAL, special=special)


def _quantile(scale, special):
    def make(d):
        (x,), kwargs = reduction(empty=False)(d)
        q = d.array(d.pick((), (2,)), "float32", low=0.05 * scale, high=0.95 * scale, special=False)
        if d.smooth:
            return call(x, q, **kwargs)
        return call(x, q, **kwargs, method=d.pick(*_METHODS))

    ties = "which of equal elements is the quantile is free"
    return Op(make, NUMBER, ANY_ORDER, bound=32, level=1, special=special, jax_ties=ties)


def _scan(**options):
    def make(d):
        (x,), kwargs = along()(d)
        return call(x, **kwargs, dtype=None if d.smooth else d.pick(None, None, "float32"))

    return Op(make, ALL, ANY_ORDER, bound=32, level=1, **options)


def _average(d):
    (x,), kwargs = along(empty=False)(d)
    weights = None if d.flip(3) else d.array(x.shape, low=1, high=3, special=False)
    return call(x, **kwargs, weights=weights)


def _partition(d):
    x = d.array(d.shape(1, empty=False))
    axis = d.axis(x.ndim)
    return call(x, d.between(0, x.shape[axis] - 1), axis)


def _searchsorted(d):
    edges = d.array((d.pick(1, 3, 5),), special=False)
    edges.sort()
    return call(edges, d.array(d.shape(1, 2), special=False), side=d.pick("left", "right"))


def _digitize(d):
    bins = d.array((d.pick(1, 3, 5),), special=False)
    bins.sort()
    return call(d.array(special=False), bins)


def _bincount(d):
    x = d.array(d.pick((5,), (2, 4), (0,)), "int32", low=0, high=6, special=False)
    weights = None if d.flip() else d.array(x.shape, "float32", special=False)
    return call(x, weights=weights, minlength=d.pick(0, 4, 9))


def _histogram(d):
    x = d.array(d.shape(1, 1, empty=False), special=False)
    return call(x, bins=d.pick(1, 5, 10), range=d.pick(None, (-3, 3)))


def _unique(d):
    x = d.array(d.shape(1, 2, empty=False), low=0, high=3, special=False)
    x = x.round() if d.dtype in FLOAT else x
    flags = {f"return_{name}": d.flip() for name in ("index", "inverse", "counts")}
    return call(x, **flags)


def _isin(d):
    x, y = d.array(low=0, high=3, special=False), d.array((3,), low=0, high=3, special=False)
    return call(x, y, invert=d.flip())


_COUNTS = "it counts in int64"
_KERAS = "Keras's symbolic rule differs from its backends"

OPS = {
    "all": Op(reduction(), REAL),
    "allclose": Op(
        lambda d: call(x := d.array(special=False), d.pick(x, d.array(x.shape, special=False))),
        NUMBER,
    ),
    "amax": _extremum(),
    "amin": _extremum(),
    "any": Op(reduction(), REAL),
    "argmax": _position(),
    "argmin": _position(),
    "argpartition": Op(_partition, NUMBER, values=False, special=False, reason="order is free"),
    "argsort": Op(along(none=True), REAL, numpy="its sort is not stable"),
    "average": Op(_average, ALL, ANY_ORDER, bound=32, level=1),
    "bincount": Op(_bincount, ("int32",), compiled=False, bound=16, level=1),
    "count_nonzero": Op(reduction(keepdims=False), ALL),
    "corrcoef": Op(
        lambda d: call(d.array((d.pick(2, 3), d.pick(4, 5)), special=False)),
        NUMBER,
        ANY_ORDER,
        bound=64,
        level=1,
        symbolic=_KERAS,
    ),
    "cumprod": _scan(),
    "cumsum": _scan(),
    "digitize": Op(_digitize, NUMBER),
    "histogram": Op(_histogram, NUMBER, bound=16, level=1, numpy_dtype=_COUNTS, symbolic=_KERAS),
    "isin": Op(_isin, NUMBER),
    "max": Op(_initial, REAL, ANY_ORDER),
    "mean": _sum(),
    "median": Op(reduction(empty=False), NUMBER, ANY_ORDER, level=1),
    "min": Op(_initial, REAL, ANY_ORDER),
    "nanargmax": Op(reduction(one_axis=True, empty=False), REAL, special=False),
    "nanargmin": Op(reduction(one_axis=True, empty=False), REAL, special=False),
    "nancumprod": _scan(),
    "nancumsum": _scan(),
    "nanmax": _extremum(),
    "nanmean": _sum(REAL),
    "nanmedian": Op(reduction(empty=False), NUMBER, ANY_ORDER, level=1),
    "nanmin": _extremum(),
    "nanpercentile": _quantile(100, special=False),
    "nanprod": _sum(),
    "nanquantile": _quantile(1, special=False),
    "nanstd": Op(_spread, REAL, ANY_ORDER, bound=16, level=1, special=False),
    "nansum": _sum(),
    "nanvar": _sum(REAL, special=False),
    "percentile": _quantile(100, special=False),
    "prod": _sum(),
    "ptp": Op(reduction(empty=False), NUMBER, ANY_ORDER),
    "quantile": _quantile(1, special=False),
    "searchsorted": Op(_searchsorted, NUMBER),
    "sort": Op(along(none=False), REAL, ANY_ORDER),
    "std": Op(_spread, REAL, ANY_ORDER, bound=16, level=1),
    "sum": _sum(),
    "top_k": Op(
        lambda d: call(
            x := d.array((*d.shape(0, 2, empty=False), d.pick(3, 5)), special=False),
            d.between(1, x.shape[-1]),
        ),
        NUMBER,
        ANY_ORDER,
        numpy="its order of equal elements is another",
    ),
    "trapezoid": Op(
        lambda d: call(
            y := d.array(d.shape(1, empty=False), special=False),
            x=d.pick(None, d.array((y.shape[-1],), low=0, high=4, special=False)),
            dx=d.pick(1.0, 0.5),
        ),
        NUMBER,
        ANY_ORDER,
        bound=32,
        level=1,
        numpy="differences of unsigned integers wrap around",
    ),
    "unique": Op(_unique, INTEGER + FLOAT, compiled=False, numpy_dtype=_COUNTS),
    "var": _sum(ALL),
}
