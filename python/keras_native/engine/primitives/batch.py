"""Batching rules that many primitives share.

A rule `batch(primitive, size, inputs, batched, **attrs)` runs a primitive over a leading axis of
`size` elements that the operands marked in `batched` have, and gives its results such an axis. It
returns None to leave the problem to the primitive's decomposition, and raises `Unbatchable`.
"""

from __future__ import annotations

from keras_native.engine.tensor import Tensor


class Unbatchable(Exception):
    """A function cannot be run over a batch at once; a loop can still run it."""


# What an attribute becomes when all operands have one more axis in front.
_SHIFTED = {
    "axis": lambda axis, size: axis + 1,
    "axes": lambda axes, size: tuple(a + 1 for a in axes),
    "perm": lambda perm, size: (0, *(p + 1 for p in perm)),
    "dims": lambda dims, size: (size, *dims),
    "sizes": lambda sizes, size: (size, *sizes),
    "start": lambda start, size: (0, *start),
    "stop": lambda stop, size: (size, *stop),
    "step": lambda step, size: (1, *step),
    "low": lambda low, size: (0, *low),
    "high": lambda high, size: (0, *high),
    "interior": lambda interior, size: (0, *interior),
}


def shift(attrs: dict, size) -> dict:
    """Attributes that name axes or sizes, for operands with a leading axis."""
    return {k: _SHIFTED[k](v, size) if k in _SHIFTED else v for k, v in attrs.items()}


def spread(x: Tensor, is_batched: bool, size) -> Tensor:
    """The operand with the leading axis."""
    from keras_native.engine.primitives.shape import broadcast_to

    return x if is_batched else broadcast_to(x, (size, *x.dims))


def raised(x: Tensor, is_batched: bool, rank: int) -> Tensor:
    """The operand with axes of 1 after the leading one, so that `rank` axes follow that."""
    from keras_native.engine.primitives.shape import reshape

    missing = rank - (x.ndim - 1)
    if not is_batched or missing <= 0:
        return x
    return reshape(x, (x.dims[0], *(1,) * missing, *x.dims[1:]))


def shifted(primitive, size, inputs, batched, **attrs):
    """For primitives to which an axis in front is like any other: axes count from one further."""
    operands = [spread(x, b, size) for x, b in zip(inputs, batched)]
    return primitive(*operands, **shift(attrs, size))


def aligned(primitive, size, inputs, batched, **attrs):
    """For primitives whose leading axes broadcast."""
    rank = max(x.ndim - b for x, b in zip(inputs, batched))
    return primitive(*(raised(x, b, rank) for x, b in zip(inputs, batched)), **attrs)


def folded(*weights: int):
    """For primitives over a first axis of independent examples: the batch becomes more of them.

    Args:
        weights: positions of operands that belong to all examples; they must not be batched.
    """

    def rule(primitive, size, inputs, batched, **attrs):
        from keras_native.engine.primitives.shape import reshape

        if any(batched[i] for i in weights):
            raise Unbatchable(primitive.name)
        operands, count = [], None
        for i, (x, b) in enumerate(zip(inputs, batched)):
            if i not in weights:
                x = spread(x, b, size)
                count = x.dims[1]
                x = reshape(x, (size * count, *x.dims[2:]))
            operands.append(x)
        out = primitive(*operands, **attrs)
        if isinstance(out, tuple):
            return tuple(reshape(t, (size, count, *t.dims[1:])) for t in out)
        return reshape(out, (size, count, *out.dims[1:]))

    return rule
