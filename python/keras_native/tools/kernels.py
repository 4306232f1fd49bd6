"""Which kernels are registered, and which one takes a given problem."""

import ast
import importlib
import pkgutil
import re

from keras_native import _core
from keras_native.engine import primitives
from keras_native.engine.primitive import REGISTRY
from keras_native.engine.tensor import Tensor
from keras_native.tools import command

EXAMPLES = """\
examples:
  kernels         every primitive with its kernels, the first choice first
  kernels conv    those of one primitive, and which problems they take
  kernels matmul 'float32(64, 784)' 'float32(784, 512)' transpose_b=False
                  the kernel that takes this problem, and why it and no other does
"""

# Priorities of entries that only a choice by name finds, or only force.
ONLY_BY_CHOICE, ONLY_BY_FORCE = -1, -2


def main(arguments: list[str]) -> int:
    """Lists kernels, or names the one that a problem gets; returns the exit status."""
    parser = command.parser("kernels", __doc__, EXAMPLES)
    parser.add_argument("primitive", nargs="?")
    parser.add_argument("problem", nargs="*", help="operands as dtype(sizes), then name=value")
    options = parser.parse_args(arguments)
    known = import_primitives()
    if options.primitive is not None and options.primitive not in known:
        close = [name for name in known if options.primitive in name]
        print(f"there is no primitive '{options.primitive}'; {', '.join(close or known)}")
        return 1
    if options.problem:
        try:
            print(chosen(options.primitive, options.problem))
        except (TypeError, ValueError) as error:
            print(error)
            return 1
        return 0
    if options.primitive:
        print(details(options.primitive))
        return 0
    table = {name: [] for name in known}
    for op, name, priority, _ in _core.kernels():
        if priority >= 0:
            table.setdefault(op, []).append(f"{name} ({priority})")
    width = max(map(len, table))
    for name, kernels in table.items():
        print(f"{name:{width}}  {', '.join(kernels) or '- (NumPy reference on the host)'}")
    return 0


def details(primitive: str) -> str:
    """A line for each kernel of a primitive, in the order in which they are asked."""
    rows = [entry[1:] for entry in _core.kernels() if entry[0] == primitive]
    if not rows:
        return f"{primitive}: no kernel; the NumPy reference on the host"
    return "\n".join(
        f"{name} ({_rank(priority)}): {problems or 'whatever the primitive is defined for here'}"
        for name, priority, problems in rows
    )


def _rank(priority: int) -> str:
    only = {ONLY_BY_CHOICE: "by choice only", ONLY_BY_FORCE: "by force only"}
    return only.get(priority) or str(priority)


def import_primitives() -> list[str]:
    """Imports every family; returns the names of all primitives, sorted."""
    for module in pkgutil.iter_modules(primitives.__path__):
        importlib.import_module(f"{primitives.__name__}.{module.name}")
    return sorted(REGISTRY)


def chosen(name: str, problem: list[str]) -> str:
    """What runs a problem and why: each kernel's answer in the order in which they are asked.

    Args:
        name: the primitive.
        problem: operands as "float32(2, 3)", then attributes as "axis=1".

    Raises:
        ValueError: an operand or attribute cannot be read, or the shape rule refuses the problem.
    """
    operands, attrs = read_problem(problem)
    specs = REGISTRY[name].shape(*operands, **attrs)
    specs = specs if isinstance(specs, list) else [specs]
    asked = (
        name,
        [(t.dtype, t.dims) for t in operands],
        [(dtype, dims) for dims, dtype in specs],
        attrs,
    )
    kernel = _core.chosen_kernel(*asked)
    results = ", ".join(f"{dtype}{dims}" for dims, dtype in specs)
    lines = [
        f"{name} -> {results}: {kernel or 'no kernel takes it; the NumPy reference on the host'}"
    ]
    return "\n".join([*lines, *(f"  {line}" for line in answers(asked, kernel))])


def answers(asked: tuple, kernel: str | None) -> list[str]:
    """Why a kernel serves a problem: the choice made by name, if any, then what each one answers.

    Args:
        asked: primitive, operands, results and attributes, as the questions of `_core` take them.
        kernel: the one that serves it.
    """
    choice, forced = _core.choice_of(*asked)
    lines = []
    if choice:
        how = "forced" if forced else "the winner of a race on this machine (the tool tune)"
        lines.append(f"{choice} was chosen by name: {how}")
    entries = [entry[1:] for entry in _core.kernels() if entry[0] == asked[0]]
    taken = False
    for (name, priority, problems), takes in zip(entries, _core.accepting_kernels(*asked)):
        usual = takes and not taken and priority >= 0
        taken = taken or usual
        serves = (usual or bool(choice)) and name == kernel
        says = "takes it" if takes else "declines"
        if takes and not serves:
            says = "could take it"
        scope = f": {problems}" if problems else ""
        lines.append(f"{name} ({_rank(priority)}) {says}{scope}")
    return lines


def read_problem(problem: list[str]) -> tuple[list[Tensor], dict]:
    """Operands without values, and attributes.

    Raises:
        ValueError: a part is neither.
    """
    operands, attrs = [], {}
    for text in problem:
        operand = re.fullmatch(r"\s*(\w+)\s*(\(.*\)|\[.*\])\s*", text)
        attribute = re.fullmatch(r"(\w+)=(.*)", text)
        if operand:
            sizes = ast.literal_eval(operand[2])
            dims = tuple(sizes) if isinstance(sizes, (tuple, list)) else (sizes,)
            operands.append(Tensor(dims=dims, dtype=operand[1]))
        elif attribute:
            try:
                attrs[attribute[1]] = ast.literal_eval(attribute[2])
            except (ValueError, SyntaxError):
                attrs[attribute[1]] = attribute[2]
        else:
            raise ValueError(f"'{text}' is neither an operand as dtype(sizes) nor name=value")
    return operands, attrs
