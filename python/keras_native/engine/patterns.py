"""Chains that Keras spells out, and the fused primitives that they are."""

from __future__ import annotations

import functools

import numpy as np

from keras_native.engine.primitives import attention as _attention  # noqa: F401
from keras_native.engine.primitives import elementwise, reduce, shape
from keras_native.engine.primitives import norm as _norm  # noqa: F401
from keras_native.engine.primitives import norm_batch as _norm_batch  # noqa: F401
from keras_native.engine.recognise import Chain, matcher, scalar


def _moments_of(chain: Chain, tensor, position: int):
    """The record of `moments` that made the tensor (behind a reshape that keeps dims), or None."""
    record, k = chain.output(chain.through(tensor, "reshape"), "moments")
    return record if k == position else None


def _parameter(chain: Chain, tensor, dims):
    """The tensor of shape `dims` behind a broadcasting reshape, or None."""
    if tensor.dims != dims:
        tensor = chain.through(tensor, "reshape")
    return tensor if tensor.dims == dims else None


@matcher("add")
def layer_norm(record, chain: Chain):
    """x * inv + (beta - mean * inv), inv = rsqrt(variance + eps) [* gamma], over the last axes."""
    root = record[3]
    for scaled, shift in chain.either(root, "add"):
        for x, inv in chain.either(scaled, "mul"):
            found = _layer_norm_parts(chain, x, inv, shift)
            if found is not None:
                return found
    return None


def _layer_norm_parts(chain, x, inv, shift):
    options = [(inv, None), *chain.either(inv, "mul")]
    for root_inv, gamma in options:
        inside = chain.inputs(root_inv, "rsqrt")
        if inside is None:
            continue
        for variance, eps in chain.either(inside[0], "add"):
            eps = scalar(eps)
            moments = _moments_of(chain, variance, 1)
            if eps is None or moments is None or moments[1][0] is not x:
                continue
            axes = moments[2]["axes"]
            count = len(axes)
            if tuple(axes) != tuple(range(len(x.dims) - count, len(x.dims))):
                continue
            for product, beta in [(shift, None), *chain.either(shift, "add")]:
                if not _is_negative_mean(chain, product, inv, moments):
                    continue
                dims = x.dims[-count:]
                given = []
                for parameter in (gamma, beta):
                    if parameter is not None:
                        parameter = _parameter(chain, parameter, dims)
                        if parameter is None:
                            return None
                        given.append(parameter)
                attrs = {
                    "axes": count,
                    "eps": eps,
                    "has_gamma": gamma is not None,
                    "has_beta": beta is not None,
                }
                return "layer_norm", (x, *given), attrs, 0, {}
    return None


def _is_negative_mean(chain, product, inv, moments) -> bool:
    """product = -mean * inv."""
    for negative, other in chain.either(product, "mul"):
        inside = chain.inputs(negative, "neg")
        if other is inv and inside and _moments_of(chain, inside[0], 0) is moments:
            return True
    return False


def _equal(chain: Chain, a, b) -> bool:
    """The same tensor, or the same transpose of one."""
    if a is b:
        return True
    one, other = (chain.of(t, "transpose") for t in (a, b))
    return bool(one and other) and one[1][0] is other[1][0] and one[2] == other[2]


@matcher("batch_norm_inference")
def batch_norm(record, chain: Chain):
    """Normalisation by the batch's own moments over all axes but the last: training."""
    _, inputs, attrs, _ = record
    x, mean, variance = inputs[:3]
    moments = _moments_of(chain, mean, 0)
    if moments is None or _moments_of(chain, variance, 1) is not moments:
        return None
    if not _equal(chain, moments[1][0], x):
        return None
    if tuple(moments[2]["axes"]) != tuple(range(len(x.dims) - 1)):
        return None
    if mean.dims != x.dims[-1:] or variance.dims != x.dims[-1:]:
        return None
    return "batch_norm_train", (x, *inputs[3:]), dict(attrs), 0, {1: mean, 2: variance}


def _product(chain: Chain, tensor):
    """(a, b) of a plain matmul a @ b, or None."""
    record = chain.of(tensor, "matmul")
    if record is None or record[2].get("transpose_a") or record[2].get("transpose_b"):
        return None
    return record[1]


def _transposed(chain: Chain, tensor, perm):
    """What a transpose by `perm` was applied to, or None."""
    record = chain.of(tensor, "transpose")
    return record[1][0] if record and tuple(record[2]["perm"]) == perm else None


def _causal(mask) -> bool:
    """The mask is known and lets query i see keys 0 to i."""
    if mask.array is None or len(mask.dims) < 2:
        return False
    values = mask.numpy()
    triangle = np.tri(*values.shape[-2:], dtype=bool)
    return values.dtype == bool and bool((values == triangle).all())


def _queries_and_keys(chain: Chain, scores):
    """(q, k), each [B, S, H, D], of scores [B, H, Sq, Sk] = q k^T or (k q^T)^T; or None."""
    flipped = _transposed(chain, scores, (0, 1, 3, 2))
    product = _product(chain, scores if flipped is None else flipped)
    if not product:
        return None
    left = _transposed(chain, product[0], (0, 2, 1, 3))
    right = _transposed(chain, product[1], (0, 2, 3, 1))
    if left is None or right is None:
        return None
    return (left, right) if flipped is None else (right, left)


def _before_repeat(chain: Chain, x):
    """[B, S, Hk, D] whose heads were repeated, each in a row, to make x [B, S, H, D]; or None."""
    outer = chain.inputs(x, "reshape")
    repeated = outer and chain.inputs(outer[0], "broadcast_to")
    inner = repeated and chain.inputs(repeated[0], "reshape")
    if not inner or outer[0].ndim != 5 or inner[0].ndim != 4:
        return None
    source = inner[0]
    batch, length, heads, size = source.dims
    group = outer[0].dims[3]
    plain = repeated[0].dims == (batch, length, heads, 1, size)
    wide = outer[0].dims == (batch, length, heads, group, size)
    return source if plain and wide and x.dims == (batch, length, heads * group, size) else None


@matcher("transpose")
def attention(record, chain: Chain):
    """Multi-head attention as Keras spells it when it must drop probabilities: scores of keys by
    scaled queries, a mask, softmax, the mask again, dropout, and the product with the values.
    """
    _, inputs, attrs, root = record
    if tuple(attrs["perm"]) != (0, 2, 1, 3):
        return None
    weighted = _product(chain, inputs[0])
    v = weighted and _transposed(chain, weighted[1], (0, 2, 1, 3))
    if v is None:
        return None
    probabilities, key, rate = weighted[0], None, 0.0
    dropped = chain.of(probabilities, "random_bernoulli_scale")
    if dropped:
        (probabilities, key), rate = dropped[1], dropped[2]["rate"]

    mask = None
    outer = chain.inputs(probabilities, "select")
    if outer:
        mask, probabilities, zero = outer
        if scalar(zero) != 0:
            return None
    softmax = chain.of(probabilities, "softmax")
    if softmax is None or softmax[2]["axis"] != 3:
        return None
    scores = softmax[1][0]
    inner = chain.inputs(scores, "select")
    if bool(inner) != bool(outer):
        return None
    if inner:
        if inner[0] is not mask or (scalar(inner[2]) or 0) > -1e4:
            return None
        scores = inner[1]

    pair = _queries_and_keys(chain, scores)
    if pair is None:
        return None
    q, k = pair
    if v.dims[2] != q.dims[2]:
        return None
    grouped = _before_repeat(chain, k), _before_repeat(chain, v)
    if None not in grouped and grouped[0].dims[1:3] == grouped[1].dims[1:3]:
        k, v = grouped
    scale = 1.0
    for scaled, factor in chain.either(q, "mul"):
        if scalar(factor) is not None:
            q, scale = scaled, scalar(factor)
            break
    causal = mask is not None and _causal(mask)
    given = [t for t in (None if causal else mask, key) if t is not None]
    options = {
        "scale": scale,
        "causal": causal,
        "dropout": rate,
        "has_bias": False,
        "has_mask": mask is not None and not causal,
    }
    then = None
    if options["has_mask"] and not _leaves_no_query_without_keys(mask):
        then = functools.partial(_zero_without_keys, mask)
    return "attention", (q, k, v, *given), options, 0, {}, then


def _leaves_no_query_without_keys(mask) -> bool:
    return mask.array is not None and bool(mask.numpy().any(axis=-1).all())


def _zero_without_keys(mask, out):
    """The output where a query may attend to a key, else 0, which is what Keras's chain gives; the
    primitive's own answer is the mean of all values."""
    some = reduce.reduce_any(mask, (mask.ndim - 1,), keepdims=True)
    some = shape.reshape(some, (1,) * (4 - mask.ndim) + some.dims)
    some = shape.transpose(some, (0, 2, 1, 3))
    return elementwise.select(some, out, shape.full((), 0.0, out.dtype))
