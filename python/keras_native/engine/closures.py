"""Functions that are called again later, for a derivative."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import CellType, FunctionType


def frozen(fn: Callable) -> Callable:
    """The function with the variables of the functions around it as they are now.

    So are functions among these variables. A body that reads a loop's variable, or one that is
    assigned what the body returns, would else mean another one by the time of its derivative.
    Callables that are no plain functions are returned as they are.
    """
    return _frozen(fn, {})


def _frozen(value, cells: dict[int, CellType]):
    if type(value) is not FunctionType or not value.__closure__:
        return value
    closure = tuple(_copy(cell, cells) for cell in value.__closure__)
    copy = FunctionType(
        value.__code__, value.__globals__, value.__name__, value.__defaults__, closure
    )
    copy.__kwdefaults__ = value.__kwdefaults__
    copy.__dict__.update(value.__dict__)
    return copy


def _copy(cell: CellType, cells: dict[int, CellType]) -> CellType:
    if id(cell) not in cells:
        cells[id(cell)] = copy = CellType()  # first: functions may be among their own variables
        with contextlib.suppress(ValueError):  # where it has no value yet
            copy.cell_contents = _frozen(cell.cell_contents, cells)
    return cells[id(cell)]
