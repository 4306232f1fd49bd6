"""Attention as it is spelled out: softmax of scores of queries by keys, times the values.

Keras's own layers do so when they must drop probabilities, KerasHub's and people's models always.
Scores may be scaled, before or after their product, have biases added and keys masked;
probabilities may be masked once more, as Keras does, and dropped.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_native.engine.dtype import is_float
from keras_native.engine.primitives import attention as at
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.recognise import Chain, matcher, scalar
from keras_native.engine.tape import paused
from keras_native.engine.tensor import Tensor

LARGEST_HEAD = 512  # wider ones are products of their own, as in attention over channels
MASKED = -1e4  # scores of masked keys are this or less


class _Operand(NamedTuple):
    """[batch, length, heads, size] is the transpose of `source` by `perm`; or, where `source` has
    three axes, that with one head."""

    source: Tensor
    perm: tuple

    @property
    def dims(self) -> tuple:
        return tuple(self.source.dims[axis] for axis in self.perm)

    def build(self) -> Tensor:
        if self.perm != tuple(range(len(self.perm))):
            source = sh.transpose(self.source, self.perm)
        else:
            source = self.source
        return source if source.ndim == 4 else sh.expand_dims(source, 2)


class _Scores(NamedTuple):
    query: _Operand
    key: _Operand
    scale: float
    bias: tuple  # all that is added


def _operand(chain: Chain, x: Tensor, swapped: bool) -> _Operand:
    """Of a factor [batch, heads, length, size], or with its last two axes swapped; three axes are
    one head's."""
    if x.ndim == 3:
        perm = (0, 2, 1) if swapped else (0, 1, 2)
    else:
        perm = (0, 3, 1, 2) if swapped else (0, 2, 1, 3)
    record = chain.of(x, "transpose")
    if record is None:
        return _Operand(x, perm)
    inner = record[2]["perm"]
    return _Operand(record[1][0], tuple(inner[axis] for axis in perm))


def _factors(record):
    """(a, whether it is transposed, b, whether that is) of a batched product; or None."""
    a, b = record[1]
    attrs = record[2]
    if attrs.get("out_dtype") or a.ndim != b.ndim or a.dims[:-2] != b.dims[:-2]:
        return None
    return a, bool(attrs.get("transpose_a")), b, bool(attrs.get("transpose_b"))


def _product(chain: Chain, scores: Tensor):
    """(query, key) of scores q k^T or (k q^T)^T; or None."""
    rank = scores.ndim
    flip = chain.of(scores, "transpose")
    flipped = bool(flip) and tuple(flip[2]["perm"]) == (*range(rank - 2), rank - 1, rank - 2)
    record = chain.of(flip[1][0] if flipped else scores, "matmul")
    factors = record and _factors(record)
    if not factors:
        return None
    a, a_swapped, b, b_swapped = factors
    left, right = _operand(chain, a, a_swapped), _operand(chain, b, not b_swapped)
    return (right, left) if flipped else (left, right)


def _scores(chain: Chain, x: Tensor) -> _Scores | None:
    """What scores without their mask were made of."""
    pair = _product(chain, x)
    if pair is not None:
        return _Scores(*pair, 1.0, ())
    record, _ = chain.made.get(id(x), (None, 0))
    if record is None:
        return None
    name, operands = record[0].name, record[1]
    if name == "cast":
        inner = _scores(chain, operands[0]) if is_float(operands[0].dtype) else None
        return inner if inner is not None and not inner.bias else None
    if name in ("mul", "div"):
        for i, j in ((0, 1), (1, 0)) if name == "mul" else ((0, 1),):
            factor = scalar(operands[j])
            inner = None if not factor else _scores(chain, operands[i])
            if inner is not None and not inner.bias:
                scale = factor if name == "mul" else 1 / factor
                return inner._replace(scale=inner.scale * scale)
    if name in ("add", "sub"):
        for i, j in ((0, 1), (1, 0)) if name == "add" else ((0, 1),):
            inner = _scores(chain, operands[i]) if operands[i].dims == x.dims else None
            if inner is not None:
                return inner._replace(bias=(*inner.bias, (name, operands[j])))
    return None


def _scaled_before(query: _Operand, scale: float, chain: Chain) -> tuple[_Operand, float]:
    """The query without the number that it was multiplied by."""
    for scaled, factor in chain.either(query.source, "mul"):
        if scalar(factor) is not None:
            return _Operand(scaled, query.perm), scale * scalar(factor)
    return query, scale


def _without_repeats(chain: Chain, operand: _Operand) -> Tensor | None:
    """[B, S, Hk, D] whose heads were repeated, each in a row, to make the operand; or None."""
    x = operand.source
    outer = chain.inputs(x, "reshape")
    repeated = outer and chain.inputs(outer[0], "broadcast_to")
    inner = repeated and chain.inputs(repeated[0], "reshape")
    if operand.perm != (0, 1, 2, 3) or not inner or outer[0].ndim != 5 or inner[0].ndim != 4:
        return None
    source = inner[0]
    batch, length, heads, size = source.dims
    group = outer[0].dims[3]
    plain = repeated[0].dims == (batch, length, heads, 1, size)
    wide = outer[0].dims == (batch, length, heads, group, size)
    return source if plain and wide and x.dims == (batch, length, heads * group, size) else None


def _ungrouped(chain: Chain, key: _Operand, value: _Operand) -> tuple[_Operand, _Operand]:
    """Keys and values before their heads were repeated for groups of queries."""
    sources = _without_repeats(chain, key), _without_repeats(chain, value)
    if None in sources or sources[0].dims[1:3] != sources[1].dims[1:3]:
        return key, value
    return tuple(_Operand(source, (0, 1, 2, 3)) for source in sources)


def _behind_casts(chain: Chain, x: Tensor) -> Tensor:
    """The floats that were cast to make x, through floats alone."""
    while (record := chain.of(x, "cast")) and is_float(record[1][0].dtype):
        x = record[1][0]
    return x


class _Weights(NamedTuple):
    """What probabilities were made of: scores that softmax was given, without their mask."""

    scores: Tensor
    mask: Tensor | None
    zeroed: bool  # the mask was applied to the probabilities, too
    key: Tensor | None
    rate: float


def _weights(chain: Chain, x: Tensor) -> _Weights | None:
    key, rate = None, 0.0
    dropped = chain.of(x, "random_bernoulli_scale")
    if dropped:
        (x, key), rate = dropped[1], dropped[2]["rate"]
    x = _behind_casts(chain, x)
    outer = chain.inputs(x, "select")
    if outer:
        if scalar(outer[2]) != 0:
            return None
        x = _behind_casts(chain, outer[1])
    softmax = chain.of(x, "softmax")
    if softmax is None or softmax[2]["axis"] != x.ndim - 1:
        return None
    scores = softmax[1][0]
    inner = chain.inputs(scores, "select")
    if outer and (not inner or inner[0] is not outer[0]):
        return None
    if inner:
        filled = scalar(inner[2])
        if filled is None or not -np.inf < filled <= MASKED:
            return None
        if inner[0].ndim == 0 or inner[1].dims != scores.dims:  # the mask makes more of few scores
            return None
        scores = inner[1]
    return _Weights(scores, inner[0] if inner else None, bool(outer), key, rate)


def _causal(mask: Tensor, lengths: tuple) -> bool:
    """The mask is known and lets query i see keys 0 to i, of so many."""
    if mask.array is None or mask.dims[-2:] != lengths:
        return False
    values = mask.numpy()
    triangle = np.tri(*values.shape[-2:], dtype=bool)
    return values.dtype == bool and bool((values == triangle).all())


@matcher("matmul")
def attention(record, chain: Chain):
    """weights v, whose weights are the softmax of scores."""
    root = record[3]
    if root.ndim not in (3, 4):
        return None
    found = _weights(chain, record[1][0])
    factors = found and _factors(record)
    if not factors or factors[1]:
        return None
    scores = _scores(chain, found.scores)
    if scores is None or _is_wide(scores.query.dims[-1]):
        return None
    query, scale = _scaled_before(scores.query, scores.scale, chain)
    key, value = _ungrouped(chain, scores.key, _operand(chain, factors[2], factors[3]))
    mask = found.mask
    causal = mask is not None and _causal(mask, found.scores.dims[-2:])
    zeroed = found.zeroed and not causal and not _leaves_no_query_without_keys(mask)
    optional = [b for _, b in scores.bias] + [mask] * (mask is not None and not causal)
    optional += [found.key] * (found.key is not None)

    def build(*inputs):
        """The inputs are those that the match names, so that what they depend on can be asked."""
        bias = _sum_of_biases(scores.bias, root.ndim, root.dtype)
        given = None if mask is None or causal else _four_axes(mask, root.ndim)
        if bias is not None:
            bias = _near_zero(bias, None if mask is None else _four_axes(mask, root.ndim))
        options = {"scale": scale, "causal": causal, "dropout": found.rate, "key": found.key}
        out = at.attention(*(o.build() for o in (query, key, value)), bias, given, **options)
        if zeroed:
            out = _zero_without_keys(given, out)
        out = sh.transpose(out, (0, 2, 1, 3))
        return out if root.ndim == 4 else sh.squeeze(out, (1,))

    return build, (query.source, key.source, value.source, *optional), {}, 0, {}


def _is_wide(size) -> bool:
    return type(size) is int and size > LARGEST_HEAD


def _four_axes(x: Tensor, rank: int) -> Tensor:
    """Of scores with three axes, which are those of one head: an axis for it."""
    return sh.expand_dims(x, 1) if rank == x.ndim == 3 else x


def _sum_of_biases(biases, rank: int, dtype: str) -> Tensor | None:
    total = None
    for name, bias in biases:
        bias = ew.neg(bias) if name == "sub" else bias
        total = bias if total is None else ew.add(total, bias)
    return None if total is None else _four_axes(ew.cast(total, dtype), rank)


def _near_zero(bias: Tensor, mask: Tensor | None) -> Tensor:
    """The bias but for a number for each query, which softmax does not see: where large negative
    numbers mask all of a query's keys, its sum of exponentials would be lost beside them."""
    if bias.ndim == 0:
        return bias
    with paused():  # nor do derivatives see it
        lowest = sh.full((), -np.inf, bias.dtype)
        allowed = bias if mask is None else ew.select(mask, bias, lowest)
        top = rd.reduce_max(allowed, (allowed.ndim - 1,), keepdims=True)
        top = ew.select(ew.gt(top, lowest), top, sh.full((), 0.0, bias.dtype))
    return ew.sub(bias, top)


def _leaves_no_query_without_keys(mask) -> bool:
    return mask.array is not None and bool(mask.numpy().any(axis=-1).all())


def _zero_without_keys(mask, out):
    """The output where a query may attend to a key, else 0, which is what Keras's chain gives; the
    primitive's own answer is the mean of all values."""
    some = rd.reduce_any(mask, (mask.ndim - 1,), keepdims=True)
    some = sh.reshape(some, (1,) * (4 - mask.ndim) + some.dims)
    some = sh.transpose(some, (0, 2, 1, 3))
    return ew.select(some, out, sh.full((), 0.0, out.dtype))
