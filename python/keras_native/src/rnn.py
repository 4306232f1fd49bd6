"""Recurrence over time steps."""

from __future__ import annotations

from keras.src import tree

from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import shape as sh
from keras_native.engine.tensor import Tensor
from keras_native.src.ops.control_flow import scan
from keras_native.src.ops.convert import convert_to_tensor
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
    return sh.reshape(sh.slice(x, start, stop), x.dims[1:])


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


def lstm(*args, **kwargs):
    """Declines: Keras then runs the cell over `rnn`."""
    raise NotImplementedError


def gru(*args, **kwargs):
    """Declines: Keras then runs the cell over `rnn`."""
    raise NotImplementedError


def bidirectional_lstm(*args, **kwargs):
    """Declines: Keras then runs both directions over `rnn`."""
    raise NotImplementedError


def bidirectional_gru(*args, **kwargs):
    """Declines: Keras then runs both directions over `rnn`."""
    raise NotImplementedError
