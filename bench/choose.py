"""Which cases a command line means: named lists, cases by their names, or one shape."""

from __future__ import annotations

import ast
import dataclasses
import importlib
from collections.abc import Sequence

from bench.harness import Case, load_cases, load_lists

ALIASES = {"gemm": "matmul"}


class UnknownCaseError(ValueError):
    """What was asked for is none of the family's; the message says what there is."""


def cases(family: str, texts: Sequence[str] = (), batch: int = 8) -> list[Case]:
    """Speed cases, each once.

    Args:
        family: a file of bench/cases, or another name for one.
        texts: names of lists, names of cases as the bench tool shows them, shapes as the family's
            `parse` reads them, or problems as `softmax(float32(64, 1000), axis=-1)`. None: the
            family's own speed cases.
        batch: for lists that are of networks.

    Raises:
        UnknownCaseError: a text is none of these.
    """
    family = ALIASES.get(family, family)
    if not texts:
        return [case for case in load_cases(family) if case.speed]
    found = {}
    for text in texts:
        for case in _one(family, text, batch):
            found[case.name] = dataclasses.replace(case, speed=True)
    return list(found.values())


def _one(family: str, text: str, batch: int) -> list[Case]:
    lists = load_lists(family)
    if text in lists:
        return lists[text](batch)
    module = importlib.import_module(f"bench.cases.{family}")
    parsed = module.parse(text) if hasattr(module, "parse") else None
    if parsed:
        return parsed
    named = [case for case in load_cases(family) if text in (case.name, str(case))]
    if named:  # of a small and a large one by the same name, what is to be timed
        return [max(named, key=lambda case: case.speed)]
    if problem := problem_of(text):
        return [problem]
    syntax = getattr(module, "SYNTAX", None)
    raise UnknownCaseError(
        f"'{text}' is no list, case or shape of {family}. "
        + (f"Lists: {', '.join(lists)}. " if lists else "")
        + (f"Shapes: {syntax}. " if syntax else "")
        + "Any problem: softmax(float32(64, 1000), axis=-1). Cases: bench FAMILY --list."
    )


def problem_of(text: str) -> Case | None:
    """A case of `primitive(dtype(sizes), ..., attribute=value)`, or None where it is none."""
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            return None
        inputs = [
            (tuple(ast.literal_eval(size) for size in operand.args), operand.func.id)
            for operand in call.args
        ]
        attrs = {item.arg: ast.literal_eval(item.value) for item in call.keywords}
        rank = len(inputs[0][0])
        for key in attrs.keys() & {"axis", "axes"}:
            attrs[key] = _counted(attrs[key], rank)
    except (SyntaxError, ValueError, AttributeError, IndexError, TypeError):
        return None
    return Case(call.func.id, inputs, attrs, grad=False, speed=True, spell=text)


def _counted(axes, rank: int):
    """Axes of so many dimensions counted from the first, as primitives take them."""
    if isinstance(axes, tuple):
        return tuple(_counted(axis, rank) for axis in axes)
    if not -rank <= axes < rank:
        raise ValueError(f"axis {axes} of {rank} dimensions")
    return axes % rank
