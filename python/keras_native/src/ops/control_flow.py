"""Keras's control flow on the engine's cond, while_loop and scan."""

from __future__ import annotations

import builtins
import operator

from keras.src import tree
from keras.src.backend.common import KerasVariable

from keras_native.engine import batching, control
from keras_native.engine.errors import TraceError
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.tensor import Tensor
from keras_native.src.ops.convert import convert_to_tensor, is_tensor


def cond(pred, true_fn, false_fn):
    """`true_fn()` if the scalar `pred` is true, else `false_fn()`; one of them runs."""
    if isinstance(pred, bool):
        return true_fn() if pred else false_fn()
    pred = convert_to_tensor(pred, "bool")
    if pred.ndim:
        pred = sh.reshape(pred, ())
    return control.cond(pred, true_fn, false_fn)


def switch(index, branches, *operands):
    """`branches[index](*operands)`, the index clamped to the branches there are."""
    index = convert_to_tensor(index, "int32")
    if index.trace is None:
        chosen = builtins.min(builtins.max(int(index.numpy()), 0), len(branches) - 1)
        return branches[chosen](*operands)

    def choose(first: int):
        if first == len(branches) - 1:
            return branches[first](*operands)
        return control.cond(
            ew.le(index, first), lambda: branches[first](*operands), lambda: choose(first + 1)
        )

    return choose(0)


def while_loop(cond, body, loop_vars, maximum_iterations=None):
    """Repeats `body` on the loop variables while `cond` holds, at most `maximum_iterations` (a
    number or an integer scalar)."""
    if maximum_iterations is not None:
        limit = convert_to_tensor(maximum_iterations, "int32")
        if limit.trace is not None:
            return _counted_while(cond, body, loop_vars, limit)
        maximum_iterations = int(limit.numpy())
    is_sequence = isinstance(loop_vars, (tuple, list))
    loop_vars = tuple(loop_vars) if is_sequence else (loop_vars,)
    loop_vars = tree.map_structure(convert_to_tensor, loop_vars)

    def as_tuple(*args):
        result = body(*args)
        result = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        return tree.map_structure(convert_to_tensor, result)

    outputs = control.while_loop(cond, as_tuple, loop_vars, maximum_iterations)
    return tuple(outputs) if is_sequence else outputs[0]


def _counted_while(cond, body, loop_vars, limit):
    """`while_loop` with a limit that is only known when the compiled code runs."""
    is_sequence = isinstance(loop_vars, (tuple, list))
    loop_vars = tuple(loop_vars) if is_sequence else (loop_vars,)

    def below(count, *values):
        return ew.logical_and(ew.lt(count, limit), convert_to_tensor(cond(*values), "bool"))

    def counting(count, *values):
        result = body(*values)
        return (count + 1, *(result if isinstance(result, (tuple, list)) else (result,)))

    start = convert_to_tensor(0, "int32")
    _, *outputs = while_loop(below, counting, (start, *loop_vars))
    return tuple(outputs) if is_sequence else outputs[0]


def scan(f, init, xs=None, length=None, reverse=False, unroll=1):
    """Runs `carry, y = f(carry, x)` over the leading axis of `xs`: (last carry, stacked ys)."""
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    if not isinstance(unroll, bool) and (not isinstance(unroll, int) or unroll < 1):
        raise ValueError(
            f"`unroll` must be an positive integer or boolean. Received: unroll={unroll}"
        )
    if xs is None and length is None:
        raise ValueError("Got no `xs` to scan over and `length` not provided.")
    init = tree.map_structure(convert_to_tensor, init)
    if xs is not None:
        xs = tree.map_structure(convert_to_tensor, xs)
    return control.scan(f, init, xs, length=length, reverse=reverse, unroll=unroll)


def map(f, xs):
    """`f` on each element along the leading axis, the results stacked."""
    return scan(lambda carry, x: (carry, f(x)), (), xs)[1]


def vectorized_map(function, elements):
    """As `map`; the function sees one element at a time, yet runs once for all of them where
    everything that it does can be done to a batch. Otherwise it is `map`."""
    elements = tree.map_structure(convert_to_tensor, elements)

    def tensors(element):
        result = function(element)
        return tree.map_structure(lambda t: None if t is None else convert_to_tensor(t), result)

    try:
        return batching.over_batch(tensors, elements)
    except (batching.Unbatchable, TraceError):
        return map(function, elements)


def fori_loop(lower, upper, body_fun, init_val):
    """`val = body_fun(i, val)` for i from `lower` to `upper` - 1."""
    if not any(is_tensor(x) or isinstance(x, KerasVariable) for x in (lower, upper)):
        # A known number of steps is a scan: unlike a while loop it can be differentiated.
        lower, upper = operator.index(lower), operator.index(upper)
        if upper <= lower:
            return init_val

        def step(carry, _):
            i, val = carry
            return (ew.add(i, 1), body_fun(i, val)), None

        init = (convert_to_tensor(lower, "int32"), init_val)
        return scan(step, init, length=upper - lower)[0][1]
    upper = convert_to_tensor(upper, "int32")
    _, out = while_loop(
        lambda i, val: ew.lt(i, upper),
        lambda i, val: (ew.add(i, 1), body_fun(i, val)),
        (convert_to_tensor(lower, "int32"), init_val),
    )
    return out


def _strided(x: Tensor, axis: int, start: int, stop: int, step: int = 1) -> Tensor:
    starts, stops, steps = [0] * x.ndim, list(x.dims), [1] * x.ndim
    starts[axis], stops[axis], steps[axis] = start, stop, step
    return ss.slice(x, tuple(starts), tuple(stops), tuple(steps))


def _interleave(evens: Tensor, odds: Tensor, axis: int) -> Tensor:
    """e0 o0 e1 o1 ...; there are as many evens as odds or one more."""
    common, count = odds.dims[axis], evens.dims[axis]
    pairs = sh.stack([_strided(evens, axis, 0, common), odds], axis + 1)
    dims = list(odds.dims)
    dims[axis] = 2 * common
    out = sh.reshape(pairs, tuple(dims))
    if count == common:
        return out
    return sh.concat([out, _strided(evens, axis, count - 1, count)], axis)


def associative_scan(f, elems, reverse=False, axis=0):
    """All prefixes of an associative operation, in a logarithmic number of steps."""
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    flat = [convert_to_tensor(x) for x in tree.flatten(elems)]
    axis = axis if axis >= 0 else axis + flat[0].ndim
    count = flat[0].dims[axis]
    if any(x.dims[axis] != count for x in flat[1:]):
        raise ValueError(
            "Array inputs to associative_scan must have the same first dimension. "
            f"(saw: {[x.shape for x in flat]})"
        )

    def combine(a, b):
        pack = tree.pack_sequence_as
        return tree.flatten(f(pack(elems, list(a)), pack(elems, list(b))))

    def prefixes(xs):
        n = xs[0].dims[axis]
        if n < 2:
            return xs
        pairs = combine(
            [_strided(x, axis, 0, n - 1, 2) for x in xs], [_strided(x, axis, 1, n, 2) for x in xs]
        )
        odds = prefixes(pairs)
        firsts = [_strided(x, axis, 0, 1) for x in xs]
        if n == 2:
            evens = firsts
        else:
            count = (n - 1) // 2
            later = combine(
                [_strided(x, axis, 0, count) for x in odds],
                [_strided(x, axis, 2, n, 2) for x in xs],
            )
            evens = [sh.concat([a, b], axis) for a, b in zip(firsts, later)]
        return [_interleave(a, b, axis) for a, b in zip(evens, odds)]

    if reverse:
        flat = [sh.flip(x, (axis,)) for x in flat]
    results = prefixes(flat)
    if reverse:
        results = [sh.flip(x, (axis,)) for x in results]
    return tree.pack_sequence_as(elems, results)
