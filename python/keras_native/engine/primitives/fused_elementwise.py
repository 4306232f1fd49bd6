"""`fused_elementwise`: many elementwise operations in one pass over memory.

Its attribute `program` is text, instructions separated by ';':

    r3:float32=mul r0 r1; r4:float32=leaky_relu[0.2] r3; r5:bool=gt r4 r2; out r4 r5

Registers r0.. are the inputs; a result names its dtype; numbers in brackets are the attributes of
the primitive in the order of `IMMEDIATES`; `const[3.5]` is a scalar. `out` names the outputs, all
of which have the broadcast shape of the inputs. A program gives the same bits as its operations one
by one.

`fused_gather_grad` is a program one of whose inputs is the gradient of a gather along the first
axis: that of a table with `size` rows. In the place of input number `gradient` stands the
cotangent, and its indices come last.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import REGISTRY, Primitive
from keras_native.engine.primitives.elementwise_common import broadcast_dims
from keras_native.engine.primitives.gather import _gather_grad
from keras_native.engine.tensor import Tensor

# Attributes that stand between brackets, by operation. `cast` takes its from the result's dtype.
IMMEDIATES = {
    "gelu": ("approximate",),
    "elu": ("alpha",),
    "leaky_relu": ("slope",),
    "polygamma": ("n",),
}

_INSTRUCTION = re.compile(r"r(\d+):(\w+)=(\w+)(?:\[([^\]]*)\])?((?: r\d+)*)")


@lru_cache(maxsize=1024)
def parse(program: str):
    """Instructions (dst, dtype, op, immediates, sources), then the registers that go out.

    Raises:
        ValueError: the text is malformed.
    """
    *lines, last = (part.strip() for part in program.split(";"))
    instructions = []
    for line in lines:
        match = _INSTRUCTION.fullmatch(line)
        if match is None:
            raise ValueError(f"fused_elementwise: malformed instruction {line!r}")
        dst, dtype, op, immediates, sources = match.groups()
        values = tuple(float(v) for v in immediates.split(",")) if immediates else ()
        if op not in ("const", *REGISTRY) or dtype not in dtypes.NUMPY:
            raise ValueError(f"fused_elementwise: unknown operation or dtype in {line!r}")
        instructions.append(
            (int(dst), dtype, op, values, tuple(int(s[1:]) for s in sources.split()))
        )
    if not re.fullmatch(r"out( r\d+)+", last):
        raise ValueError(f"fused_elementwise: expected outputs last, got {last!r}")
    return instructions, tuple(int(r[1:]) for r in last.split()[1:])


def _shape(*inputs, program):
    instructions, outputs = parse(program)
    types = dict(enumerate(t.dtype for t in inputs)) | {i[0]: i[1] for i in instructions}
    dims = broadcast_dims("fused_elementwise", inputs)
    for r in outputs:
        if r not in types:
            raise ValueError(f"fused_elementwise: output r{r} is never set")
    return [(dims, types[r]) for r in outputs]


def _reference(*arrays, program):
    instructions, outputs = parse(program)
    registers = dict(enumerate(arrays))
    for dst, dtype, op, immediates, sources in instructions:
        operands = [registers[s] for s in sources]
        if op == "const":
            value = np.asarray(immediates[0])
        elif op == "cast":
            value = REGISTRY["cast"].reference(*operands, dtype=dtype)
        else:
            attrs = dict(zip(IMMEDIATES.get(op, ()), immediates))
            if "approximate" in attrs:
                attrs["approximate"] = bool(attrs["approximate"])
            value = REGISTRY[op].reference(*operands, **attrs)
        registers[dst] = np.asarray(value).astype(dtypes.NUMPY[dtype])
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    return tuple(np.array(np.broadcast_to(registers[r], shape)) for r in outputs)


fused_elementwise = Primitive("fused_elementwise", shape=_shape, reference=_reference)


def _gradient_shape(*inputs, program, gradient, size):
    *inputs, indices = inputs
    dims, dtype = _gather_grad.shape(indices, inputs[gradient], axis=0, size=size)
    inputs[gradient] = Tensor(dims=dims, dtype=dtype)
    return _shape(*inputs, program=program)


def _gradient_reference(*arrays, program, gradient, size):
    *arrays, indices = arrays
    arrays[gradient] = _gather_grad.reference(indices, arrays[gradient], axis=0, size=size)
    return _reference(*arrays, program=program)


fused_gather_grad = Primitive(
    "fused_gather_grad", shape=_gradient_shape, reference=_gradient_reference
)
