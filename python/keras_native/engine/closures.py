"""Functions that are called again later, for a derivative: with all as it was at the first call."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from types import CellType, FunctionType, MethodType

from keras_native.engine.primitive import STATE
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import Tensor

# What else such a function finds around it. Each is called with the objects that the function has,
# and returns a function that makes contexts in which all that it looks after is as it is now.
SURROUNDINGS: list[Callable[[list], Callable[[], contextlib.AbstractContextManager]]] = []


def frozen(fn: Callable) -> Callable:
    """The function with the variables of the functions around it, and its surroundings, as they
    are now.

    So are functions among these variables. A body that reads a loop's variable, or one that is
    assigned what the body returns, would else mean another one by the time of its derivative.
    """
    copies = _Copies()
    again = copies.of(fn)
    then = [remember(copies.found) for remember in SURROUNDINGS]

    def call(*args, **kwargs):
        with contextlib.ExitStack() as stack:
            for context in then:
                stack.enter_context(context())
            # A copy each time: it may assign these variables, and be called once more.
            return _Copies().of(again)(*args, **kwargs)

    return call


class _Copies:
    """Copies of functions and their cells; `found` are the other objects that they have."""

    def __init__(self):
        self.found = []
        self._cells: dict[int, CellType] = {}

    def of(self, value):
        if type(value) is functools.partial:
            keywords = {k: self.of(v) for k, v in value.keywords.items()}
            return functools.partial(self.of(value.func), *map(self.of, value.args), **keywords)
        if type(value) is MethodType:
            self.found.append(value.__self__)
        elif type(value) is not FunctionType:
            self.found.extend(value if type(value) in (list, tuple) else (value,))
        if type(value) is not FunctionType or not (value.__closure__ or value.__defaults__):
            return value
        copy = FunctionType(
            value.__code__,
            value.__globals__,
            value.__name__,
            value.__defaults__ and tuple(map(self.of, value.__defaults__)),
            value.__closure__ and tuple(map(self._cell, value.__closure__)),
        )
        if value.__kwdefaults__:
            copy.__kwdefaults__ = {k: self.of(v) for k, v in value.__kwdefaults__.items()}
        copy.__dict__.update(value.__dict__)
        return copy

    def _cell(self, cell: CellType) -> CellType:
        if id(cell) not in self._cells:
            # First: functions may be among their own variables.
            self._cells[id(cell)] = copy = CellType()
            with contextlib.suppress(ValueError):  # where it has no value yet
                copy.cell_contents = self.of(cell.cell_contents)
        return self._cells[id(cell)]


class Memory:
    """What variables held when a function first looked at them, for when it is called again.

    Attributes:
        assigned: the variables that it assigned.
    """

    def __init__(self):
        self.then: dict[Slot, Tensor] = {}
        self.assigned: list[Slot] = []

    @contextlib.contextmanager
    def kept(self):
        """Within it, variables are noted before they are read or assigned."""
        trace = _trace()
        if trace is None:
            with _eager(_Noted(self.then)) as noted:
                yield
            self.assigned = list(noted.assigned)
            return
        self.then.update(trace.slots)
        outside, trace.written = trace.written, {}
        try:
            yield
        finally:
            self.assigned = list(trace.written)
            trace.written = outside | trace.written
        self.then.update((s, trace.first[s]) for s in trace.slots if s not in self.then)

    @contextlib.contextmanager
    def recalled(self):
        """Within it, variables are as they were; what is assigned is forgotten at its end."""
        trace = _trace()
        if trace is None:
            with _eager(_Recalled(self.then)):
                yield
            return
        outside = trace.slots, trace.written
        trace.slots, trace.written = dict(self.then), {}
        try:
            yield
        finally:
            trace.slots, trace.written = outside


def _trace():
    """The trace that has the values of variables, or None if they are the stored ones."""
    trace = STATE.trace
    while trace is not None and trace.graph is None:  # a batch
        trace = trace.outer
    return trace


@contextlib.contextmanager
def _eager(view):
    STATE.view, outer = view, STATE.view
    try:
        yield view
    finally:
        STATE.view = outer


class _Noted:
    """Variables as they are; what each is when it is first looked at is noted."""

    def __init__(self, then):
        self.then, self.outer, self.assigned = then, STATE.view, {}

    def read(self, slot: Slot) -> Tensor:
        value = slot.stored() if self.outer is None else self.outer.read(slot)
        self.then.setdefault(slot, value)
        return value

    def write(self, slot: Slot, tensor: Tensor) -> None:
        self.read(slot)
        self.assigned[slot] = None
        if self.outer is None:
            slot.replace(tensor)
        else:
            self.outer.write(slot, tensor)


class _Recalled:
    """Variables as they were, and as they are assigned from there on."""

    def __init__(self, then):
        self.values, self.outer = dict(then), STATE.view

    def read(self, slot: Slot) -> Tensor:
        value = self.values.get(slot)
        if value is not None:
            return value
        return slot.stored() if self.outer is None else self.outer.read(slot)

    def write(self, slot: Slot, tensor: Tensor) -> None:
        self.values[slot] = tensor
