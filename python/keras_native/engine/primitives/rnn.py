"""LSTM and GRU over all time steps, after the projection of their inputs.

Operands are [batch, time, ...]. Step s reads time s, or from the end with `reverse`; outputs are in
the order of steps. A step whose mask is false leaves the states; its output is the state, or zero
with `zero_output`. Without `sequences` the last output alone is returned. With `keep` the forward
pass also returns what the backward pass needs, which a pass over the graph drops when nobody asks.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import matmul as mm
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.primitives.decomposed import vjp_through
from keras_native.engine.tensor import Tensor


def _check(op: str, x, states, w, bias, mask, gates: int):
    """(batch, time, units) of [batch, time, gates * units] beside [batch, units] and the rest."""
    tensors = [t for t in (x, *states, w, bias, mask) if t is not None]
    floats = [t for t in tensors if t is not mask]
    if x.dtype not in dtypes.FLOATS or any(t.dtype != x.dtype for t in floats):
        raise TypeError(f"{op}: expected one floating dtype, got {signature(tensors)}")
    if mask is not None and mask.dtype != "bool":
        raise TypeError(f"{op}: expected a bool mask, got {signature(tensors)}")
    fits = x.ndim == 3 and w.ndim == 2
    if fits:
        batch, time, units = x.dims[0], x.dims[1], w.dims[0]
        fits = x.dims[2] == gates * units and w.dims[1] == gates * units
        fits = fits and all(s.dims == (batch, units) for s in states)
        fits = fits and (bias is None or bias.dims == (gates * units,))
        fits = fits and (mask is None or mask.dims == (batch, time))
    if not fits:
        raise ValueError(
            f"{op}: expected [batch, time, {gates} units], states [batch, units], weights [units, "
            f"{gates} units] and, if any, a mask [batch, time]; got {signature(tensors)}"
        )
    return batch, time, units


def _parts(x: Tensor, count: int) -> list[Tensor]:
    units = x.dims[-1] // count
    lead = (0,) * (x.ndim - 1)
    full = (None,) * (x.ndim - 1)
    return [ss.slice(x, (*lead, i * units), (*full, (i + 1) * units)) for i in range(count)]


def _wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _times(steps: int, reverse: bool):
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _emit(outputs, s: int, counts, h, before, zero_output: bool):
    """Writes the output of step s; returns the state after it."""
    kept = np.where(counts, h, before)
    shown = np.where(counts, h, 0) if zero_output else kept
    # The last output alone, or all of them.
    outputs[:, min(s, outputs.shape[1] - 1)] = shown
    return kept


def _counts(mask, t: int):
    return np.bool_(True) if mask is None else mask[:, t, None]


def _scan(step, x, states, mask, reverse, zero_output, sequences, keep):
    """The loop as a scan over `step(x, states) -> (states, gates)`, the first state being the
    output: outputs and last states, and with `keep` the gates and the states before each step."""
    from keras_native.engine.control import scan

    def body(before, slices):
        after, gates = step(slices[0], before)
        output = after[0]
        if mask is not None:
            counts = sh.expand_dims(slices[1], -1)
            after = [ew.select(counts, new, old) for new, old in zip(after, before)]
            hidden = sh.zeros(output.dims, output.dtype) if zero_output else after[0]
            output = ew.select(counts, output, hidden)
            gates = ew.select(counts, gates, sh.zeros(gates.dims, gates.dtype))
        return after, [output, *([gates, *before] if keep else ())]

    xs = [sh.transpose(x, (1, 0, 2))]
    if mask is not None:
        xs.append(sh.transpose(mask, (1, 0)))
    states, rows = scan(body, list(states), xs, reverse=reverse)
    outputs, *kept = (sh.transpose(t, (1, 0, 2)) for t in rows)
    # What a scan makes of a slice stands where the slice stood.
    if reverse:
        outputs = sh.flip(outputs, (1,))
    if not sequences:
        time = outputs.dims[1]
        outputs = ss.slice(outputs, (0, time - 1, 0), (None, time, None))
    return (outputs, *states, *kept)


def _zeros_for(ct, like):
    return sh.zeros(like.dims, like.dtype) if ct is None else ct


def _weight_gradient(h: Tensor, dz: Tensor) -> Tensor:
    """Sum over batch and time of outer products."""
    rows = h.dims[0] * h.dims[1]
    h = sh.reshape(h, (rows, h.dims[2]))
    return mm.matmul(h, sh.reshape(dz, (rows, dz.dims[2])), transpose_a=True)


def _optional(rest, *flags):
    """The optional operands in their order, None for those that are absent."""
    rest = iter(rest)
    return [next(rest) if flag else None for flag in flags]


# LSTM: gates i, f, g, o.


def _lstm_shape(x, h, c, w, *rest, has_mask, sequences, keep, **_):
    (mask,) = _optional(rest, has_mask)
    batch, time, units = _check("lstm", x, (h, c), w, None, mask, 4)
    outputs = [(batch, time if sequences else 1, units), (batch, units), (batch, units)]
    if keep:
        outputs += [(batch, time, 4 * units), (batch, time, units), (batch, time, units)]
    return [(dims, x.dtype) for dims in outputs]


def _lstm_reference(x, h, c, w, *rest, has_mask, reverse, zero_output, sequences, keep):
    (mask,) = _optional(rest, has_mask)
    x, h, c, w = map(_wide, (x, h, c, w))
    (batch, time), units = x.shape[:2], w.shape[0]
    outputs = np.zeros((batch, time if sequences else 1, units), x.dtype)
    gates, hs, cs = (np.zeros((batch, time, k * units), x.dtype) for k in (4, 1, 1))
    for s, t in enumerate(_times(time, reverse)):
        i, f, g, o = np.split(x[:, t] + h @ w, 4, -1)
        i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
        counts, new = _counts(mask, t), f * c + i * g
        gates[:, t] = np.where(counts, np.concatenate((i, f, g, o), -1), 0)
        hs[:, t], cs[:, t] = h, c
        h = _emit(outputs, s, counts, o * np.tanh(new), h, zero_output)
        c = np.where(counts, new, c)
    return (outputs, h, c, gates, hs, cs) if keep else (outputs, h, c)


def _lstm_decompose(x, h, c, w, *rest, has_mask, reverse, zero_output, sequences, keep=False):
    (mask,) = _optional(rest, has_mask)

    def step(x, states):
        h, c = states
        i, f, g, o = _parts(ew.add(x, mm.matmul(h, w)), 4)
        i, f, g, o = ew.sigmoid(i), ew.sigmoid(f), ew.tanh(g), ew.sigmoid(o)
        c = ew.add(ew.mul(f, c), ew.mul(i, g))
        return [ew.mul(o, ew.tanh(c)), c], sh.concat([i, f, g, o], 1)

    return _scan(step, x, (h, c), mask, reverse, zero_output, sequences, keep)


def _lstm_vjp(cts, outs, x, h, c, w, *rest, keep, **attrs):
    if not keep or any(ct is not None for ct in cts[3:]):
        attrs["keep"] = keep
        return vjp_through(lambda *t: _lstm_decompose(*t, **attrs), cts, (x, h, c, w, *rest))
    flowing = [_zeros_for(ct, out) for ct, out in zip(cts, outs[:3])]
    dx, dh, dc = _lstm_grad(x, h, c, w, *flowing, *outs[3:], *rest, **attrs)
    return (dx, dh, dc, _weight_gradient(outs[4], dx), *(None for _ in rest))


_lstm = Primitive(
    "lstm",
    shape=_lstm_shape,
    reference=_lstm_reference,
    vjp=_lstm_vjp,
    decompose=_lstm_decompose,
)


def _lstm_grad_shape(x, h, c, w, dy, dh, dc, gates, hs, cs, *rest, has_mask, **_):
    (mask,) = _optional(rest, has_mask)
    _check("lstm_grad", x, (h, c, dh, dc), w, None, mask, 4)
    return [(t.dims, t.dtype) for t in (x, h, c)]


def _lstm_grad_reference(
    x, h, c, w, dy, dh, dc, gates, hs, cs, *rest, has_mask, reverse, zero_output, sequences
):
    (mask,) = _optional(rest, has_mask)
    w, dy, dh, dc, gates, cs = map(_wide, (w, dy, dh, dc, gates, cs))
    dx, times = np.zeros(x.shape, w.dtype), list(_times(x.shape[1], reverse))
    for s in reversed(range(len(times))):
        t = times[s]
        counts = _counts(mask, t)
        given = dy[:, s] if sequences else dy[:, 0] * (s == len(times) - 1)
        total = dh + (np.where(counts, given, 0) if zero_output else given)
        i, f, g, o = np.split(gates[:, t], 4, -1)
        y = np.tanh(f * cs[:, t] + i * g)
        flow = dc + total * o * (1 - y * y)
        parts = (
            flow * g * i * (1 - i),
            flow * cs[:, t] * f * (1 - f),
            flow * i * (1 - g * g),
            total * y * o * (1 - o),
        )
        dx[:, t] = np.where(counts, np.concatenate(parts, -1), 0)
        dh = np.where(counts, dx[:, t] @ w.T, total)
        dc = np.where(counts, flow * f, dc)
    return dx, dh, dc


def _lstm_grad_decompose(x, h, c, w, dy, dh, dc, gates, hs, cs, *rest, **attrs):
    inputs = (x, h, c, w, *rest)
    return vjp_through(lambda *t: _lstm_decompose(*t, **attrs), (dy, dh, dc), inputs)[:3]


_lstm_grad = Primitive(
    "lstm_grad",
    shape=_lstm_grad_shape,
    reference=_lstm_grad_reference,
    vjp=lambda cts, _, *inputs, **attrs: vjp_through(
        lambda *t: _lstm_grad_decompose(*t, **attrs), cts, inputs
    ),
    decompose=_lstm_grad_decompose,
)


def lstm(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    w: Tensor,
    mask: Tensor | None = None,
    *,
    reverse: bool = False,
    zero_output: bool = False,
    sequences: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """A long short-term memory with sigmoid gates and tanh, over all time steps.

    Args:
        x: [batch, time, 4 * units], the projected inputs with their bias; gates i, f, g, o.
        h, c: [batch, units], the states before the first step.
        w: [units, 4 * units].
        mask: bool [batch, time]; see the module.

    Returns:
        Outputs [batch, time, units] ([batch, 1, units] without `sequences`), and the last h and c.

    Raises:
        TypeError, ValueError: dtypes or shapes do not fit.
    """
    rest = () if mask is None else (mask,)
    attrs = {"reverse": reverse, "zero_output": zero_output, "sequences": sequences}
    return _lstm(x, h, c, w, *rest, has_mask=mask is not None, keep=True, **attrs)[:3]


# GRU: gates z, r and the new state.


def _gru_shape(x, h, w, *rest, has_bias, has_mask, sequences, keep, **_):
    bias, mask = _optional(rest, has_bias, has_mask)
    batch, time, units = _check("gru", x, (h,), w, bias, mask, 3)
    outputs = [(batch, time if sequences else 1, units), (batch, units)]
    if keep:
        outputs += [(batch, time, 4 * units), (batch, time, units)]
    return [(dims, x.dtype) for dims in outputs]


def _gru_reference(
    x, h, w, *rest, has_bias, has_mask, reset_after, reverse, zero_output, sequences, keep
):
    bias, mask = _optional(rest, has_bias, has_mask)
    x, h, w = map(_wide, (x, h, w))
    bias = np.zeros(w.shape[1], w.dtype) if bias is None else _wide(bias)
    (batch, time), units = x.shape[:2], w.shape[0]
    outputs = np.zeros((batch, time if sequences else 1, units), x.dtype)
    gates, hs = (np.zeros((batch, time, k * units), x.dtype) for k in (4, 1))
    for s, t in enumerate(_times(time, reverse)):
        x_z, x_r, x_n = np.split(x[:, t], 3, -1)
        s_z, s_r, s_n = np.split(h @ w + bias, 3, -1)
        z, r = _sigmoid(x_z + s_z), _sigmoid(x_r + s_r)
        inner = s_n if reset_after else r * h
        new = np.tanh(x_n + (r * s_n if reset_after else inner @ w[:, 2 * units :]))
        counts = _counts(mask, t)
        gates[:, t] = np.where(counts, np.concatenate((z, r, new, inner), -1), 0)
        hs[:, t] = h
        h = _emit(outputs, s, counts, z * h + (1 - z) * new, h, zero_output)
    return (outputs, h, gates, hs) if keep else (outputs, h)


def _gru_decompose(
    x, h, w, *rest, has_bias, has_mask, reset_after, reverse, zero_output, sequences, keep=False
):
    bias, mask = _optional(rest, has_bias, has_mask)

    def step(x, states):
        (h,) = states
        x_z, x_r, x_n = _parts(x, 3)
        if reset_after:
            s_z, s_r, s_n = _parts(mm.linear(h, w, bias), 3)
        else:
            w_z, w_r, w_n = _parts(w, 3)
            s_z, s_r = mm.matmul(h, w_z), mm.matmul(h, w_r)
        z, r = ew.sigmoid(ew.add(x_z, s_z)), ew.sigmoid(ew.add(x_r, s_r))
        if reset_after:
            inner = ew.mul(r, s_n)
        else:
            reset = ew.mul(r, h)
            inner = mm.matmul(reset, w_n)
        new = ew.tanh(ew.add(x_n, inner))
        gates = sh.concat([z, r, new, s_n if reset_after else reset], 1)
        one = sh.full((), 1, z.dtype)
        return [ew.add(ew.mul(z, h), ew.mul(ew.sub(one, z), new))], gates

    return _scan(step, x, (h,), mask, reverse, zero_output, sequences, keep)


def _gru_vjp(cts, outs, x, h, w, *rest, has_bias, has_mask, reset_after, keep, **attrs):
    attrs.update(has_bias=has_bias, has_mask=has_mask, reset_after=reset_after)
    if not keep or any(ct is not None for ct in cts[2:]):
        attrs["keep"] = keep
        return vjp_through(lambda *t: _gru_decompose(*t, **attrs), cts, (x, h, w, *rest))
    bias, mask = _optional(rest, has_bias, has_mask)
    flowing = [_zeros_for(ct, out) for ct, out in zip(cts, outs[:2])]
    operands = [t for t in (x, h, w, bias, *flowing, *outs[2:], mask) if t is not None]
    grads = _gru_grad(*operands, **attrs)
    dx, dh, states = grads[0], grads[1], outs[3]
    if reset_after:
        dw = _weight_gradient(states, grads[2])
    else:
        units = w.dims[0]
        inner = _parts(outs[2], 4)[3]
        first = ss.slice(dx, (0, 0, 0), (None, None, 2 * units))
        last = ss.slice(dx, (0, 0, 2 * units), (None, None, None))
        dw = sh.concat([_weight_gradient(states, first), _weight_gradient(inner, last)], 1)
    dbias = (rd.reduce_sum(grads[2], (0, 1)),) if has_bias else ()
    return (dx, dh, dw, *dbias, *((None,) if has_mask else ()))


_gru = Primitive(
    "gru", shape=_gru_shape, reference=_gru_reference, vjp=_gru_vjp, decompose=_gru_decompose
)


def _gru_grad_operands(rest, has_bias, has_mask):
    """bias, dy, dh, gates, hs, mask."""
    rest = list(rest)
    bias = rest.pop(0) if has_bias else None
    mask = rest.pop() if has_mask else None
    return (bias, *rest, mask)


def _gru_grad_shape(x, h, w, *rest, has_bias, has_mask, reset_after, **_):
    bias, _dy, dh, _gates, _hs, mask = _gru_grad_operands(rest, has_bias, has_mask)
    _check("gru_grad", x, (h, dh), w, bias, mask, 3)
    outputs = (x, h, x) if reset_after else (x, h)
    return [(t.dims, t.dtype) for t in outputs]


def _gru_grad_reference(
    x, h, w, *rest, has_bias, has_mask, reset_after, reverse, zero_output, sequences
):
    _, dy, dh, gates, hs, mask = _gru_grad_operands(rest, has_bias, has_mask)
    w, dy, dh, gates, hs = map(_wide, (w, dy, dh, gates, hs))
    units = w.shape[0]
    dx, ds = np.zeros(x.shape, w.dtype), np.zeros(x.shape, w.dtype)
    times = list(_times(x.shape[1], reverse))
    for s in reversed(range(len(times))):
        t = times[s]
        counts = _counts(mask, t)
        given = dy[:, s] if sequences else dy[:, 0] * (s == len(times) - 1)
        total = dh + (np.where(counts, given, 0) if zero_output else given)
        z, r, new, inner = np.split(gates[:, t], 4, -1)
        dz = total * (hs[:, t] - new) * z * (1 - z)
        dn = total * (1 - z) * (1 - new * new)
        if reset_after:
            dr, before = dn * inner, total * z
        else:
            back = dn @ w[:, 2 * units :].T
            dr, before = back * hs[:, t], total * z + back * r
        dr = dr * r * (1 - r)
        dx[:, t] = np.where(counts, np.concatenate((dz, dr, dn), -1), 0)
        ds[:, t] = np.where(counts, np.concatenate((dz, dr, dn * r), -1), 0)
        if reset_after:
            before = before + ds[:, t] @ w.T
        else:
            before = before + dx[:, t, : 2 * units] @ w[:, : 2 * units].T
        dh = np.where(counts, before, total)
    return (dx, dh, ds) if reset_after else (dx, dh)


def _gru_grad_decompose(x, h, w, *rest, has_bias, has_mask, **attrs):
    bias, dy, dh, _gates, _hs, mask = _gru_grad_operands(rest, has_bias, has_mask)
    attrs.update(has_bias=has_bias, has_mask=has_mask)
    inputs = [t for t in (x, h, w, bias, mask) if t is not None]
    dx, dh = vjp_through(lambda *t: _gru_decompose(*t, **attrs), (dy, dh), inputs)[:2]
    if not attrs["reset_after"]:
        return dx, dh
    # The state's product in the third gate has r between it and the sum that the input is added to.
    gates = _gru_decompose(*inputs, **attrs, keep=True)[2]
    (_, r, _, _), (dz, dr, dn) = _parts(gates, 4), _parts(dx, 3)
    return dx, dh, sh.concat([dz, dr, ew.mul(dn, r)], 2)


_gru_grad = Primitive(
    "gru_grad",
    shape=_gru_grad_shape,
    reference=_gru_grad_reference,
    vjp=lambda cts, _, *inputs, **attrs: vjp_through(
        lambda *t: _gru_grad_decompose(*t, **attrs), cts, inputs
    ),
    decompose=_gru_grad_decompose,
)


def gru(
    x: Tensor,
    h: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    reset_after: bool = True,
    reverse: bool = False,
    zero_output: bool = False,
    sequences: bool = True,
) -> tuple[Tensor, Tensor]:
    """A gated recurrent unit with sigmoid gates and tanh, over all time steps.

    Args:
        x: [batch, time, 3 * units], the projected inputs with their bias; gates z, r, new.
        h: [batch, units], the state before the first step.
        w: [units, 3 * units].
        bias: [3 * units], added to the product of the state; only with `reset_after`.
        mask: bool [batch, time]; see the module.
        reset_after: r multiplies the state's product; otherwise the state before it.

    Returns:
        Outputs [batch, time, units] ([batch, 1, units] without `sequences`), and the last state.

    Raises:
        TypeError, ValueError: dtypes or shapes do not fit.
    """
    if bias is not None and not reset_after:
        raise ValueError("gru: a bias of the state's product needs reset_after")
    attrs = {"reverse": reverse, "zero_output": zero_output, "sequences": sequences}
    attrs.update(has_bias=bias is not None, has_mask=mask is not None, reset_after=reset_after)
    rest = [t for t in (bias, mask) if t is not None]
    return _gru(x, h, w, *rest, keep=True, **attrs)[:2]
