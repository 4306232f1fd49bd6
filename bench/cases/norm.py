"""Layer, RMS, batch and group normalisation and their gradients.

Tolerance: results are of size 1 after rounding errors of the mean, the variance and three
products; the sums behind them are blocked, so 8 eps covers them. Parameters' gradients are sums
over the rows, of error sqrt(rows) eps relative to themselves. Half precision rounds once. What is
rounded is x beside its mean: among few numbers these may be far larger than their difference.
"""

from __future__ import annotations

import math

import numpy as np

from bench.harness import Case, _numpy_dtype


def _torch(forward, parameters):
    """Peers: `forward(torch, x, *parameters)`, alone or with its gradient for the *_grad cases."""

    def build(arrays):
        import torch

        tensors = [torch.from_numpy(a) for a in arrays]
        return lambda: forward(torch, *tensors)

    return {"torch": build} if parameters else None


def _torch_grad(forward, order):
    def build(arrays):
        import torch

        tensors = [torch.from_numpy(arrays[i]).requires_grad_() for i in order]
        y = forward(torch, *tensors)
        ct = torch.from_numpy(arrays[0])
        ct = ct if ct.shape == y.shape else _channels_last(ct)
        return lambda: torch.autograd.grad(y, tensors, ct, retain_graph=True)

    return {"torch": build}


def _layer(torch, x, gamma, beta=None):
    beta = torch.zeros_like(gamma) if beta is None else beta
    return torch.nn.functional.layer_norm(x, gamma.shape, gamma, beta, 1e-3)


def _rms(torch, x, gamma):
    return torch.nn.functional.rms_norm(x, gamma.shape, gamma, 1e-6)


def _channels_last(x):
    return x.permute(0, x.ndim - 1, *range(1, x.ndim - 1))


def _batch(torch, x, gamma, beta):
    # Channels last in memory, as here.
    y = torch.nn.functional.batch_norm(
        _channels_last(x), None, None, gamma, beta, training=True, eps=1e-3
    )
    return y.permute(0, *range(2, x.ndim), 1)


def _group(groups):
    def forward(torch, x, gamma, beta):
        return torch.nn.functional.group_norm(_channels_last(x), groups, gamma, beta, 1e-3)

    return forward


def _spread(axes, eps, gamma, sums=0):
    """Size of x over its deviation along `axes`, times gamma where it follows x in the operands.
    Then, for as many outputs as `sums`, the size of x itself."""

    def terms(arrays):
        x, *parameters = (a.astype(np.float64) for a in arrays)
        if x.size == 0:
            return [0.0] * (1 + sums)
        size = np.abs(x).max(axes, initial=0) / np.sqrt(x.var(axes) + eps)
        return [size.max() * (np.abs(parameters[0]).max() if gamma else 1), *[1.0] * sums]

    return terms


def _flags(gamma, beta):
    return {"has_gamma": gamma, "has_beta": beta}


def layer(dims, axes=1, dtype="float32", gamma=True, beta=True, grad=False, **more) -> Case:
    tail = dims[len(dims) - axes :]
    attrs = {"axes": axes, "eps": 1e-3, **_flags(gamma, beta)}
    size, rows = math.prod(dims), math.prod(dims[: len(dims) - axes])
    inputs = [(dims, dtype)] * (2 if grad else 1) + [(tail, dtype)] * (
        gamma if grad else gamma + beta
    )
    return Case(
        "layer_norm_grad" if grad else "layer_norm",
        inputs,
        attrs,
        bytes=size * 4 * (3 if grad else 2),
        terms=0 if grad else _spread(tuple(range(-axes, 0)), attrs["eps"], gamma),
        tol=8 + (2 * math.sqrt(rows) if grad else 0),
        **more,
    )


def rms(dims, axes=1, dtype="float32", gamma=True, grad=False, **more) -> Case:
    tail = dims[len(dims) - axes :]
    rows = math.prod(dims[: len(dims) - axes])
    return Case(
        "rms_norm_grad" if grad else "rms_norm",
        [(dims, dtype)] * (2 if grad else 1) + [(tail, dtype)] * gamma,
        {"axes": axes, "eps": 1e-6, "has_gamma": gamma},
        bytes=math.prod(dims) * 4 * (3 if grad else 2),
        tol=8 + (2 * math.sqrt(rows) if grad else 0),
        **more,
    )


def batch(
    dims,
    dtype="float32",
    gamma=True,
    beta=True,
    grad=False,
    offset=0.0,
    clip=None,
    add=False,
    **more,
) -> Case:
    channels, rows = dims[-1:], math.prod(dims[:-1])
    kind = _numpy_dtype(dtype)

    def make(rng):
        x = (rng.standard_normal(dims) + offset).astype(kind)
        scale, shift = (rng.standard_normal(channels).astype(kind) for _ in range(2))
        if not grad:
            residual = [rng.standard_normal(dims).astype(kind)] * add
            return [x, *[scale] * gamma, *[shift] * beta, *residual]
        axes = tuple(range(len(dims) - 1))
        wide = x.astype(np.float64)
        mean, var = wide.mean(axes).astype(kind), wide.var(axes).astype(kind)
        clipped = [shift] * (beta and clip is not None)
        return [rng.standard_normal(dims).astype(kind), x, mean, var, *[scale] * gamma, *clipped]

    big, small = (dims, dtype), (channels, dtype)
    inputs = (
        [big, big, small, small] + [small] * (gamma + (beta and clip is not None))
        if grad
        else [big] + [small] * (gamma + beta) + [big] * add
    )
    return Case(
        "batch_norm_train_grad" if grad else "batch_norm_train",
        inputs,
        {
            "eps": 1e-3,
            **_flags(gamma, beta),
            **({"activation": clip} if clip else {}),
            **({"residual": 1} if add else {}),
        },
        bytes=math.prod(dims) * 4 * (5 if grad else 3),
        terms=0 if grad else _spread(tuple(range(len(dims) - 1)), 1e-3, gamma, sums=2),
        # A pass adds these when gradients have been taken.
        grad=not (clip or add),
        # In the gradient the given mean's rounding is relative to the offset, and shows relative to
        # the deviation.
        tol=8 + (2 * abs(offset) + 2 * math.sqrt(rows) if grad else 0),
        make=make,
        label=f"{dtype}{list(dims)}" + (f" offset {offset}" if offset else ""),
        **more,
    )


def inference(dims, dtype="float32", gamma=True, beta=True) -> Case:
    kind = _numpy_dtype(dtype)

    def make(rng):
        given = [rng.standard_normal(dims), rng.standard_normal(dims[-1:])]
        given += [rng.random(dims[-1:]) + 0.1]
        given += [rng.standard_normal(dims[-1:]) for _ in range(gamma + beta)]
        return [a.astype(kind) for a in given]

    inputs = [(dims, dtype)] + [(dims[-1:], dtype)] * (2 + gamma + beta)
    attrs = {"eps": 1e-3, **_flags(gamma, beta)}
    return Case("batch_norm_inference", inputs, attrs, make=make, bytes=math.prod(dims) * 8)


def group(dims, groups, dtype="float32", gamma=True, beta=True, grad=False, **more) -> Case:
    inputs = [(dims, dtype)] * (2 if grad else 1)
    inputs += [(dims[-1:], dtype)] * (gamma if grad else gamma + beta)
    return Case(
        "group_norm_grad" if grad else "group_norm",
        inputs,
        {"groups": groups, "eps": 1e-3, **_flags(gamma, beta)},
        bytes=math.prod(dims) * 4 * (5 if grad else 3),
        tol=8 + (2 * math.sqrt(math.prod(dims[:-1])) if grad else 0),
        **more,
    )


_HALF = ("float16", "bfloat16", "float64")

CASES = [
    *(layer(d, grad=g) for d in ((3, 37), (5, 64), (2, 3, 256), (0, 4)) for g in (0, 1)),
    layer((7, 1)),
    *(
        layer((3, 4, 10), 2, gamma=a, beta=b, grad=g)
        for a in (0, 1)
        for b in (0, 1)
        for g in (0, 1)
    ),
    *(layer((300, 129), grad=g) for g in (0, 1)),
    *(
        layer(d, dtype=t, grad=g)
        for d, t in (((9, 1024), "float32"), ((9, 24), "float64"))
        for g in (0, 1)
    ),
    *(layer((6, 45), dtype=t, grad=g) for t in _HALF for g in (0, 1)),
    *(rms(d, grad=g) for d in ((3, 37), (260, 128), (4, 2)) for g in (0, 1)),
    *(rms((3, 4, 11), 2, gamma=0, grad=g) for g in (0, 1)),
    *(rms((6, 45), dtype=t, grad=g) for t in _HALF for g in (0, 1)),
    *(batch(d, grad=g) for d in ((50, 3), (2, 5, 5, 16), (40, 129)) for g in (0, 1)),
    batch((1, 7)),
    *(batch((50, 37), dtype=t, clip=c) for c in ("relu", "relu6") for t in ("float32", *_HALF)),
    *(batch((50, 37), dtype=t, add=1, clip="relu") for t in ("float32", *_HALF)),
    *(batch((50, n), clip="relu", add=1) for n in (24, 1024)),
    *(batch((50, n), clip="relu", grad=1) for n in (24, 1024)),
    *(batch((50, 24), dtype="float64", grad=g) for g in (0, 1)),
    *(batch((51, 37), gamma=a, beta=b, add=1) for a, b in ((1, 1), (0, 1), (0, 0))),
    *(
        batch((50, 37), dtype=t, gamma=a, beta=b, clip=c, grad=1)
        for c in ("relu", "relu6")
        for a, b, t in ((1, 1, "float32"), (1, 1, "float64"), (0, 1, "float32"), (1, 0, "float32"))
    ),
    *(
        batch((3, 9, 24), gamma=a, beta=b, grad=g)
        for a, b in ((0, 0), (1, 0), (0, 1))
        for g in (0, 1)
    ),
    *(batch((2000, 17), grad=g) for g in (0, 1)),
    *(batch((4000, 40), offset=100.0, grad=g) for g in (0, 1)),
    *(batch((60, 21), dtype=t, grad=g) for t in _HALF for g in (0, 1)),
    inference((2, 3, 3, 20)),
    inference((40, 7), gamma=0),
    inference((40, 7), beta=0, dtype="float64"),
    inference((600, 64)),
    *(group((2, 5, 5, 16), n, grad=g) for n in (1, 4, 16) for g in (0, 1)),
    *(group((3, 60, 30), 5, gamma=a, beta=1 - a, grad=g) for a in (0, 1) for g in (0, 1)),
    *(group((2, 40, 40, 24), 3, grad=g) for g in (0, 1)),
    *(group((2, 9, 12), 4, dtype=t, grad=g) for t in _HALF for g in (0, 1)),
    # Speed.
    layer((2048, 256), speed=True, peer=_torch(_layer, True)),
    layer((4096, 1024), speed=True, peer=_torch(_layer, True)),
    layer((2048, 256), grad=True, speed=True, peer=_torch_grad(_layer, (1, 2))),
    layer((4096, 1024), grad=True, speed=True, peer=_torch_grad(_layer, (1, 2))),
    rms((2048, 1024), speed=True, peer=_torch(_rms, True)),
    rms((2048, 1024), grad=True, speed=True, peer=_torch_grad(_rms, (1, 2))),
    *(batch(d, speed=True, peer=_torch(_batch, True)) for d in ((8, 56, 56, 64), (8, 7, 7, 2048))),
    *(
        batch(
            d,
            grad=True,
            beta=False,
            speed=True,
            peer=_torch_grad(lambda t, x, g: _batch(t, x, g, t.zeros_like(g)), (1, 4)),
        )
        for d in ((8, 56, 56, 64), (8, 7, 7, 2048))
    ),
    group((8, 28, 28, 128), 32, speed=True, peer=_torch(_group(32), True)),
]
