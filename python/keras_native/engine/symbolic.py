"""Symbolic sizes: integers that a trace leaves open, such as the batch size.

A `SymInt` carries an expression over symbols (a code of `_core.symbols`) and a hint: its value in
the
call that is being traced. Arithmetic gives SymInts. A comparison is answered by the hint and
recorded
as a guard of the trace, so that the compiled code is used only where the answer is the same; but no
guard is needed for comparisons with 0 and 1: code is traced as for a size of two or more, which
is right for smaller sizes as well because kernels see the true sizes. Turning one into a Python int
fixes it: a guard of equality.
"""

from __future__ import annotations

import operator

from keras_native import _core
from keras_native.engine.errors import TraceError
from keras_native.engine.primitive import STATE

_symbols = _core.symbols


class SymInt:
    """An integer expression over symbolic sizes."""

    __slots__ = ("code", "hint")
    # Keras asks `standardize_dtype(type(size))`.
    name = "int32"

    def __init__(self, code: int, hint: int):
        self.code = code
        self.hint = hint

    def __index__(self) -> int:
        if not guard("==", self, self.hint, True):
            raise TraceError(f"the symbolic size {self} was used as a number outside its trace")
        return self.hint

    __int__ = __index__

    def __hash__(self):
        return hash(int(self))

    def __repr__(self):
        return f"SymInt({_symbols.text(self.code)}, hint={self.hint})"

    def __bool__(self):
        return self != 0

    def __float__(self):
        return float(int(self))

    def __neg__(self):
        return self * -1

    def __abs__(self):
        return self if self >= 0 else -self


def code_of(value) -> int:
    """The code of a SymInt, or the int itself."""
    return value.code if type(value) is SymInt else int(value)


def hint_of(value) -> int:
    """The hint of a SymInt, or the int itself."""
    return value.hint if type(value) is SymInt else value


def make(code: int, hint: int):
    """A plain int when the expression folded to one."""
    return SymInt(code, hint) if _symbols.is_symbolic(code) else code


def guard(relation: str, a, b, outcome: bool) -> bool:
    """Records that `a relation b` is `outcome` in the trace; False when no trace is active."""
    trace = STATE.trace
    if trace is None:
        return False
    trace.root.guards.append((relation, code_of(a), code_of(b), outcome))
    return True


def _arithmetic(name, fn):
    combine = getattr(_symbols, name)

    def forward(self, other):
        if type(other) is not SymInt and not hasattr(other, "__index__"):
            return NotImplemented
        return make(combine(self.code, code_of(other)), fn(self.hint, hint_of(other)))

    def backward(self, other):
        if not hasattr(other, "__index__"):
            return NotImplemented
        return make(combine(code_of(other), self.code), fn(hint_of(other), self.hint))

    return forward, backward


for _name, _dunder, _fn in (
    ("add", "add", operator.add),
    ("sub", "sub", operator.sub),
    ("mul", "mul", operator.mul),
    ("floordiv", "floordiv", operator.floordiv),
    ("mod", "mod", operator.mod),
):
    _forward, _backward = _arithmetic(_name, _fn)
    setattr(SymInt, f"__{_dunder}__", _forward)
    setattr(SymInt, f"__r{_dunder}__", _backward)


def _true_divide(self, other):
    return int(self) / (int(other) if type(other) is SymInt else other)


SymInt.__truediv__ = _true_divide
SymInt.__rtruediv__ = lambda self, other: other / int(self)

_RELATIONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# As if the size were large: the answers to comparisons with numbers of at most one.
_GENERIC = {"==": False, "!=": True, "<": False, "<=": False, ">": True, ">=": True}


def _comparison(relation):
    fn = _RELATIONS[relation]

    def compare(self, other):
        if type(other) is SymInt:
            if other.code == self.code:
                return fn(0, 0)
        elif isinstance(other, int):
            if other <= 1:
                return _GENERIC[relation]
        elif not hasattr(other, "__index__"):
            return fn(0, 1) if relation in ("==", "!=") else NotImplemented
        outcome = fn(self.hint, hint_of(other))
        guard(relation, self, other, outcome)
        return outcome

    return compare


for _relation, _dunder in (
    ("==", "eq"),
    ("!=", "ne"),
    ("<", "lt"),
    ("<=", "le"),
    (">", "gt"),
    (">=", "ge"),
):
    setattr(SymInt, f"__{_dunder}__", _comparison(_relation))


def holds(guards, sizes) -> bool:
    """Whether every guard has its outcome for these values of the symbols."""
    evaluate = _symbols.evaluate
    for relation, a, b, outcome in guards:
        if _RELATIONS[relation](evaluate(a, sizes), evaluate(b, sizes)) is not outcome:
            return False
    return True


def evaluated(dims, sizes) -> tuple[int, ...]:
    """Sizes for these values of the symbols."""
    return tuple(_symbols.evaluate(code_of(d), sizes) for d in dims)
