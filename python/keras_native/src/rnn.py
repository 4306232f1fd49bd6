"""Recurrence over time steps."""

from __future__ import annotations

import sys

from keras.src import tree

from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import matmul as mm
from keras_native.engine.primitives import rnn as rp
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.tensor import Tensor
from keras_native.src.ops.control_flow import scan
from keras_native.src.ops.convert import convert_to_tensor, promote
from keras_native.src.ops.core import unstack

__all__ = ["bidirectional_gru", "bidirectional_lstm", "cudnn_ok", "gru", "lstm", "rnn"]


def _swap(x: Tensor) -> Tensor:
    """Batch and time exchanged."""
    return sh.transpose(x, (1, 0, *range(2, x.ndim)))


def _keep(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` where the step counts, else `old`; the mask is [batch, 1]."""
    mask = sh.reshape(mask, mask.dims + (1,) * (new.ndim - mask.ndim))
    return ew.select(mask, new, old)


def rnn(
    step_function,
    inputs,
    initial_states,
    go_backwards=False,
    mask=None,
    constants=None,
    unroll=False,
    input_length=None,
    time_major=False,
    zero_output_for_mask=False,
    return_all_outputs=True,
):
    """Runs `output, states = step_function(input, states)` over the time axis.

    Args:
        step_function: takes the input at one time and a tuple of states and constants.
        inputs: (nested) tensors [batch, time, ...], or [time, batch, ...] if `time_major`.
        mask: bool [batch, time, 1]; where false, states stay and the output is the one before
            (zeros if `zero_output_for_mask`).
        unroll: a copy of the step for each time instead of a loop.

    Returns:
        (last output, outputs of all times, last states).
    """
    inputs = tree.map_structure(convert_to_tensor, inputs)
    initial_states = tree.map_structure(convert_to_tensor, initial_states)
    if not time_major:
        inputs = tree.map_structure(_swap, inputs)
    if mask is not None:
        mask = convert_to_tensor(mask, "bool")
        if mask.ndim == 2:
            mask = sh.expand_dims(mask, -1)
        if not time_major:
            mask = _swap(mask)
    constants = tuple(constants or ())

    def step(states, x):
        x, counts = x if mask is not None else (x, None)
        output, new_states = step_function(x, tuple(states) + constants)
        new_states = tree.pack_sequence_as(states, tree.flatten(new_states))
        if counts is None:
            return new_states, output
        if zero_output_for_mask:
            previous = sh.zeros(output.dims, output.dtype)
        else:
            previous = states[0]
            if tree.is_nested(previous):
                # Stacked cells: the last one's first state is the output.
                previous = states[-1][0]
        output = _keep(counts, output, previous)
        new_states = tree.map_structure(lambda n, o: _keep(counts, n, o), new_states, states)
        return new_states, output

    xs = inputs if mask is None else (inputs, mask)
    run = _unrolled if unroll else scan
    states, outputs = run(step, initial_states, xs, reverse=go_backwards)
    if go_backwards:
        outputs = tree.map_structure(lambda t: sh.flip(t, (0,)), outputs)
    last = tree.map_structure(_last, outputs)
    if not time_major:
        outputs = tree.map_structure(_swap, outputs)
    return last, outputs, states


def _last(x: Tensor) -> Tensor:
    time = x.dims[0]
    start, stop = (time - 1,) + (0,) * (x.ndim - 1), x.dims
    return sh.reshape(ss.slice(x, start, stop), x.dims[1:])


def _unrolled(step, states, xs, reverse: bool):
    flat = [unstack(x) for x in tree.flatten(xs)]
    steps = [tree.pack_sequence_as(xs, list(x)) for x in zip(*flat)]
    outputs = []
    for x in reversed(steps) if reverse else steps:
        states, output = step(states, x)
        outputs.append(output)
    if reverse:
        outputs.reverse()
    return states, tree.map_structure(lambda *ts: sh.stack(ts, 0), *outputs)


def cudnn_ok(*args, **kwargs) -> bool:
    """There are no cuDNN kernels here."""
    return False


def _gates(x: Tensor, count: int) -> list[Tensor]:
    """The last axis in equal parts."""
    units = x.dims[-1] // count
    return [ss.slice(x, (0, i * units), (None, (i + 1) * units)) for i in range(count)]


def _is_usual(activation, recurrent_activation) -> bool:
    """Whether they are the activations that the fused loops compute."""
    from keras.src import activations, ops

    tanh, sigmoid = (activations.tanh, ops.tanh), (activations.sigmoid, ops.sigmoid)
    return activation in tanh and recurrent_activation in sigmoid


def _zeroes_output() -> bool:
    """Whether the layer that called wants zeros at masked steps: Keras does not pass it on."""
    layer = sys._getframe(2).f_locals.get("self")
    return bool(getattr(layer, "zero_output_for_mask", False))


def _project(inputs, kernel, bias) -> Tensor:
    """The inputs' part of all gates at all times, one product."""
    inputs, kernel = promote(inputs, kernel)
    bias = None if bias is None else convert_to_tensor(bias, kernel.dtype)
    return mm.linear(inputs, kernel, bias)


def _over_time(primitive, projected, tensors, mask, **attrs):
    """A fused loop; half precision is computed in float32 and rounded at the end.

    Returns:
        (last output, outputs of all times or [batch, 1, units], last states).
    """
    dtype = projected.dtype
    wide = dtype if dtype in ("float32", "float64") else "float32"
    operands = [None if t is None else convert_to_tensor(t, wide) for t in (projected, *tensors)]
    if mask is not None:
        mask = convert_to_tensor(mask, "bool")
        mask = sh.reshape(mask, mask.dims[:2])
    outputs, *states = primitive(*operands, mask, **attrs)
    outputs = convert_to_tensor(outputs, dtype)
    states = [convert_to_tensor(t, dtype) for t in states]
    time = outputs.dims[1]
    last = ss.slice(outputs, (0, time - 1, 0), (None, time, None))
    return sh.reshape(last, last.dims[::2]), outputs, states


def _by_scan(step, projected, states, go_backwards, unroll, return_sequences):
    """A cell of unusual activations over inputs that are projected already."""
    states = [convert_to_tensor(s, projected.dtype) for s in states]
    last, outputs, states = rnn(
        step, _swap(projected), states, go_backwards=go_backwards, unroll=unroll, time_major=True
    )
    outputs = _swap(outputs) if return_sequences else sh.expand_dims(last, 1)
    return last, outputs, states


def lstm(
    inputs,
    initial_state_h,
    initial_state_c,
    mask,
    kernel,
    recurrent_kernel,
    bias,
    activation,
    recurrent_activation,
    return_sequences=False,
    go_backwards=False,
    unroll=False,
):
    """A long short-term memory over inputs [batch, time, features]; gates i, f, c, o.

    Returns:
        (last output, outputs of all times or [batch, 1, units], [h, c]).

    Raises:
        NotImplementedError: a mask and unusual activations; Keras then runs its cell over `rnn`.
    """
    states = (initial_state_h, initial_state_c)
    if _is_usual(activation, recurrent_activation):
        return _over_time(
            rp.lstm,
            _project(inputs, kernel, bias),
            (*states, recurrent_kernel),
            mask,
            reverse=go_backwards,
            zero_output=mask is not None and _zeroes_output(),
            sequences=return_sequences,
        )
    if mask is not None:
        raise NotImplementedError
    projected = _project(inputs, kernel, bias)
    recurrent_kernel = convert_to_tensor(recurrent_kernel, projected.dtype)

    def step(x, states):
        h, c = states
        i, f, new, o = _gates(ew.add(x, mm.matmul(h, recurrent_kernel)), 4)
        kept = ew.mul(recurrent_activation(f), c)
        c = ew.add(kept, ew.mul(recurrent_activation(i), activation(new)))
        h = ew.mul(recurrent_activation(o), activation(c))
        return h, [h, c]

    return _by_scan(step, projected, states, go_backwards, unroll, return_sequences)


def gru(
    inputs,
    initial_state,
    mask,
    kernel,
    recurrent_kernel,
    bias,
    activation,
    recurrent_activation,
    return_sequences=False,
    go_backwards=False,
    unroll=False,
    reset_after=True,
):
    """A gated recurrent unit over inputs [batch, time, features]; gates z, r, h.

    Args:
        bias: [3 * units], or with `reset_after` [2, 3 * units]: of the inputs and of the state.

    Returns:
        (last output, outputs of all times or [batch, 1, units], [h]).

    Raises:
        NotImplementedError: a mask and unusual activations; Keras then runs its cell over `rnn`.
    """
    recurrent_bias = None
    if bias is not None and reset_after:
        bias, recurrent_bias = unstack(bias)
    if _is_usual(activation, recurrent_activation):
        return _over_time(
            rp.gru,
            _project(inputs, kernel, bias),
            (initial_state, recurrent_kernel, recurrent_bias),
            mask,
            reset_after=reset_after,
            reverse=go_backwards,
            zero_output=mask is not None and _zeroes_output(),
            sequences=return_sequences,
        )
    if mask is not None:
        raise NotImplementedError
    projected = _project(inputs, kernel, bias)
    recurrent_kernel = convert_to_tensor(recurrent_kernel, projected.dtype)
    if recurrent_bias is not None:
        recurrent_bias = convert_to_tensor(recurrent_bias, projected.dtype)

    def step(x, states):
        (h,) = states
        x_z, x_r, x_h = _gates(x, 3)
        if reset_after:
            h_z, h_r, h_h = _gates(mm.linear(h, recurrent_kernel, recurrent_bias), 3)
        else:
            w_z, w_r, candidate = _gates(recurrent_kernel, 3)
            h_z, h_r = mm.matmul(h, w_z), mm.matmul(h, w_r)
        z = recurrent_activation(ew.add(x_z, h_z))
        r = recurrent_activation(ew.add(x_r, h_r))
        h_h = ew.mul(r, h_h) if reset_after else mm.matmul(ew.mul(r, h), candidate)
        new = activation(ew.add(x_h, h_h))
        one = sh.full((), 1, z.dtype)
        h = ew.add(ew.mul(z, h), ew.mul(ew.sub(one, z), new))
        return h, [h]

    return _by_scan(step, projected, (initial_state,), go_backwards, unroll, return_sequences)


def bidirectional_lstm(*args, **kwargs):
    """Declines: Keras then runs each direction by itself, which is fused as well."""
    raise NotImplementedError


def bidirectional_gru(*args, **kwargs):
    """Declines: Keras then runs each direction by itself, which is fused as well."""
    raise NotImplementedError
