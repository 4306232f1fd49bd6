"""Chains that Keras spells out, and the fused primitives that they are."""

from __future__ import annotations

from keras_native.engine.primitives import norm as _norm  # noqa: F401
from keras_native.engine.primitives import norm_batch as _norm_batch  # noqa: F401
from keras_native.engine.recognise import Chain, matcher, scalar


def _moments_of(chain: Chain, tensor, position: int):
    """The record of `moments` that made the tensor (behind a reshape that keeps dims), or None."""
    record, k = chain.output(chain.through(tensor, "reshape"), "moments")
    return record if k == position else None


def _parameter(chain: Chain, tensor, dims):
    """The tensor of shape `dims` behind a broadcasting reshape, or None."""
    leading = len(tensor.dims) - len(dims)
    if tensor.dims != (1,) * leading + tuple(dims):
        return None  # it lies along other axes
    if leading:
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


@matcher("mul")
def rms_norm(record, chain: Chain):
    """x * rsqrt(mean(x^2) + eps) [* gamma] over the last axes."""
    root = record[3]
    for normal, gamma in [(root, None), *chain.either(root, "mul")]:
        found = _rms_parts(chain, normal)
        if found is None:
            continue
        x, axes, eps = found
        given = []
        if gamma is not None:
            gamma = _parameter(chain, gamma, x.dims[-axes:])
            if gamma is None or gamma.dtype != x.dtype:
                continue
            given = [gamma]
        return "rms_norm", (x, *given), {"axes": axes, "eps": eps, "has_gamma": bool(given)}, 0, {}
    return None


def _rms_parts(chain: Chain, normal):
    """(x, number of axes, eps) of x rsqrt(mean(x^2) + eps); or None."""
    for x, inv in chain.either(normal, "mul"):
        inside = chain.inputs(inv, "rsqrt")
        for mean, eps in chain.either(inside[0], "add") if inside else ():
            record = chain.of(mean, "reduce_mean")
            if record is None or scalar(eps) is None or not record[2]["keepdims"]:
                continue
            axes, squares = record[2]["axes"], record[1][0]
            whole = axes and tuple(axes) == tuple(range(len(x.dims) - len(axes), len(x.dims)))
            square = chain.inputs(squares, "square") or chain.inputs(squares, "mul")
            if whole and square and all(t is x for t in square):
                return x, len(axes), scalar(eps)
    return None


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
