"""Which kernels are registered, and which one takes a given problem."""

import argparse
import ast
import importlib
import pkgutil
import re

from keras_native import _core
from keras_native.engine import primitives
from keras_native.engine.primitive import REGISTRY
from keras_native.engine.tensor import Tensor

EXAMPLES = """\
examples:
  kernels         every primitive with its kernels, the first choice first
  kernels conv    those of one primitive
  kernels matmul 'float32(64, 784)' 'float32(784, 512)' transpose_b=False
                  the kernel that takes this problem
"""


def main(arguments: list[str]) -> int:
    """Lists kernels, or names the one that a problem gets; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_native kernels",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    table = {name: [] for name in ([options.primitive] if options.primitive else known)}
    for op, name, priority in _core.kernels():
        if op in table or options.primitive is None:
            table.setdefault(op, []).append(f"{name} ({priority})")
    width = max(map(len, table))
    for name, kernels in table.items():
        print(f"{name:{width}}  {', '.join(kernels) or '- (NumPy reference on the host)'}")
    return 0


def import_primitives() -> list[str]:
    """Imports every family; returns the names of all primitives, sorted."""
    for module in pkgutil.iter_modules(primitives.__path__):
        importlib.import_module(f"{primitives.__name__}.{module.name}")
    return sorted(REGISTRY)


def chosen(name: str, problem: list[str]) -> str:
    """What runs a problem: the kernel's name, or that no kernel takes it.

    Args:
        name: the primitive.
        problem: operands as "float32(2, 3)", then attributes as "axis=1".

    Raises:
        ValueError: an operand or attribute cannot be read, or the shape rule refuses the problem.
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
    specs = REGISTRY[name].shape(*operands, **attrs)
    specs = specs if isinstance(specs, list) else [specs]
    kernel = _core.chosen_kernel(
        name,
        [(t.dtype, t.dims) for t in operands],
        [(dtype, dims) for dims, dtype in specs],
        attrs,
    )
    results = ", ".join(f"{dtype}{dims}" for dims, dtype in specs)
    return f"{name} -> {results}: {kernel or 'no kernel takes it; the NumPy reference on the host'}"
