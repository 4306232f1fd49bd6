"""The elementwise part of recurrent cells: everything after the products, in one pass."""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.decomposed import vjp_through
from keras_native.engine.tensor import Tensor


def _check(op: str, gated, states, gates: int) -> None:
    """Tensors [..., gates * units] beside states [..., units], all of one floating dtype."""
    tensors = (*gated, *states)
    if any(t.dtype != states[0].dtype for t in tensors) or states[0].dtype not in dtypes.FLOATS:
        raise TypeError(f"{op}: expected one floating dtype, got {signature(tensors)}")
    dims = states[0].dims
    wide = dims[:-1] + (gates * dims[-1],) if dims else None
    if any(t.dims != wide for t in gated) or any(t.dims != dims for t in states):
        raise ValueError(
            f"{op}: expected [..., {gates} units] and [..., units]: {signature(tensors)}"
        )


def _parts(x: Tensor, count: int) -> list[Tensor]:
    units = x.dims[-1] // count
    lead = (0,) * (x.ndim - 1)
    full = (None,) * (x.ndim - 1)
    return [sh.slice(x, (*lead, i * units), (*full, (i + 1) * units)) for i in range(count)]


def _split(x: np.ndarray, count: int):
    wide = x.astype(np.float32) if x.dtype.itemsize < 4 else x
    return np.split(wide, count, -1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


# LSTM: gates i, f, g, o.


def _lstm_shape(z, c):
    _check("lstm_cell", (z,), (c,), 4)
    return [(c.dims, c.dtype), (c.dims, c.dtype)]


def _lstm_reference(z, c):
    i, f, g, o = _split(z, 4)
    following = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(following), following


def _lstm_decompose(z, c):
    i, f, g, o = _parts(z, 4)
    following = ew.add(ew.mul(ew.sigmoid(f), c), ew.mul(ew.sigmoid(i), ew.tanh(g)))
    return ew.mul(ew.sigmoid(o), ew.tanh(following)), following


def _lstm_vjp(cts, _, z, c):
    dh, dnext = (sh.zeros(c.dims, c.dtype) if ct is None else ct for ct in cts)
    return _lstm_grad(z, c, dh, dnext)


_lstm = Primitive(
    "lstm_cell",
    shape=_lstm_shape,
    reference=_lstm_reference,
    vjp=_lstm_vjp,
    decompose=_lstm_decompose,
)


def _lstm_grad_shape(z, c, dh, dnext):
    _check("lstm_cell_grad", (z,), (c, dh, dnext), 4)
    return [(z.dims, z.dtype), (c.dims, c.dtype)]


def _lstm_grad_reference(z, c, dh, dnext):
    i, f, g, o = _split(z, 4)
    i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
    t = np.tanh(f * c + i * g)
    flow = dnext + dh * o * (1 - t * t)
    parts = (
        flow * g * i * (1 - i),
        flow * c * f * (1 - f),
        flow * i * (1 - g * g),
        dh * t * o * (1 - o),
    )
    return np.concatenate(parts, -1), flow * f


def _lstm_grad_decompose(z, c, dh, dnext):
    return vjp_through(_lstm_decompose, (dh, dnext), (z, c))


_lstm_grad = Primitive(
    "lstm_cell_grad",
    shape=_lstm_grad_shape,
    reference=_lstm_grad_reference,
    vjp=lambda cts, _, *inputs: vjp_through(_lstm_grad_decompose, cts, inputs),
    decompose=_lstm_grad_decompose,
)


def lstm_cell(z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One step of a long short-term memory with sigmoid gates and tanh.

    Args:
        z: [..., 4 * units], the sums before the activations, in the order i, f, g, o.
        c: [..., units].

    Returns:
        h = sigmoid(o) tanh(c'), and c' = sigmoid(f) c + sigmoid(i) tanh(g).

    Raises:
        TypeError, ValueError: dtypes or shapes do not fit.
    """
    return _lstm(z, c)


# GRU with the reset gate after the product: gates z, r, n.


def _gru_shape(x, s, h):
    _check("gru_cell", (x, s), (h,), 3)
    return h.dims, h.dtype


def _gru_gates(x, s):
    (x_z, x_r, x_n), (s_z, s_r, s_n) = _split(x, 3), _split(s, 3)
    r = _sigmoid(x_r + s_r)
    return _sigmoid(x_z + s_z), r, np.tanh(x_n + r * s_n), s_n


def _gru_reference(x, s, h):
    u, _, new, _ = _gru_gates(x, s)
    return u * h + (1 - u) * new


def _gru_decompose(x, s, h):
    (x_z, x_r, x_n), (s_z, s_r, s_n) = _parts(x, 3), _parts(s, 3)
    u = ew.sigmoid(ew.add(x_z, s_z))
    new = ew.tanh(ew.add(x_n, ew.mul(ew.sigmoid(ew.add(x_r, s_r)), s_n)))
    return ew.add(ew.mul(u, h), ew.mul(ew.sub(1.0, u), new))


_gru = Primitive(
    "gru_cell",
    shape=_gru_shape,
    reference=_gru_reference,
    vjp=lambda ct, _, x, s, h: _gru_grad(x, s, h, ct),
    decompose=_gru_decompose,
)


def _gru_grad_shape(x, s, h, ct):
    _check("gru_cell_grad", (x, s), (h, ct), 3)
    return [(x.dims, x.dtype), (s.dims, s.dtype), (h.dims, h.dtype)]


def _gru_grad_reference(x, s, h, ct):
    u, r, new, s_n = _gru_gates(x, s)
    du = ct * (h - new) * u * (1 - u)
    dn = ct * (1 - u) * (1 - new * new)
    dr = dn * s_n * r * (1 - r)
    return np.concatenate((du, dr, dn), -1), np.concatenate((du, dr, dn * r), -1), ct * u


def _gru_grad_decompose(x, s, h, ct):
    return vjp_through(_gru_decompose, ct, (x, s, h))


_gru_grad = Primitive(
    "gru_cell_grad",
    shape=_gru_grad_shape,
    reference=_gru_grad_reference,
    vjp=lambda cts, _, *inputs: vjp_through(_gru_grad_decompose, cts, inputs),
    decompose=_gru_grad_decompose,
)


def gru_cell(x: Tensor, s: Tensor, h: Tensor) -> Tensor:
    """One step of a gated recurrent unit with sigmoid gates and tanh, reset after the product.

    Args:
        x, s: [..., 3 * units], projections of the input and of the state, in the order z, r, n.
        h: [..., units], the state.

    Returns:
        u h + (1 - u) tanh(x_n + sigmoid(x_r + s_r) s_n) with u = sigmoid(x_z + s_z).

    Raises:
        TypeError, ValueError: dtypes or shapes do not fit.
    """
    return _gru(x, s, h)
