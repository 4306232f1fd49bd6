"""Python's operators, conversions and NumPy's protocols on Tensor; importing this attaches them."""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine import exchange, promotion
from keras_native.engine.indexing import getitem
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.tensor import Tensor


def _operator(compute, prepare=promotion.pair):
    """`__op__` and `__rop__` from a function of two operands of one dtype."""

    def forward(self, other):
        if type(other) is Tensor and other.dtype == self.dtype and prepare is promotion.pair:
            return compute(self, other)
        other = promotion.as_operand(other)
        return other if other is NotImplemented else compute(*prepare(self, other))

    def backward(self, other):
        other = promotion.as_operand(other)
        return other if other is NotImplemented else compute(*prepare(other, self))

    return forward, backward


def arithmetic_pair(x1, x2) -> tuple:
    """As `pair`, and booleans become int32 (as JAX does where a bool has no arithmetic)."""
    x1, x2 = promotion.pair(x1, x2)
    if getattr(x1, "dtype", "bool") == "bool" and getattr(x2, "dtype", "bool") == "bool":
        return promotion.as_dtype(x1, "int32"), promotion.as_dtype(x2, "int32")
    return x1, x2


def inexact_pair(x1, x2) -> tuple:
    """As `pair`, and integers and booleans become the default float dtype, each by itself: their
    common integer dtype may not hold them."""
    for x in (x1, x2):
        if isinstance(x, Tensor) and (x.dtype in dtypes.FLOATS or x.dtype in dtypes.COMPLEX):
            return promotion.pair(x1, x2)
    dtype = promotion.result_type(promotion.kind(x1), promotion.kind(x2))
    if dtype not in dtypes.FLOATS and dtype not in dtypes.COMPLEX:
        dtype = promotion.floatx()
    return promotion.as_dtype(x1, dtype), promotion.as_dtype(x2, dtype)


def power(x1, x2):
    """x1 ** x2 for operands of one dtype; small constant exponents without a power function.

    Args:
        x1, x2: as `promotion.pair` gives them.
    """
    if not isinstance(x2, Tensor):
        if x2 == 2:
            return ew.square(x1)
        if x1.dtype in dtypes.FLOATS:
            if x2 == 0.5:
                return ew.sqrt(x1)
            if x2 == 1:
                return x1
            if x2 == 3:
                return ew.mul(ew.square(x1), x1)
            if x2 == -1:
                return ew.reciprocal(x1)
    return ew.pow(x1, x2)


def matmul(x1: Tensor, x2: Tensor, out_dtype: str | None = None) -> Tensor:
    """NumPy's matmul, vectors included, of operands of one dtype.

    Args:
        out_dtype: dtype of the result; by default int32 for int8 operands, else theirs.

    Raises:
        ValueError: a scalar operand, or sizes that do not fit.
    """
    from keras_native.engine.primitives.matmul import matmul as matmul_primitive
    from keras_native.engine.primitives.shape import reshape

    a, b = x1.dims, x2.dims
    if not a or not b:
        raise ValueError(f"matmul: operands need at least one axis, got shapes {a} and {b}")
    if len(a) == 1:
        x1 = reshape(x1, (1, *a))
    if len(b) == 1:
        x2 = reshape(x2, (*b, 1))
    if out_dtype is None and x1.dtype == "int8":
        out_dtype = "int32"
    out = matmul_primitive(x1, x2, out_dtype=out_dtype)
    if len(a) == 1 or len(b) == 1:
        dims = out.dims
        dims = dims[:-1] if len(b) == 1 else dims
        if len(a) == 1:
            dims = dims[:-2] if len(b) == 1 else (*dims[:-2], dims[-1])
        out = reshape(out, dims)
    return out


def _matmul_pair(x1, x2):
    x1, x2 = promotion.pair(x1, x2)
    if not isinstance(x1, Tensor) or not isinstance(x2, Tensor):
        raise ValueError("matmul: operands need at least one axis, got a number")
    return x1, x2


def negative(x: Tensor) -> Tensor:
    """-x; booleans as int32."""
    return ew.neg(ew.cast(x, "int32") if x.dtype == "bool" else x)


def _getitem(self, key):
    return getitem(self, key)


def _len(self):
    if not self.dims:
        raise TypeError("len() of a tensor of shape ()")
    return self.dims[0]


def _iter(self):
    if not self.dims:
        raise TypeError("iteration over a tensor of shape ()")
    return (getitem(self, i) for i in range(self.dims[0]))


def _item(self):
    # By the class: an instance may have its public method replaced (a mock that forbids it).
    array = Tensor.numpy(self)
    if array.size != 1:
        raise ValueError(f"a tensor of shape {array.shape} is not one number")
    return array.reshape(()).item()


def _bool(self):
    # By the class: an instance may have its public method replaced (a mock that forbids it).
    array = Tensor.numpy(self)
    if array.size != 1:
        raise ValueError(f"the truth value of a tensor of shape {array.shape} is ambiguous")
    return bool(array.reshape(()))


def _index(self):
    if self.dtype not in dtypes.INTEGERS:
        raise TypeError(f"a tensor of dtype {self.dtype} cannot be used as an index")
    return int(_item(self))


def _array(self, dtype=None, copy=None):
    # By the class: an instance may have its public method replaced (a mock that forbids it).
    array = Tensor.numpy(self)
    if dtype is not None and np.dtype(dtype) != array.dtype:
        if copy is False:
            raise ValueError(f"a {self.dtype} tensor as {dtype} needs a copy")
        return array.astype(dtype)
    return array.copy() if copy else array


def _dlpack(self, **options):
    if exchange.shares_memory(self):
        return exchange.to_dlpack(self, **options)
    try:
        return self.numpy().__dlpack__(**options)
    except BufferError:
        # Read-only memory cannot be exported by the protocol's first version.
        return self.numpy().copy().__dlpack__(**options)


def _repr(self):
    if self.array is None:
        return f"<Tensor shape={self.shape} dtype={self.dtype} traced>"
    text = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
    return f"Tensor({text}, shape={self.dims}, dtype={self.dtype})"


def _format(self, spec):
    if self.array is not None and not self.dims:
        return format(_item(self), spec)
    return format(repr(self), spec)


def _compare_with_none(compare):
    def method(self, other):
        return compare(self, other) if other is not None else NotImplemented

    return method


def attach(cls: type = Tensor) -> None:
    """Gives the class its operators."""
    both = {
        "add": _operator(ew.add),
        "sub": _operator(ew.sub, arithmetic_pair),
        "mul": _operator(ew.mul),
        "truediv": _operator(ew.div, inexact_pair),
        "floordiv": _operator(ew.floor_divide, arithmetic_pair),
        "mod": _operator(ew.mod, arithmetic_pair),
        "pow": _operator(power, arithmetic_pair),
        "matmul": _operator(matmul, _matmul_pair),
        "and": _operator(ew.bitwise_and),
        "or": _operator(ew.bitwise_or),
        "xor": _operator(ew.bitwise_xor),
        "lshift": _operator(ew.shift_left),
        "rshift": _operator(ew.shift_right),
    }
    for name, (forward, backward) in both.items():
        setattr(cls, f"__{name}__", forward)
        setattr(cls, f"__r{name}__", backward)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        forward = _operator(getattr(ew, name))[0]
        setattr(cls, f"__{name}__", _compare_with_none(forward))
    cls.__hash__ = object.__hash__
    cls.__neg__ = negative
    cls.__pos__ = lambda self: self
    cls.__abs__ = lambda self: ew.abs(self)
    cls.__invert__ = lambda self: ew.bitwise_not(self)
    cls.__getitem__ = _getitem
    cls.__len__ = _len
    cls.__iter__ = _iter
    cls.__bool__ = _bool
    cls.__int__ = lambda self: int(_item(self))
    cls.__float__ = lambda self: float(_item(self))
    cls.__complex__ = lambda self: complex(_item(self))
    cls.__index__ = _index
    cls.__array__ = _array
    cls.__dlpack__ = _dlpack
    cls.__dlpack_device__ = exchange.dlpack_device
    cls.__cuda_array_interface__ = property(exchange.cuda_array_interface)
    cls.__repr__ = _repr
    cls.__format__ = _format
    cls.item = _item


attach()
