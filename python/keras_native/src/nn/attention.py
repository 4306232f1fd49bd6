"""Scaled dot-product attention."""

from __future__ import annotations

from keras_native.engine.primitives import attention as at
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import matmul as mm
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import softmax as sm
from keras_native.engine.tensor import Tensor
from keras_native.src.nn.activations import where
from keras_native.src.ops.convert import convert_to_tensor, result_type

# What masked scores become: finite, so that a row masked throughout stays finite too.
_MASKED = -0.7 * 3.4028235e38


def dot_product_attention(
    query,
    key,
    value,
    bias=None,
    mask=None,
    scale=None,
    is_causal=False,
    flash_attention=None,
    attn_logits_soft_cap=None,
):
    """softmax(query key^T * scale + bias) value, for [batch, length, heads, size] operands.

    Args:
        bias, mask: broadcast to [batch, heads, query length, key length].
        flash_attention: True or None, the kernel never holds the matrix of scores; False has no
            other effect.
        attn_logits_soft_cap: scores s become s / (1 + |s| / cap).
    """
    query, key, value = map(convert_to_tensor, (query, key, value))
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ValueError(
            "`dot_product_attention` only supports 4D inputs. "
            f"Received: query.shape={query.shape}, key.shape={key.shape}, "
            f"value.shape={value.shape}."
        )
    dtype = result_type(query.dtype, key.dtype, value.dtype, float)
    query, key, value = (ew.cast(t, dtype) for t in (query, key, value))
    bias = None if bias is None else _four_axes(convert_to_tensor(bias, dtype), query.dims[2])
    mask = None if mask is None else _four_axes(convert_to_tensor(mask, "bool"), query.dims[2])
    if attn_logits_soft_cap is None:
        return at.attention(query, key, value, bias, mask, scale, is_causal)
    return _capped(query, key, value, bias, mask, scale, is_causal, attn_logits_soft_cap)


def _four_axes(x: Tensor, heads: int) -> Tensor:
    """Leading axes of size 1; three axes are [batch or heads, query, key]."""
    if x.ndim == 3:
        return sh.expand_dims(x, 1)
    if x.ndim < 4:
        return sh.reshape(x, (1,) * (4 - x.ndim) + x.dims)
    return x


def _capped(query, key, value, bias, mask, scale, is_causal, cap) -> Tensor:
    _, queries, heads, size = query.dims
    scale = size**-0.5 if scale is None else scale
    group = heads // key.dims[2]
    q, k, v = (
        sh.transpose(t if t.dims[2] == heads else sh.repeat(t, group, 2), (0, 2, 1, 3))
        for t in (query, key, value)
    )
    scores = ew.mul(mm.matmul(q, k, transpose_b=True), float(scale))
    scores = ew.div(scores, ew.add(ew.div(ew.abs(scores), float(cap)), 1.0))
    if bias is not None:
        scores = ew.add(scores, bias)
    if is_causal:
        rows, columns = sh.iota(queries), sh.iota(key.dims[1])
        causal = ew.ge(sh.expand_dims(rows, 1), sh.expand_dims(columns, 0))
        mask = causal if mask is None else ew.logical_and(mask, causal)
    if mask is not None:
        lowest = _MASKED if scores.dtype != "float16" else -0.7 * 65504.0
        scores = where(mask, scores, lowest)
    out = mm.matmul(sm.softmax(scores, -1), v)
    return sh.transpose(out, (0, 2, 1, 3))
