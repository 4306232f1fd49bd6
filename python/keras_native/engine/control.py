"""Control flow: regions of the graph under a trace, and eagerly too for loops of many steps.

A loop that is called eagerly traces its body once and runs it in compiled code; a body that cannot
be traced (it looks at values, or changes sizes) is called for each step. Gradients recompute the
body inside the region of the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable

from keras_native.engine import dtype as dtypes
from keras_native.engine import tree
from keras_native.engine.closures import frozen
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import elementwise, shape, shape_slice
from keras_native.engine.region import (
    Region,
    check_same,
    differentiable,
    gradients,
    region_node,
    specs_of,
    surrounding_trace,
    values_before,
)
from keras_native.engine.tape import as_tensor, full_like, paused, record_custom
from keras_native.engine.tensor import Tensor
from keras_native.engine.trace import abstract_eval

# An eager loop of fewer steps is over before its body would be traced.
_FEW = 8


def _at_once(traced: Callable, stepwise: Callable):
    """A loop called eagerly: in compiled code, or step by step if its body cannot be traced.

    Whatever is wrong with the body is found again by the steps, and said there.
    """
    try:
        return traced()
    except Exception:
        return stepwise()


def cond(pred: Tensor, true_fn: Callable, false_fn: Callable):
    """Calls one of two functions without arguments and returns its result.

    Under a trace both are traced and one is run; they must return the same structure, sizes and
    dtypes. Variables assigned in either are assigned by the branch that runs.

    Raises:
        ValueError: `pred` is not a scalar, or the branches' results differ.
    """
    if pred.dims != ():
        raise ValueError(f"cond: the predicate must be a scalar, got {pred.dtype}{pred.shape}")
    if pred.trace is None:
        return true_fn() if bool(pred.numpy()) else false_fn()
    if pred.dtype != "bool":
        pred = elementwise.cast(pred, "bool")
    return _cond(pred, true_fn, false_fn, None)


def _cond(pred, true_fn, false_fn, snapshot):
    again = [frozen(fn) for fn in (true_fn, false_fn) if STATE.tapes]
    with paused():
        branches = [
            Region(fn, (), snapshot=snapshot, discard=snapshot is not None)
            for fn in (true_fn, false_fn)
        ]
        first, second = branches
        if first.structure != second.structure or first.nones != second.nones:
            raise ValueError(
                "cond: the branches return different structures: "
                f"{first.structure} and {second.structure}"
            )
        check_same("cond", "the branches' results differ", first.results, second.results)
        slots = list(dict.fromkeys(s for branch in branches for s in branch.written))
        finals = [branch.slot_values(slots) for branch in branches]
        captured = list({id(t): t for branch in branches for t in branch.captured}.values())
        graphs = [
            branch.finish(branch.results + final, captured)
            for branch, final in zip(branches, finals)
        ]
        before = values_before(*branches)
        outs = region_node("cond", [pred, *captured], {}, first.results + finals[0], graphs)
        results = outs[: len(first.results)]
        for slot, value in zip(slots, outs[len(results) :]):
            STATE.trace.write(slot, value)

    sources = differentiable(captured)

    def vjp(cts, _, *ins):
        present = [ct for ct in cts if ct is not None]

        def branch(fn):
            def results():
                return fn(), [STATE.trace.read(slot) for slot in slots]

            def run():
                given = iter(present)
                local = [None if ct is None else next(given) for ct in cts]
                return gradients(results, local, sources)

            return run

        grads = iter(_cond(pred, *map(branch, again), before))
        return tuple(grads)

    if sources:
        record_custom("cond", sources, outs, vjp)
    return first.unflatten(results)


def while_loop(cond: Callable, body: Callable, loop_vars, maximum_iterations: int | None = None):
    """Calls `loop_vars = body(*loop_vars)` while `cond(*loop_vars)`; returns the last ones.

    Under a trace it is one node; its number of steps is not known, so that it has no reverse-mode
    derivative (an error says so when one is asked for). Under an eager tape Python takes the steps.

    Raises:
        ValueError: the body changes the number, sizes or dtypes of the loop variables.
    """
    loop_vars = tuple(loop_vars)
    if STATE.trace is not None:
        return _traced_while(cond, body, loop_vars, maximum_iterations)
    if STATE.tapes or STATE.python_loops:  # unlike compiled code, steps can be differentiated
        return _stepwise_while(cond, body, loop_vars, maximum_iterations)[0]
    few = _FEW if maximum_iterations is None else min(_FEW, maximum_iterations)
    loop_vars, going = _stepwise_while(cond, body, loop_vars, few)
    if not going or few == maximum_iterations:
        return loop_vars
    rest = None if maximum_iterations is None else maximum_iterations - few
    return _at_once(
        lambda: _traced_while(cond, body, loop_vars, rest),
        lambda: _stepwise_while(cond, body, loop_vars, rest)[0],
    )


def _stepwise_while(cond, body, loop_vars, limit):
    """At most `limit` steps in Python; the variables, and whether the limit was what ended it."""
    count = 0
    while limit is None or count < limit:
        if not bool(as_tensor(cond(*loop_vars)).numpy()):
            return loop_vars, False
        result = body(*loop_vars)
        loop_vars = tuple(result) if isinstance(result, (list, tuple)) else (result,)
        count += 1
    return loop_vars, True


def _traced_while(cond, body, loop_vars, limit):
    leaves, structure = tree.flatten(loop_vars)
    start = [as_tensor(leaf) for leaf in leaves]

    def flat(fn):
        def call(*tensors):
            return fn(*tree.unflatten(structure, tensors[: len(start)]))

        return call

    with surrounding_trace(), paused():
        body_region, slots = _loop_region(flat(body), start)
        check_same("while_loop", "the body changes its variables", start, body_region.results)
        test = Region(flat(cond), start, slots)
        (verdict,) = test.results
        if verdict.dims != () or verdict.dtype != "bool":
            raise ValueError(
                "while_loop: the condition must be a bool scalar, got "
                f"{verdict.dtype}{verdict.shape}"
            )
        carried = start + [STATE.trace.read(s) for s in slots]
        attrs = {
            "carried": len(carried),
            "test_captured": len(test.captured),
            "limit": -1 if limit is None else int(limit),
        }
        graphs = [
            test.finish(test.results),
            body_region.finish(body_region.results + body_region.slot_values(slots)),
        ]
        values = [*carried, *test.captured, *body_region.captured]
        outs = region_node("while_loop", values, attrs, carried, graphs)
        for slot, value in zip(slots, outs[len(start) :]):
            STATE.trace.write(slot, value)
        results = outs[: len(start)]

    def vjp(cts, *_):
        raise ValueError(
            "while_loop has no reverse-mode derivative: its number of steps is not known; use scan "
            "or fori_loop with fixed bounds"
        )

    record_custom("while_loop", [*carried, *body_region.captured], outs, vjp)
    return tree.unflatten(structure, results)


def _loop_region(fn, arguments):
    """The region of a loop's body; variables that it assigns are carried from step to step."""
    region = Region(fn, arguments)
    slots = region.written
    if slots:
        region = Region(fn, arguments, slots)
    return region, slots


def _slice(x: Tensor, i: int) -> Tensor:
    dims = x.dims
    piece = shape_slice.slice(x, (i,) + (0,) * (len(dims) - 1), (i + 1, *dims[1:]))
    return shape.reshape(piece, dims[1:])


def scan(f: Callable, init, xs=None, length: int | None = None, reverse: bool = False, unroll=1):
    """`carry, y = f(carry, x)` for each leading slice `x` of `xs`: the last carry, and the ys
    stacked.

    One node, with a derivative (a scan backwards that recomputes each step).

    Raises:
        ValueError: leading sizes differ, nothing gives the length, or `f` changes the carry's sizes
            or dtypes.
    """
    carry_leaves, carry_tree = tree.flatten(init)
    carry = [as_tensor(leaf) for leaf in carry_leaves]
    x_leaves, x_tree = tree.flatten(xs)
    x_leaves = [as_tensor(leaf) for leaf in x_leaves if leaf is not None]
    for x in x_leaves:
        if not x.dims:
            raise ValueError("scan: xs must have a leading dimension, got a scalar")
        if length is None:
            length = x.dims[0]
        elif x.dims[0] != length:
            raise ValueError(f"scan: leading size {x.dims[0]} differs from length {length}")
    if length is None:
        raise ValueError("scan: without xs, length must be given")

    def call(carry_tensors, x_tensors):
        new_carry, y = f(
            tree.unflatten(carry_tree, carry_tensors),
            tree.unflatten(x_tree, x_tensors) if x_leaves else None,
        )
        new_leaves, new_tree = tree.flatten(new_carry)
        if new_tree != carry_tree:
            raise ValueError(f"scan: the carry changes from {carry_tree} to {new_tree}")
        return [as_tensor(t) for t in new_leaves], y

    if STATE.trace is None or STATE.trace.unrolled:
        if length == 0:
            return tree.unflatten(carry_tree, carry), _no_rows(call, carry, x_leaves)
        if STATE.trace is not None or STATE.python_loops or length < _FEW:
            return _stepwise_scan(call, carry, x_leaves, carry_tree, length, reverse)
        return _at_once(
            lambda: _traced_scan(call, carry, x_leaves, carry_tree, length, reverse),
            lambda: _stepwise_scan(call, carry, x_leaves, carry_tree, length, reverse),
        )
    return _traced_scan(call, carry, x_leaves, carry_tree, length, reverse)


def _no_rows(call, carry, xs):
    """What a scan without steps stacks: the body is traced for sizes and dtypes alone."""
    specs = [*specs_of(carry), *((x.dims[1:], x.dtype) for x in xs)]
    n = len(carry)
    y = abstract_eval(lambda *ts: call(list(ts[:n]), list(ts[n:]))[1], specs)
    leaves, structure = tree.flatten(y)
    tensors = [None if t is None else as_tensor(t) for t in leaves]
    rows = [None if t is None else shape.zeros((0, *t.dims), t.dtype) for t in tensors]
    return tree.unflatten(structure, rows)


def _stepwise_scan(call, carry, xs, carry_tree, length, reverse):
    rows, structure = [], None
    order = range(length - 1, -1, -1) if reverse else range(length)
    for i in order:
        new, y = call(carry, [_slice(x, i) for x in xs])
        check_same("scan", "the carry changes", carry, new)
        carry = new
        leaves, structure = tree.flatten(y)
        rows.append(leaves)
    if reverse:
        rows.reverse()
    stacked = [
        None if column[0] is None else shape.stack([as_tensor(t) for t in column], 0)
        for column in zip(*rows)
    ]
    return tree.unflatten(carry_tree, carry), tree.unflatten(structure, stacked)


class _Step:
    """A scan's body over flat tensors: the new carry, the leaves of what is stacked and, with
    `keep`, the carry before."""

    def __init__(self, call, count, keep):
        self.call, self.count, self.keep = call, count, keep

    def __call__(self, *tensors):
        carry, slices = list(tensors[: self.count]), list(tensors[self.count :])
        new, y = self.call(carry, slices)
        leaves, self.structure = tree.flatten(y)
        self.nones = {i for i, t in enumerate(leaves) if t is None}
        ys = [as_tensor(t) for t in leaves if t is not None]
        return [*new, *ys, *(carry if self.keep else ())]

    def unflatten(self, rows):
        rows = iter(rows)
        count = self.structure.num_leaves
        leaves = [None if i in self.nones else next(rows) for i in range(count)]
        return tree.unflatten(self.structure, leaves)


def _carrying(call, slots):
    """The body of a scan with the values of variables as the last of its carry."""

    def carrying(carry, slices):
        own = carry[: len(carry) - len(slots)]
        STATE.trace.slots.update(zip(slots, carry[len(own) :]))
        new, y = call(own, slices)
        return [*new, *map(STATE.trace.read, slots)], y

    return carrying


def _traced_scan(call, carry, xs, carry_tree, length, reverse, discard=False, snapshot=None):
    own = len(carry)
    keep = bool(STATE.tapes)  # a derivative may be asked for: keep the carry before each step
    again = frozen(call) if keep else call
    with surrounding_trace(), paused():
        slices = [Tensor(dims=x.dims[1:], dtype=x.dtype, trace=STATE.trace) for x in xs]
        step = _Step(call, own, keep)
        region = Region(step, carry + slices, snapshot=snapshot, discard=discard)
        slots = region.written
        if slots:
            carry = carry + [STATE.trace.read(s) for s in slots]
            step, again = _Step(_carrying(call, slots), len(carry), keep), _carrying(again, slots)
            region = Region(step, carry + slices)
        n = len(carry)
        check_same("scan", "the carry changes", carry, region.results[:n])
        rows = region.results[n:]
        stacked = [Tensor(dims=(length, *t.dims), dtype=t.dtype, trace=STATE.trace) for t in rows]
        graph = region.finish(region.results)
        attrs = {"carried": n, "stacked": len(xs), "length": length, "reverse": bool(reverse)}
        before = values_before(region)
        outs = region_node("scan", [*carry, *xs, *region.captured], attrs, carry + stacked, [graph])
        for slot, value in zip(slots, outs[own:n]):
            STATE.trace.write(slot, value)
        rows = outs[n:]

    captured = differentiable(region.captured)
    if keep:

        def vjp(cts, outs, *ins):
            return _scan_vjp(again, carry, xs, captured, rows, cts, length, reverse, before)

        record_custom("scan", [*carry, *xs, *captured], outs, vjp)

    return tree.unflatten(carry_tree, outs[:own]), step.unflatten(rows)


def _scan_vjp(call, carry, xs, captured, rows, cts, length, reverse, snapshot):
    """Cotangents of a scan's operands. The last rows are the carry before each step: results like
    the others, through which a second derivative flows."""
    n = len(carry)
    history = rows[len(rows) - n :]
    diff_carry = [i for i, t in enumerate(carry) if dtypes.is_differentiable(t.dtype)]
    diff_x = [i for i, t in enumerate(xs) if dtypes.is_differentiable(t.dtype)]
    ct_carry = [cts[i] if cts[i] is not None else full_like(carry[i], 0) for i in diff_carry]
    ct_ys = cts[n:]
    present = [i for i, ct in enumerate(ct_ys) if ct is not None]
    sums = [full_like(t, 0) for t in captured]

    def step(state, slices):
        flow, total = state[: len(diff_carry)], state[len(diff_carry) :]
        before = slices[:n]
        x = slices[n : n + len(xs)]
        ct_y = slices[n + len(xs) :]
        local = [None] * (n + len(rows))
        for i, ct in zip(diff_carry, flow):
            local[i] = ct
        for i, ct in zip(present, ct_y):
            local[n + i] = ct

        def run():
            new, y = call(before, x)
            return [*new, *[t for t in tree.flatten(y)[0] if t is not None], *before]

        sources = [before[i] for i in diff_carry] + [x[i] for i in diff_x] + captured
        grads = gradients(run, local, sources)
        a, b = len(diff_carry), len(diff_carry) + len(diff_x)
        added = [elementwise.add(s, g) for s, g in zip(total, grads[b:])]
        return [*grads[:a], *added], grads[a:b]

    _, state_tree = tree.flatten([None] * (len(diff_carry) + len(captured)))
    final, ct_x = _traced_scan(
        lambda state, slices: step(state, slices),
        [*ct_carry, *sums],
        [*history, *xs, *[ct_ys[i] for i in present]],
        state_tree,
        length,
        not reverse,
        discard=True,
        snapshot=snapshot,
    )
    result = [None] * (n + len(xs))
    for i, ct in zip(diff_carry, final[: len(diff_carry)]):
        result[i] = ct
    for i, ct in zip(diff_x, ct_x):
        result[n + i] = ct
    return (*result, *final[len(diff_carry) :])
