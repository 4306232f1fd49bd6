"""Softmax, log-softmax, cross-entropies and their gradients.

Tolerance: an exponential is right to 2 eps and the sum, of n positive numbers added in lanes and
blocks, to about sqrt(n) / 4 eps; products and the reciprocal add 2.
"""

from __future__ import annotations

import math

import numpy as np

from bench.harness import Case, _numpy_dtype


def _torch(forward):
    def build(arrays):
        import torch

        tensors = [torch.from_numpy(a) for a in arrays]
        return lambda: forward(torch, *tensors)

    return {"torch": build}


def _torch_softmax(name, axis):
    return _torch(lambda torch, x: getattr(torch, name)(x, axis))


def _torch_softmax_grad(axis):
    return _torch(
        lambda torch, ct, y: torch.ops.aten._softmax_backward_data(ct, y, axis, torch.float32)
    )


def _by_label(torch, x, labels):
    return torch.nn.functional.cross_entropy(x, labels.long(), reduction="none")


def _by_target(torch, x, targets):
    return torch.nn.functional.cross_entropy(x, targets, reduction="none")


def _sigmoid_loss(torch, targets, x):
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return loss(x, targets, reduction="none")


def _torch_loss_grad(forward):
    def build(arrays):
        import torch

        ct, x, other = (torch.from_numpy(a) for a in arrays)
        y = forward(torch, x.requires_grad_(), other)
        return lambda: torch.autograd.grad(y, x, ct, retain_graph=True)

    return {"torch": build}


def _tol(n):
    return 6 + math.sqrt(n) / 2


def softmax(dims, axis=-1, dtype="float32", log=False, grad=False, **more) -> Case:
    axis %= len(dims)
    kind = _numpy_dtype(dtype)

    def make(rng):
        x = rng.standard_normal(dims)
        if not grad:
            return [(4 * x).astype(kind)]
        e = np.exp(x)
        y = e / e.sum(axis, keepdims=True)
        y = np.log(y) if log else y
        return [rng.standard_normal(dims).astype(kind), y.astype(kind)]

    op = ("log_" if log else "") + "softmax" + ("_grad" if grad else "")
    size = math.prod(dims) * 4
    peer = None
    if more.get("speed"):
        peer = _torch_softmax_grad(axis) if grad else _torch_softmax(op, axis)
    return Case(
        op,
        [(dims, dtype)] * (2 if grad else 1),
        {"axis": axis},
        bytes=size * (3 if grad else 2),
        tol=_tol(dims[axis]),
        make=make,
        peer=peer,
        label=f"{dtype}{list(dims)}",
        **more,
    )


def labelled(dims, dtype="float32", labels="int32", grad=False, outside=False, **more) -> Case:
    kind = _numpy_dtype(dtype)

    def make(rng):
        given = [rng.standard_normal(dims[:-1]).astype(kind)] if grad else []
        low, high = (-2, dims[-1] + 2) if outside else (0, dims[-1])
        return [
            *given,
            (3 * rng.standard_normal(dims)).astype(kind),
            rng.integers(low, high, dims[:-1]).astype(labels),
        ]

    peer = None
    if more.get("speed"):
        peer = _torch_loss_grad(_by_label) if grad else _torch(_by_label)
    return Case(
        "sparse_softmax_cross_entropy" + ("_grad" if grad else ""),
        [(dims[:-1], dtype)] * grad + [(dims, dtype), (dims[:-1], labels)],
        bytes=math.prod(dims) * 4 * (1 + grad),
        tol=_tol(dims[-1]),
        make=make,
        peer=peer,
        label=f"{dtype}{list(dims)} {labels}" + (" outside" if outside else ""),
        **more,
    )


def targeted(dims, dtype="float32", grad=False, **more) -> Case:
    kind = _numpy_dtype(dtype)
    peer = None
    if more.get("speed"):
        peer = _torch_loss_grad(_by_target) if grad else _torch(_by_target)

    def make(rng):
        given = [rng.standard_normal(dims[:-1]).astype(kind)] if grad else []
        return [
            *given,
            (3 * rng.standard_normal(dims)).astype(kind),
            rng.random(dims).astype(kind),
        ]

    return Case(
        "softmax_cross_entropy" + ("_grad" if grad else ""),
        [(dims[:-1], dtype)] * grad + [(dims, dtype)] * 2,
        bytes=math.prod(dims) * 4 * (2 + grad),
        tol=_tol(dims[-1]),
        make=make,
        peer=peer,
        label=f"{dtype}{list(dims)}",
        **more,
    )


_HALF = ("float16", "bfloat16", "float64")
_BOTH = (False, True)

CASES = [
    *(
        softmax(d, log=l, grad=g)
        for d in ((1,), (5, 10), (3, 64), (2, 7, 129), (40, 1000), (0, 3))
        for l in _BOTH
        for g in _BOTH
    ),
    *(
        softmax(d, a, log=l, grad=g)
        for d, a in (((5, 7), 0), ((3, 9, 20), 1), ((2, 4, 300), 1), ((6, 5, 1), 1))
        for l in _BOTH
        for g in _BOTH
    ),
    *(softmax((4, 45), dtype=t, log=l, grad=g) for t in _HALF for l in _BOTH for g in _BOTH),
    *(labelled(d, grad=g) for d in ((10,), (7, 10), (3, 5, 33), (300, 100)) for g in _BOTH),
    *(labelled((20, 13), labels=t, outside=t[0] == "i", grad=g)
      for t in ("int64", "int8", "uint8", "uint16") for g in _BOTH),
    *(labelled((9, 17), dtype=t, grad=g) for t in _HALF for g in _BOTH),
    *(targeted(d, grad=g) for d in ((10,), (7, 10), (3, 5, 33), (300, 100)) for g in _BOTH),
    *(targeted((9, 17), dtype=t, grad=g) for t in _HALF for g in _BOTH),
    *(Case("sigmoid_cross_entropy", [(d, t)] * 2, tol=6)
      for d, t in (((3, 37), "float32"), ((5, 9), "bfloat16"), ((5, 9), "float64"))),
    # Rows of few elements, a vector of rows at a time.
    *(softmax((37, n), log=l, grad=g) for n in (2, 31) for l in _BOTH for g in _BOTH),
    *(labelled((37, n), grad=g, outside=True) for n in (2, 31) for g in _BOTH),
    *(targeted((37, n), grad=g) for n in (2, 31) for g in _BOTH),
    # Speed.
    *(softmax((n, c), speed=True) for n, c in ((262144, 3), (65536, 10))),
    *(labelled((n, c), grad=g, speed=True)
      for n, c in ((262144, 3), (65536, 10)) for g in _BOTH),
    softmax((2048, 128), speed=True),
    softmax((2048, 1000), speed=True),
    softmax((128, 30000), speed=True),
    softmax((16, 1000, 64), 1, speed=True),
    softmax((2048, 1000), log=True, speed=True),
    softmax((2048, 1000), grad=True, speed=True),
    labelled((2048, 8000), speed=True),
    labelled((2048, 8000), grad=True, speed=True),
    targeted((2048, 1000), speed=True),
    targeted((2048, 1000), grad=True, speed=True),
    Case("sigmoid_cross_entropy", [((2048, 1000), "float32")] * 2, tol=6, speed=True,
         bytes=12 * 2048 * 1000, peer=_torch(_sigmoid_loss)),
]  # fmt: skip
