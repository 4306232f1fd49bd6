"""Scaled dot-product attention in one primitive, and its gradient.

q[B, Sq, H, D], k[B, Sk, Hk, D], v[B, Sk, Hk, Dv]; Hk divides H, and query head h reads key head
h // (H / Hk). With s = scale q k^T + bias:
    p = softmax(s) over the allowed keys, out = dropout(p) v, lse = log(sum(exp(s)))
A key is allowed where the mask is true and, if causal, its position is not after the query's. A
query with no allowed key attends to all keys alike, as it does in Keras (where masked scores are a
large negative number): its scores are all taken as 0, and nothing flows back to q, k and bias.

The optional inputs bias, mask and key stand between v and the rest; attributes say which are there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_native.engine.primitive import REGISTRY, Primitive, signature
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import random as rn
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.decomposed import vjp_through
from keras_native.engine.primitives.elementwise_common import unbroadcast
from keras_native.engine.primitives.matmul import matmul
from keras_native.engine.primitives.softmax import require_floats, wide
from keras_native.engine.tensor import Tensor


class _Options(NamedTuple):
    """The optional inputs, and what follows them."""

    bias: object
    mask: object
    key: object
    rest: list


def _split(optional, has_bias, has_mask, dropout) -> _Options:
    values = list(optional)
    bias = values.pop(0) if has_bias else None
    mask = values.pop(0) if has_mask else None
    key = values.pop(0) if dropout > 0 else None
    return _Options(bias, mask, key, values)


def _check(name, q, k, v, options):
    given = [t for t in (q, k, v, *options[:3]) if t is not None]

    def fail(why):
        raise ValueError(f"{name}: {why}, got {signature(given)}")

    require_floats(name, q, k, v)
    if not q.ndim == k.ndim == v.ndim == 4:
        fail("query, key and value need 4 axes [batch, length, heads, size]")
    batch, queries, heads, size = q.dims
    if k.dims[0] != batch or v.dims[0] != batch:
        fail("batch sizes differ")
    if k.dims[3] != size:
        fail("query and key need one head size")
    if k.dims[1:3] != v.dims[1:3]:
        fail("key and value need one length and number of heads")
    if k.dims[2] == 0 or heads % k.dims[2] != 0:
        fail("the number of key heads must divide the number of query heads")
    scores = (batch, heads, queries, k.dims[1])
    for label, t in (("bias", options.bias), ("mask", options.mask)):
        if t is None:
            continue
        if t.ndim > 4 or any(
            have != 1 and have != want for have, want in zip(t.dims[::-1], scores[::-1])
        ):
            fail(f"{label} must broadcast to [batch, heads, queries, keys]")
    if options.bias is not None and options.bias.dtype != q.dtype:
        raise TypeError(f"{name}: the bias needs the dtype of the query, got {signature(given)}")
    if options.mask is not None and options.mask.dtype != "bool":
        raise TypeError(f"{name}: the mask must be bool, got {signature(given)}")
    if options.key is not None and options.key.dtype != "uint32":
        raise TypeError(f"{name}: the dropout key must be uint32[2], got {signature(given)}")


def _lse_dtype(dtype):
    return "float64" if dtype == "float64" else "float32"


def _shape(q, k, v, *optional, scale, causal, dropout, has_bias, has_mask):
    _check("attention", q, k, v, _split(optional, has_bias, has_mask, dropout))
    batch, queries, heads, _ = q.dims
    return [
        ((batch, queries, heads, v.dims[3]), q.dtype),
        ((batch, heads, queries), _lse_dtype(q.dtype)),
    ]


# the reference ---------------------------------------------------------------------------------


def _heads_first(x, heads):
    """[B, S, Hk, D] -> [B, H, S, D], wide, key heads repeated for their group of query heads."""
    return np.repeat(wide(x).transpose(0, 2, 1, 3), heads // x.shape[2], axis=1)


def _allowed_array(mask, causal, dims):
    allowed = np.ones(dims, bool) if mask is None else np.broadcast_to(mask, dims).copy()
    if causal:
        allowed &= np.arange(dims[2])[:, None] >= np.arange(dims[3])
    return allowed


def _scores_array(q, k, bias, mask, scale, causal):
    """(scores with -inf where not allowed, allowed)."""
    heads = q.shape[2]
    s = scale * (_heads_first(q, heads) @ _heads_first(k, heads).swapaxes(-1, -2))
    s = s.astype(wide(q).dtype)
    if bias is not None:
        s = s + wide(bias)
    allowed = _allowed_array(mask, causal, s.shape)
    s = np.where(allowed, s, -np.inf)
    return np.where(allowed.any(-1, keepdims=True), s, 0).astype(wide(q).dtype), allowed


def _dropped(p, key, dropout):
    if key is None:
        return p
    return REGISTRY["random_bernoulli_scale"].reference(p, key, rate=dropout)


def _reference(q, k, v, *optional, scale, causal, dropout, has_bias, has_mask):
    bias, mask, key, _ = _split(optional, has_bias, has_mask, dropout)
    s, _ = _scores_array(q, k, bias, mask, scale, causal)
    with np.errstate(invalid="ignore", divide="ignore"):
        peak = s.max(axis=-1, keepdims=True, initial=-np.inf)
        e = np.exp(s - np.where(np.isneginf(peak), 0, peak))
        total = e.sum(axis=-1, keepdims=True)
        p = e / total
        lse = (np.log(total) + peak)[..., 0]
    out = _dropped(p, key, dropout) @ _heads_first(v, q.shape[2])
    return out.transpose(0, 2, 1, 3), lse


# the decomposition -----------------------------------------------------------------------------


def _to_heads(x, heads):
    """[B, S, Hk, D] -> [B, H, S, D] in primitives."""
    batch, length, own, size = x.dims
    x = sh.transpose(x, (0, 2, 1, 3))
    if own == heads:
        return x
    group = heads // own
    x = sh.broadcast_to(sh.expand_dims(x, 2), (batch, own, group, length, size))
    return sh.reshape(x, (batch, heads, length, size))


def _scores(q, k, options, scale, causal):
    """(scores with -inf where not allowed, the allowed mask or None)."""
    heads = q.dims[2]
    s = matmul(_to_heads(q, heads), _to_heads(k, heads), transpose_b=True)
    s = ew.mul(s, sh.full((), scale, s.dtype))
    if options.bias is not None:
        s = ew.add(s, options.bias)
    allowed = options.mask
    if causal:
        rows = sh.expand_dims(sh.iota(q.dims[1], "int32"), 1)
        lower = ew.ge(rows, sh.iota(k.dims[1], "int32"))
        allowed = lower if allowed is None else ew.logical_and(allowed, lower)
    if allowed is None:
        return s, None
    allowed = sh.broadcast_to(allowed, s.dims)
    some = rd.reduce_any(allowed, (3,), keepdims=True)
    floor = ew.select(some, sh.full((), -np.inf, s.dtype), sh.full((), 0.0, s.dtype))
    return ew.select(allowed, s, floor), allowed


def _decompose(q, k, v, *optional, scale, causal, dropout, has_bias, has_mask):
    options = _split(optional, has_bias, has_mask, dropout)
    s, _ = _scores(q, k, options, scale, causal)
    lse = rd.reduce_logsumexp(s, (3,), keepdims=True)
    p = ew.exp(ew.sub(s, lse))
    if options.key is not None:
        p = rn.random_bernoulli_scale(p, options.key, dropout)
    out = matmul(p, _to_heads(v, q.dims[2]))
    lse = ew.cast(sh.squeeze(lse, (3,)), _lse_dtype(q.dtype))
    return sh.transpose(out, (0, 2, 1, 3)), lse


def _vjp(ct, outs, q, k, v, *optional, **attrs):
    ct_out, ct_lse = ct
    out, lse = outs
    if ct_out is None:
        ct_out = ew.mul(out, sh.full((), 0.0, out.dtype))
    inputs = [q, k, v, *optional, out, lse, ct_out] + ([] if ct_lse is None else [ct_lse])
    attrs["has_lse_ct"] = ct_lse is not None
    grads = list(_grad(*inputs, **attrs))
    if attrs["has_bias"]:
        grads.append(unbroadcast(_score_grad(*inputs, **attrs), optional[0].dims))
    return (*grads, *[None] * (3 + len(optional) - len(grads)))


_attention = Primitive(
    "attention", shape=_shape, reference=_reference, vjp=_vjp, decompose=_decompose
)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    key: Tensor | None = None,
) -> Tensor:
    """Scaled dot-product attention; see the head of this file for the exact meaning.

    Args:
        q, k, v: [B, Sq, H, D], [B, Sk, Hk, D], [B, Sk, Hk, Dv] of one floating dtype; Hk divides H.
        bias: added to the scaled scores; broadcasts to [B, H, Sq, Sk]; the dtype of q.
        mask: bool, broadcasts to [B, H, Sq, Sk]; True where a key may be attended to.
        scale: of the scores; None is 1 / sqrt(D).
        causal: query i sees keys 0 to i.
        dropout: rate in [0, 1) of probabilities set to zero (the others grow by 1 / (1 - rate)),
            drawn from `key` as `random_bernoulli_scale` does for a [B, H, Sq, Sk] tensor.
        key: uint32[2], needed when dropout > 0.

    Returns:
        [B, Sq, H, Dv].

    Raises:
        TypeError, ValueError: wrong dtypes or shapes, or dropout without a key.
    """
    if not 0.0 <= dropout < 1.0 or (dropout > 0 and key is None):
        raise ValueError(f"attention: dropout {dropout} must be in [0, 1), with a key if not 0")
    if scale is None:
        if q.ndim != 4:
            _check("attention", q, k, v, _Options(bias, mask, None, []))
        scale = 1.0 / max(q.dims[3], 1) ** 0.5
    optional = [t for t in (bias, mask, key if dropout > 0 else None) if t is not None]
    return _attention(
        q,
        k,
        v,
        *optional,
        scale=float(scale),
        causal=bool(causal),
        dropout=float(dropout),
        has_bias=bias is not None,
        has_mask=mask is not None,
    )[0]


# the gradient ----------------------------------------------------------------------------------
# With dp = ct v^T (dropped as p was) and delta = sum(ct out) - ct_lse over a query's row:
#     ds = p (dp - delta) where allowed, dq = scale ds k, dk = scale ds^T q, dv = dropout(p)^T ct


def _grad_shape(q, k, v, *optional, has_lse_ct, **attrs):
    return [(t.dims, t.dtype) for t in (q, k, v)]


def _ds_arrays(q, k, v, *optional, scale, causal, dropout, has_bias, has_mask, has_lse_ct):
    """(ds, dropout(p), ct), heads first."""
    bias, mask, key, (out, lse, ct, *ct_lse) = _split(optional, has_bias, has_mask, dropout)
    heads = q.shape[2]
    s, allowed = _scores_array(q, k, bias, mask, scale, causal)
    with np.errstate(invalid="ignore"):
        p = np.exp(s - lse[..., None])
    ct = _heads_first(ct, heads)
    delta = (ct * _heads_first(out, heads)).sum(axis=-1, keepdims=True)
    if has_lse_ct:
        delta = delta - ct_lse[0][..., None]
    dp = _dropped(ct @ _heads_first(v, heads).swapaxes(-1, -2), key, dropout)
    ds = np.where(allowed, p * (dp - delta), 0).astype(s.dtype)
    return ds, _dropped(p, key, dropout).astype(s.dtype), ct


def _grad_reference(q, k, v, *optional, scale, **attrs):
    heads = q.shape[2]
    ds, p, ct = _ds_arrays(q, k, v, *optional, scale=scale, **attrs)

    def collect(x, own):
        batch, _, length, size = x.shape
        x = x.reshape(batch, own, heads // own, length, size).sum(axis=2)
        return x.transpose(0, 2, 1, 3)

    dq = scale * (ds @ _heads_first(k, heads))
    dk = scale * (ds.swapaxes(-1, -2) @ _heads_first(q, heads))
    dv = p.swapaxes(-1, -2) @ ct
    return collect(dq, heads), collect(dk, k.shape[2]), collect(dv, k.shape[2])


def _ds(q, k, v, *optional, scale, causal, dropout, has_bias, has_mask, has_lse_ct):
    options = _split(optional, has_bias, has_mask, dropout)
    out, lse, ct, *ct_lse = options.rest
    heads = q.dims[2]
    s, allowed = _scores(q, k, options, scale, causal)
    p = ew.exp(ew.sub(s, ew.cast(sh.expand_dims(lse, -1), s.dtype)))
    ct, out = _to_heads(ct, heads), _to_heads(out, heads)
    delta = rd.reduce_sum(ew.mul(ct, out), (3,), keepdims=True)
    if has_lse_ct:
        delta = ew.sub(delta, ew.cast(sh.expand_dims(ct_lse[0], -1), delta.dtype))
    dp = matmul(ct, _to_heads(v, heads), transpose_b=True)
    if options.key is not None:
        dp = rn.random_bernoulli_scale(dp, options.key, dropout)
    ds = ew.mul(p, ew.sub(dp, delta))
    if allowed is not None:
        ds = ew.select(allowed, ds, sh.full((), 0.0, ds.dtype))
    if options.key is not None:
        p = rn.random_bernoulli_scale(p, options.key, dropout)
    return ds, p, ct


def _grad_decompose(q, k, v, *optional, scale, **attrs):
    heads = q.dims[2]
    ds, p, ct = _ds(q, k, v, *optional, scale=scale, **attrs)

    def collect(x, own):
        batch, _, length, size = x.dims
        if own != heads:
            x = sh.reshape(x, (batch, own, heads // own, length, size))
            x = rd.reduce_sum(x, (2,))
        return sh.transpose(x, (0, 2, 1, 3))

    scaled = ew.mul(ds, sh.full((), scale, ds.dtype))
    dq = matmul(scaled, _to_heads(k, heads))
    dk = matmul(scaled, _to_heads(q, heads), transpose_a=True)
    dv = matmul(p, ct, transpose_a=True)
    return collect(dq, heads), collect(dk, k.dims[2]), collect(dv, k.dims[2])


_grad = Primitive(
    "attention_grad",
    shape=_grad_shape,
    reference=_grad_reference,
    vjp=lambda ct, out, *inputs, **attrs: vjp_through(
        lambda *a: _grad_decompose(*a, **attrs), ct, inputs
    ),
    decompose=_grad_decompose,
)


def _score_grad_shape(q, k, v, *optional, **attrs):
    return (q.dims[0], q.dims[2], q.dims[1], k.dims[1]), q.dtype


# The gradient of the scores themselves, for whoever differentiates a bias: as large as all scores.
_score_grad = Primitive(
    "attention_score_grad",
    shape=_score_grad_shape,
    reference=lambda *inputs, **attrs: _ds_arrays(*inputs, **attrs)[0],
    vjp=lambda ct, out, *inputs, **attrs: vjp_through(lambda *a: _ds(*a, **attrs)[0], ct, inputs),
    decompose=lambda *inputs, **attrs: _ds(*inputs, **attrs)[0],
)
