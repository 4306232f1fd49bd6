"""LSTM and GRU over time, and their gradients.

Tolerance: a gate is off by a few eps and by the rounding of a sum of `units` products; errors of
one step pass to the next with a factor that these weights keep near 1, so they add up over time.
"""

from __future__ import annotations

import itertools
import math

from bench.harness import Case, random

FLAGS = ("reverse", "zero_output", "sequences")


def _operands(rng, gates, batch, time, units, dtype, mask, bias):
    """x, states, weights of ordinary size, and a mask of which a third is false."""

    def normal(*shape, scale=1.0):
        return random(rng, shape, "float64") * scale

    x = normal(batch, time, gates * units)
    w = normal(units, gates * units, scale=1 / math.sqrt(units))
    extra = [normal(gates * units)] if bias else []
    masks = [rng.random((batch, time)) < 0.67] if mask else []
    like = random(rng, (0,), dtype).dtype
    cast = lambda *ts: [t.astype(like) for t in ts]  # noqa: E731
    return cast(x), lambda: cast(normal(batch, units))[0], cast(w), cast(*extra), masks


def _kept(rng, gates, states, batch, time, units, like):
    """Activated gates and earlier states, as the forward pass leaves them."""
    g = rng.random((batch, time, gates * units)) * 0.9 + 0.05
    return [a.astype(like) for a in (g, *(rng.standard_normal((batch, time, units)),) * states)]


def _torch(gates, batch, time, units, grad, keep):
    """PyTorch's layer, of one channel: the product of the input is not part of ours. It keeps what
    its gradient needs if ours does."""
    import torch

    layer = {4: torch.nn.LSTM, 3: torch.nn.GRU}[gates](1, units, batch_first=True)
    x = torch.randn(batch, time, 1, requires_grad=grad)
    if not grad:
        return (lambda: layer(x)) if keep else torch.no_grad()(lambda: layer(x))
    y = layer(x)[0]
    operands, ct = [x, *layer.parameters()], torch.randn(batch, time, units)
    return lambda: torch.autograd.grad(y, operands, ct, retain_graph=True)


def _jax_step(jax, gates):
    """A cell as a step of jax.lax.scan, made of the operands that follow its states."""
    sigmoid, tanh, split = jax.nn.sigmoid, jax.numpy.tanh, jax.numpy.split

    def lstm(w):
        def step(state, x):
            h, c = state
            i, f, g, o = split(x + h @ w, 4, -1)
            c = sigmoid(f) * c + sigmoid(i) * tanh(g)
            h = sigmoid(o) * tanh(c)
            return (h, c), h

        return step

    def gru(w, bias):
        def step(state, x):
            (h,) = state
            (x_z, x_r, x_n), (s_z, s_r, s_n) = split(x, 3, -1), split(h @ w + bias, 3, -1)
            z, r = sigmoid(x_z + s_z), sigmoid(x_r + s_r)
            h = z * h + (1 - z) * tanh(x_n + r * s_n)
            return (h,), h

        return step

    return {4: lstm, 3: gru}[gates]


def _jax(arrays, gates, states, grad, keep):
    """The same recurrence of projected inputs by jax.lax.scan; with what its gradient needs if ours
    keeps that."""
    import jax

    count = 1 + states + {4: 1, 3: 2}[gates]
    operands, cts = [jax.numpy.asarray(a) for a in arrays[:count]], arrays[count:]
    build = _jax_step(jax, gates)

    def layer(x, *rest):
        _, y = jax.lax.scan(build(*rest[states:]), rest[:states], x.swapaxes(0, 1))
        return y.swapaxes(0, 1)

    if grad:
        pull = jax.jit(jax.vjp(layer, *operands)[1])
        ct = jax.numpy.asarray(cts[0])
        return lambda: jax.block_until_ready(pull(ct))
    run = jax.jit((lambda *t: jax.vjp(layer, *t)) if keep else layer)
    return lambda: jax.block_until_ready(run(*operands))


def _case(op, gates, states, batch, time, units, dtype, grad, mask, bias, speed, attrs):
    attrs = {"reverse": False, "zero_output": False, "sequences": True, **attrs}
    attrs["has_mask"] = mask
    if not grad:
        attrs.setdefault("keep", True)

    def make(rng):
        x, state, w, extra, masks = _operands(rng, gates, batch, time, units, dtype, mask, bias)
        operands = [*x, *(state() for _ in range(states)), *w, *extra]
        if grad:
            steps = time if attrs["sequences"] else 1
            operands += [rng.standard_normal((batch, steps, units)).astype(x[0].dtype)]
            operands += [state() for _ in range(states)]
            operands += _kept(rng, 4, states, batch, time, units, x[0].dtype)
        return [*operands, *masks]

    peer = None
    if speed:
        keep = attrs.get("keep")
        peer = {
            "torch": lambda arrays: _torch(gates, batch, time, units, grad, keep),
            "jax": lambda arrays: _jax(arrays, gates, states, grad, keep),
        }
    work = 2 * batch * time * units * gates * units
    size = 4 * batch * time * units * (gates + 6)
    chosen = [k for k in (*FLAGS, "reset_after") if attrs.get(k)]
    label = f"{dtype}[{batch}x{time}x{units}]" + "".join(
        f",{k}" for k in (*chosen, *(["mask"] * mask), *(["bias"] * bias))
    )
    inputs = (((batch, time, gates * units), dtype),)
    tol = 8 * (2 + math.sqrt(units)) * (1 + math.sqrt(time))
    name = f"{op}_grad" if grad else op
    return Case(
        name, inputs, attrs, work, size, tol, grad=False, speed=speed, make=make, label=label,
        peer=peer,
    )  # fmt: skip


def lstm(batch, time, units, dtype="float32", grad=False, mask=False, speed=False, **attrs):
    """A case of `lstm` or its gradient."""
    return _case("lstm", 4, 2, batch, time, units, dtype, grad, mask, False, speed, attrs)


def gru(
    batch, time, units, dtype="float32", grad=False, mask=False, speed=False, bias=None, **attrs
):
    """A case of `gru` or its gradient."""
    attrs.setdefault("reset_after", True)
    bias = attrs["reset_after"] if bias is None else bias
    attrs["has_bias"] = bias
    return _case("gru", 3, 1, batch, time, units, dtype, grad, mask, bias, speed, attrs)


def before(*args, **kwargs):
    """A GRU whose reset gate comes before the product."""
    return gru(*args, reset_after=False, **kwargs)


CASES = [
    make(*size, dtype, grad=grad)
    for make in (lstm, gru, before)
    for *size, dtype in (
        (3, 4, 5, "float32"),
        (1, 3, 7, "float32"),
        (2, 1, 64, "float32"),
        (37, 3, 33, "float32"),
        (0, 2, 4, "float32"),
        (2, 0, 4, "float32"),
        (3, 4, 5, "float64"),
        (3, 4, 5, "bfloat16"),
        # Weights that are more than a cache holds.
        (5, 2, 256, "float32"),
        (1, 2, 256, "float32"),
    )
    for grad in (False, True)
]
CASES += [
    make(4, 5, 6, grad=grad, mask=True, **dict(zip(FLAGS, flags)))
    for make in (lstm, gru, before)
    for flags in itertools.product((False, True), repeat=3)
    for grad in (False, True)
]
CASES += [gru(3, 4, 5, bias=False, grad=grad) for grad in (False, True)]
# Work for two tasks and for four, the last of which has fewer sequences.
CASES += [
    make(*size, grad=grad, mask=True, **how)
    for make, how in ((lstm, {}), (gru, {}), (before, {}), (lstm, {"reverse": True}))
    for size in ((7, 12, 48), (17, 9, 48))
    for grad in (False, True)
]
CASES += [make(5, 3, 256, grad=g, mask=True) for make in (lstm, gru, before) for g in (False, True)]
CASES += [
    make(*size, speed=True, **how)
    for make in (lstm, gru)
    for size in ((64, 80, 128), (32, 50, 512), (8, 80, 128), (1, 80, 128))
    for how in ({"keep": False}, {}, {"grad": True})
]
