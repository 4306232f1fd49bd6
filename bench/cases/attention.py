"""Attention and its gradient.

Tolerance: a score is a sum of `size` products, an output one of up to `keys` products with weights
that sum to one; errors of scores stand in an exponent and act as relative errors of the weights.
4 + sqrt(size) + sqrt(keys) / 2 times eps of the largest output covers both; the gradient has two
such stages more.
"""

# ruff: noqa: C408 (dict(...) as it will be passed, by keyword)

from __future__ import annotations

import math
import re

import numpy as np

from bench.harness import Case, _numpy_dtype
from bench.peers import torch_tensor


def _torch(causal, scale, grad, masked=False, grouped=False):
    def build(arrays):
        import torch

        mask = torch.from_numpy(arrays[3]) if masked else None

        def attend(q, k, v):
            q, k, v = (t.transpose(1, 2) for t in (q, k, v))
            return torch.nn.functional.scaled_dot_product_attention(
                q, k, v, mask, is_causal=causal, scale=scale, enable_gqa=grouped
            ).transpose(1, 2)

        q, k, v = (torch_tensor(a) for a in arrays[:3])
        if not grad:
            return lambda: attend(q, k, v)
        inputs = [t.requires_grad_() for t in (q, k, v)]
        out, ct = attend(*inputs), torch_tensor(arrays[-1])
        return lambda: torch.autograd.grad(out, inputs, ct, retain_graph=True)

    return build


def _weights(q, k, optional, attrs):
    """p before dropout, [B, Sq, H, Sk]: what attention makes of keys' one-hot values."""
    from keras_native.engine.primitive import REGISTRY

    if attrs["dropout"]:
        *optional, _ = optional
    one_hot = np.broadcast_to(np.eye(k.shape[1])[:, None], (*k.shape[:3], k.shape[1]))
    attrs = {**attrs, "dropout": 0.0}
    return REGISTRY["attention"].reference(q, k, one_hot, *optional, **attrs)[0]


def _wide(arrays):
    return [a if a.dtype.kind in "bu" else a.astype(np.float64) for a in arrays]


def _forward_terms(attrs):
    """Sizes of what out and lse add up: p |v| and |q| |k|."""

    def terms(arrays):
        q, k, v, *optional = _wide(arrays)
        group = q.shape[2] // k.shape[2]
        p = _weights(q, k, optional, attrs)
        k, v = (np.repeat(np.abs(a), group, axis=2) for a in (k, v))
        out = np.einsum("bqhk,bkhd->bqhd", p, v) / (1 - attrs["dropout"])
        lse = abs(attrs["scale"]) * np.einsum("bqhd,bkhd->bqhk", np.abs(q), k)
        return [out.max(initial=0), lse.max(initial=0)]

    return terms


def _gradient_terms(attrs, scores, lse_ct):
    """Sizes of what dq and dk (or the scores' gradient) add up, p (dp - delta) times k or q, where
    dp - delta cancels if one key has nearly all of p. dv adds what does not cancel."""

    def terms(arrays):
        wide = _wide(arrays)
        q, k, v, *optional, out, _, ct = wide[: len(wide) - lse_ct]
        p = _weights(q, k, optional, attrs)
        k, v = (np.repeat(a, q.shape[2] // k.shape[2], axis=2) for a in (k, v))
        dp = np.abs(np.einsum("bqhd,bkhd->bqhk", ct, v)) / (1 - attrs["dropout"])
        ds = p * (dp + np.abs((ct * out).sum(-1, keepdims=True)))
        if scores:
            return [ds.max(initial=0)]
        dq = np.einsum("bqhk,bkhd->bqhd", ds**2, k**2)
        dk = np.einsum("bqhk,bqhd->bkhd", ds**2, q**2)
        return [*(abs(attrs["scale"]) * math.sqrt(s.max(initial=0)) for s in (dq, dk)), 0.0]

    return terms


def _mask(kind, dims, rng):
    """Random; keys near a query's position, which some queries have none of; or the first keys of
    each example."""
    keys, queries = np.arange(dims[-1]), np.arange(dims[-2])[:, None]
    if kind == "window":
        return np.broadcast_to(np.abs(keys - queries) < 20, dims).copy()
    if kind == "padding":
        return keys < rng.integers(1, dims[-1] + 1, (*dims[:-1], 1))
    return rng.random(dims) < 0.6


def attention(
    batch, queries, heads, size, keys=None, key_heads=None, value_size=None, bias=None, mask=None,
    causal=False, dropout=0.0, dtype="float32", grad=False, lse_ct=False, scores=False, scale=None,
    kind="random", **more,
) -> Case:  # fmt: skip
    """One case; `bias` and `mask` are shapes, `kind` one of `_mask`, `scores` asks for
    attention_score_grad."""
    keys, key_heads, value_size = keys or queries, key_heads or heads, value_size or size
    element = _numpy_dtype(dtype)
    attrs = {
        "scale": 1 / math.sqrt(size) if scale is None else scale,
        "causal": causal,
        "dropout": dropout,
        "has_bias": bias is not None,
        "has_mask": mask is not None,
    }
    q, k = (batch, queries, heads, size), (batch, keys, key_heads, size)
    v, out = (batch, keys, key_heads, value_size), (batch, queries, heads, value_size)
    lse = (batch, heads, queries)
    statistic = "float64" if dtype == "float64" else "float32"
    inputs = [(q, dtype), (k, dtype), (v, dtype)]
    inputs += [(bias, dtype)] if bias is not None else []
    inputs += [(mask, "bool")] if mask is not None else []
    inputs += [((2,), "uint32")] if dropout else []
    forward = len(inputs)
    if grad:
        inputs += [(out, dtype), (lse, statistic), (out, dtype)]
        inputs += [(lse, statistic)] if lse_ct else []

    def make(rng):
        given = []
        for dims, name in inputs:
            if name == "bool":
                given.append(_mask(kind, dims, rng))
            elif name == "uint32":
                given.append(rng.integers(0, 2**32, 2, np.uint32))
            else:
                given.append(rng.standard_normal(dims).astype(_numpy_dtype(name)))
        return given

    def complete(given):
        from keras_native.engine.primitive import REGISTRY

        if batch * heads * queries * keys > _MOST_REFERRED:  # for its time alone
            given[forward + 1][:] = math.log(keys) + 0.5
            return given
        wide = [a.astype(np.float64) if a.dtype == element else a for a in given[:forward]]
        out, lse = REGISTRY["attention"].reference(*wide, **attrs)
        given[forward : forward + 2] = out.astype(element), lse.astype(statistic)
        return given

    half = 2 if causal else 1
    products = batch * heads * queries * keys * (size + value_size) * 2 / half
    name = "attention_score_grad" if scores else "attention_grad" if grad else "attention"
    # Where out and lse are rounded to half precision, so is what is computed from them.
    rounded = 4 if dtype in ("float16", "bfloat16") and grad else 1
    return Case(
        name,
        inputs,
        {**attrs, "has_lse_ct": lse_ct} if grad else attrs,
        flops=products * (2.5 if grad else 1),
        tol=(4 + math.sqrt(size) + math.sqrt(keys) / 2) * (3 if grad else 1) * rounded,
        terms=_gradient_terms(attrs, scores, lse_ct) if grad else _forward_terms(attrs),
        make=make,
        complete=complete if grad else None,
        peer={"torch": _torch(causal, attrs["scale"], grad, mask is not None, key_heads < heads)}
        if more.get("speed") and bias is None
        else None,
        bytes=element.itemsize * sum(map(math.prod, (q, k, v, out))) * (2 if grad else 1),
        label=("" if scale is None else f"scale {scale} ")
        + f"{dtype} B{batch} Sq{queries} Sk{keys} H{heads}/{key_heads} D{size}/{value_size}"
        + (f" bias{list(bias)}" if bias is not None else "")
        + (f" {kind} mask{list(mask)}" if mask is not None else "")
        + (" lse_ct" if lse_ct else ""),
        **more,
    )


# Scores for which a reference in float64 gives out and lse in a second or two. Beyond, a gradient's
# are random numbers and what standard normals have for lse on average, as good for the clock.
_MOST_REFERRED = 1 << 26

SMALL = [
    dict(batch=2, queries=5, heads=3, size=8),
    dict(batch=1, queries=130, heads=2, size=16, causal=True),
    dict(batch=1, queries=40, heads=2, size=33, keys=200, value_size=19),
    dict(batch=1, queries=200, heads=1, size=7, keys=40, causal=True),
    dict(batch=1, queries=30, heads=2, size=64, keys=150, causal=True),
    dict(batch=2, queries=20, heads=6, size=16, keys=33, key_heads=2, causal=True),
    dict(batch=1, queries=1, heads=2, size=256, keys=70),
    dict(batch=1, queries=9, heads=1, size=1, value_size=1),
    dict(batch=2, queries=17, heads=2, size=12, keys=21, mask=(2, 1, 17, 21)),
    dict(batch=2, queries=17, heads=2, size=12, keys=21, mask=(2, 1, 1, 21), causal=True),
    dict(batch=2, queries=17, heads=2, size=12, keys=3, mask=(17, 3)),  # some without any key
    dict(batch=2, queries=5, heads=2, size=12, keys=40, mask=(2, 1, 1, 40), kind="padding"),
    dict(batch=2, queries=17, heads=2, size=12, keys=21, bias=(2, 17, 21)),
    dict(batch=2, queries=40, heads=2, size=12, keys=21, bias=(2, 1, 1, 21)),
    dict(batch=2, queries=17, heads=2, size=12, bias=(2, 1, 17, 1), mask=(1, 1, 17, 17)),
    dict(batch=2, queries=18, heads=2, size=12, keys=21, dropout=0.3),
    dict(batch=1, queries=150, heads=2, size=12, causal=True, dropout=0.5),
    *(dict(batch=2, queries=20, heads=2, size=16, causal=True, dtype=t)
      for t in ("float16", "bfloat16", "float64")),
    # The largest score is the least of the products, or all are the same.
    *(dict(batch=1, queries=20, heads=2, size=16, keys=37, causal=True, scale=s, dtype=t)
      for s in (-0.5, 0.0) for t in ("float32", "bfloat16")),
]  # fmt: skip
# Several blocks of queries and of keys, and rests of both.
LONG = [
    dict(batch=2, queries=150, heads=2, size=12, keys=300, mask=(2, 1, 1, 300), kind="padding"),
    dict(batch=2, queries=150, heads=2, size=12, mask=(2, 1, 1, 150), kind="padding", causal=True),
    dict(
        batch=1,
        queries=200,
        heads=4,
        size=12,
        key_heads=2,
        keys=410,
        mask=(200, 410),
        kind="window",
    ),
    dict(batch=1, queries=200, heads=1, size=12, keys=130, mask=(200, 130), kind="window"),
    dict(batch=1, queries=150, heads=2, size=50, bias=(1, 2, 150, 150), dropout=0.1),
    dict(batch=1, queries=200, heads=2, size=20, keys=196, value_size=50, dropout=0.1),
    dict(batch=1, queries=129, heads=1, size=40, keys=260, value_size=36),
]
_SPEED = [
    dict(batch=b, queries=s, heads=8, size=d, causal=c, speed=True)
    for b, s, d in ((16, 128, 32), (8, 196, 64), (4, 512, 64), (1, 2048, 64))
    for c in (False, True)
]

CASES = [
    *(attention(**a) for a in SMALL + LONG),
    *(attention(**a, grad=True) for a in SMALL + LONG),
    attention(2, 17, 2, 12, keys=21, causal=True, grad=True, lse_ct=True),
    attention(2, 17, 2, 12, keys=21, causal=True, grad=True, scores=True),
    attention(2, 17, 2, 12, keys=3, mask=(17, 3), grad=True, scores=True),
    attention(1, 200, 2, 12, keys=300, mask=(200, 300), kind="window", grad=True, scores=True),
    *(attention(**a) for a in _SPEED),
    *(attention(**a, grad=True) for a in _SPEED),
]

SYNTAX = (
    "B4xS512xH8xD64:K1024:G2:mask:causal:grad:float32: batch, length, heads, width; keys where "
    "their number differs, key heads; a mask of booleans, causal; the gradient; dtype"
)
_PROBLEM = re.compile(
    r"B(?P<batch>\d+)xS(?P<queries>\d+)xH(?P<heads>\d+)xD(?P<size>\d+)(:K(?P<keys>\d+))?"
    r"(:G(?P<key_heads>\d+))?(?P<mask>:mask)?(?P<causal>:causal)?(?P<grad>:grad)?"
    r"(:(?P<dtype>b?float\d+))?"
)


def parse(text: str) -> list[Case] | None:
    """The case spelled as in SYNTAX, or None where it is none."""
    match = _PROBLEM.fullmatch(text)
    if match is None:
        return None
    given = {k: int(v) for k, v in match.groupdict().items() if v and v.isdigit()}
    if match["mask"]:
        given["mask"] = (given["batch"], 1, given["queries"], given.get("keys", given["queries"]))
    flags = {name: bool(match[name]) for name in ("causal", "grad")}
    return [attention(**given, **flags, dtype=match["dtype"] or "float32", speed=True, spell=text)]


def _listed(*texts: str):
    return lambda _: [case for text in texts for case in parse(text)]


def _lengths(size: int, more: str = "") -> list[str]:
    """Lengths 128 to 8192 at about the same work; heads as many as fit a width of 512."""
    return [f"B{max(1, 4096 // (n * max(1, n // 1024)))}xS{n}xH{max(1, 512 // size)}xD{size}{more}"
            for n in (128, 512, 2048, 8192)]  # fmt: skip


LISTS = {
    **{f"d{size}": _listed(*_lengths(size)) for size in (32, 64, 80, 128)},
    "causal": _listed(*_lengths(64, ":causal")),
    "masked": _listed("B8xS128xH8xD64:mask", "B2xS512xH8xD64:mask", "B1xS2048xH8xD64:mask"),
    "grouped": _listed("B2xS512xH16xD64:G4", "B1xS2048xH16xD64:G4:causal"),
    "gradient": _listed(*(t for more in (":grad", ":causal:grad") for t in _lengths(64, more)[:3])),
    "gpu": _listed(*(f"B4xS2048xH16xD{size}{causal}{grad}:bfloat16" for grad in ("", ":grad")
                     for size in (64, 128) for causal in ("", ":causal"))),
    "bert": lambda batch: [c for more in ("", ":grad")
                           for c in parse(f"B{batch}xS128xH12xD64{more}")],
}  # fmt: skip
