"""Elementwise operations and tile programs.

Tolerance: relative to each element. Functions of float32 and float64 are right within 2 units in
the last place; narrow floats are computed in float32 and rounded once.
"""

from __future__ import annotations

import numpy as np

from bench.harness import EPS, Case, _numpy_dtype

# Operands of each function are drawn evenly from an interval.
UNARY = {
    "neg": (-9, 9), "abs": (-9, 9), "sign": (-9, 9), "square": (-9, 9), "reciprocal": (0.1, 9),
    "sqrt": (1, 9), "rsqrt": (1, 9), "cbrt": (1, 9), "exp": (-80, 80), "exp2": (-99, 99),
    "expm1": (-5, 5), "log": (0.5, 9), "log1p": (-0.9, 99), "log2": (0.5, 9),
    "log10": (0.5, 9), "sin": (-99, 99), "cos": (-99, 99), "tan": (-1.2, 1.2),
    "asin": (-0.99, 0.99), "acos": (-0.99, 0.99), "atan": (-9, 9), "sinh": (-9, 9),
    "cosh": (-9, 9), "tanh": (-5, 5),
    "asinh": (-99, 99), "acosh": (1.5, 9), "atanh": (-0.99, 0.99), "erf": (-4, 4),
    "erfc": (-4, 9), "erfinv": (-0.99, 0.99), "lgamma": (3.1, 99), "digamma": (2.1, 99),
    "sigmoid": (-30, 30), "log_sigmoid": (-30, 30), "softplus": (-30, 30), "relu": (-9, 9),
    "relu6": (-9, 9), "silu": (-30, 30), "selu": (-9, 9), "softsign": (-9, 9),
    "hard_sigmoid": (-5, 5), "hard_silu": (-2.9, 5), "floor": (-99, 99), "ceil": (-99, 99),
    "round": (-99, 99), "trunc": (-99, 99), "isnan": (-9, 9), "isinf": (-9, 9),
    "isfinite": (-9, 9), "gelu": (-5, 5), "gelu_slope": (0, 5), "elu": (-9, 9),
    "leaky_relu": (-9, 9),
}  # fmt: skip
ATTRS = {"gelu": {"approximate": False}, "elu": {"alpha": 0.7}, "leaky_relu": {"slope": 0.2}}
# Steps have no gradient rule.
FLAT = {"sign", "floor", "ceil", "round", "trunc", "isnan", "isinf", "isfinite"}

BINARY = {
    "add": (-9, 9), "sub": (-9, 9), "mul": (-9, 9), "div": (0.1, 9), "pow": (0.1, 9),
    "floor_divide": (0.1, 9), "mod": (0.1, 9), "fmod": (0.1, 9), "maximum": (-9, 9),
    "minimum": (-9, 9), "atan2": (-9, 9), "hypot": (-9, 9), "copysign": (-9, 9),
    "logaddexp": (0, 9),
    "eq": (-9, 9), "ne": (-9, 9), "lt": (-9, 9), "le": (-9, 9), "gt": (-9, 9), "ge": (-9, 9),
}  # fmt: skip
FLAT_BINARY = {"floor_divide", "eq", "ne", "lt", "le", "gt", "ge"}
INTEGER = [
    "add", "sub", "mul", "floor_divide", "mod", "fmod", "pow", "maximum", "minimum", "eq", "ne",
    "lt", "le", "gt", "ge", "bitwise_and", "bitwise_or", "bitwise_xor", "shift_left", "shift_right",
]  # fmt: skip
DTYPES = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def _even(shapes, dtype, low, high):
    def make(rng):
        return [rng.uniform(low, high, s).astype(_numpy_dtype(dtype)) for s in shapes]

    return make


def _case(op, shapes, dtype, interval, tol, attrs=None, grad=True):
    # Quotients and exponents of narrow floats reach beyond their range less often this way.
    low, high = interval
    if dtype == "float16":
        low, high = max(low, -9), min(high, 9)
    inputs = tuple((s, dtype) for s in shapes)
    return Case(
        op,
        inputs,
        attrs or {},
        tol=tol,
        relative=True,
        grad=grad,
        make=_even(shapes, dtype, low, high),
    )


def _tolerance(dtype):
    return 2 if dtype in ("float32", "float64") else 1


def _unary():
    for op, interval in UNARY.items():
        for dtype in DTYPES:
            grad = dtype == "float32" and op not in FLAT
            yield _case(op, [(3, 171)], dtype, interval, _tolerance(dtype), ATTRS.get(op), grad)
    for dtype in DTYPES:
        yield _case("gelu", [(515,)], dtype, (-5, 5), _tolerance(dtype), {"approximate": True})


def _binary():
    for op, interval in BINARY.items():
        for dtype in DTYPES:
            grad = dtype == "float32" and op not in FLAT_BINARY
            shapes = [(3, 171), (171,)] if op != "copysign" else [(3, 171), (3, 171)]
            yield _case(op, shapes, dtype, interval, _tolerance(dtype), grad=grad)


def _small_integers(shapes, dtype):
    low = 0 if dtype.startswith("u") else -9

    def make(rng):
        return [rng.integers(low, 10, s).astype(dtype) for s in shapes]

    return make


def _integers():
    for op in INTEGER:
        for dtype in INTEGERS:
            shapes = [(3, 171), (3, 1)]
            yield Case(
                op,
                tuple((s, dtype) for s in shapes),
                make=_small_integers(shapes, dtype),
                grad=False,
            )
    for op in ("neg", "abs", "sign", "square", "relu", "relu6", "bitwise_not", "isnan", "isfinite"):
        for dtype in INTEGERS:
            yield Case(op, (((70,), dtype),), make=_small_integers([(70,)], dtype), grad=False)


def _bools():
    for op in ("logical_and", "logical_or", "logical_xor", "add", "mul", "maximum", "eq", "lt"):
        yield Case(op, (((5, 33), "bool"), ((33,), "bool")), grad=False)
    for op in ("logical_not", "bitwise_not"):
        yield Case(op, (((5, 33), "bool"),), grad=False)


# Shapes as they broadcast: equal, bias, column, scalar, several axes at once, nothing at all.
BROADCASTS = [
    [(), ()], [(1,), (1,)], [(17,), ()], [(40, 33), (33,)], [(40, 33), (40, 1)], [(9, 600), (9, 1)],
    [(4, 1, 7, 1), (1, 5, 1, 6)], [(3, 5000), (5000,)], [(2, 3, 4, 5), (3, 1, 5)],
    [(1, 600), (3, 1)], [(0, 4), (4,)], [(3, 1), (1, 0)], [(2049,), (2049,)],
    # Rows that tiles are parts of.
    [(5, 768), (5, 1)], [(5, 1), (1, 1024)], [(2, 3, 512), (2, 1, 1)], [(2, 3, 320), (2, 3, 1)],
]  # fmt: skip


def _broadcasts():
    for shapes in BROADCASTS:
        for dtype in ("float32", "float16", "int8"):
            yield Case("mul", tuple((s, dtype) for s in shapes), tol=1, grad=dtype == "float32")


def _others():
    for op in ("relu", "exp", "add", "pow"):  # tasks of many tiles, the last of which ends anywhere
        shapes = [(40009,)] * (2 if op in BINARY else 1)
        yield _case(op, shapes, "float32", BINARY.get(op) or UNARY[op], 2, grad=False)
    for dtype in DTYPES:  # no link of a chain
        yield _case("pow", [(4, 512), (4, 1)], dtype, BINARY["pow"], _tolerance(dtype))
    x, row, column = (3, 171), (171,), (3, 1)
    for dtype in DTYPES + ("int32", "int64", "bool"):
        yield Case("select", ((x, "bool"), (row, dtype), (column, dtype)), tol=0.1)
        if dtype != "bool":
            # Bounds may cross.
            yield Case("clip", ((x, dtype), (row, dtype), (column, dtype)), tol=0.1)
            yield Case("fma", ((x, dtype), (row, dtype), (column, dtype)), tol=1)
    for a in (*DTYPES, "bool", *INTEGERS):
        for b in (*DTYPES, "bool", *INTEGERS):
            if a != b:
                grad = {a, b} <= set(DTYPES)
                attrs = {"dtype": b}
                yield Case("cast", (((171,), a),), attrs, tol=0.5, grad=grad, make=_castable(a))


def _castable(dtype):
    def make(rng):
        if dtype == "bool":
            return [rng.random(171) < 0.5]
        # Within every integer's range, since beyond it C leaves the result open.
        return [rng.integers(0, 127, 171).astype(_numpy_dtype(dtype))]

    return make


# Eleven operations of one addition's cost each.
CHAIN = ("r2:float32=mul r0 r1; r3:float32=add r2 r0; r4:float32=mul r3 r3; r5:float32=sub r4 r1; "
         "r6:float32=maximum r5 r0; r7:float32=mul r6 r2; r8:float32=add r7 r3; "
         "r9:float32=minimum r8 r4; r10:float32=sub r9 r5; r11:float32=mul r10 r1; "
         "r12:float32=add r11 r0; out r12")  # fmt: skip
# Adam's update of a parameter r0 with moments r1 and r2, gradient r3 and step size r4.
ADAM = ("r5:float32=sub r3 r1; r6:float32=const[0.1]; r7:float32=mul r5 r6; r8:float32=add r1 r7; "
        "r9:float32=square r3; r10:float32=sub r9 r2; r11:float32=const[0.001]; "
        "r12:float32=mul r10 r11; r13:float32=add r2 r12; r14:float32=mul r8 r4; "
        "r15:float32=sqrt r13; r16:float32=const[1e-07]; r17:float32=add r15 r16; "
        "r18:float32=div r14 r17; r19:float32=sub r0 r18; out r19 r8 r13")  # fmt: skip
MIXED = ("r3:float32=mul r0 r1; r4:float32=leaky_relu[0.2] r3; r5:bool=gt r4 r2; "
         "r6:float32=const[1.5]; r7:float32=add r4 r6; r8:float64=cast r7; r9:int8=cast r8; "
         "r10:float32=select r5 r3 r2; out r4 r5 r7 r8 r9 r10 r7")  # fmt: skip


def _positive(shapes):
    def make(rng):
        return [rng.uniform(0.1, 1, s).astype("float32") for s in shapes]

    return make


def _fused():
    n = (41, 100)
    chain = (n, "float32"), ((100,), "float32")
    yield Case("fused_elementwise", chain, {"program": CHAIN}, tol=64, grad=False, label="chain")
    for n in ((41, 100), (10007,)):
        shapes = [n, n, n, n, ()]
        adam = tuple((s, "float32") for s in shapes)
        yield Case("fused_elementwise", adam, {"program": ADAM}, tol=16, grad=False,
                   make=_positive(shapes), label="adam")  # fmt: skip


def _torch(op, attrs=None):
    """Peer: the function of that name, written into an output that exists already where it can."""

    def build(arrays):
        import torch

        tensors = [torch.from_numpy(a) for a in arrays]
        functional = {"gelu": torch.nn.functional.gelu, "silu": torch.nn.functional.silu,
                      "relu": torch.relu, "select": torch.where}  # fmt: skip
        function = functional.get(op) or getattr(torch, op)
        return lambda: function(*tensors, **(attrs or {}))

    return {"torch": build}


def _torch_chain(arrays):
    import torch

    a, b = (torch.from_numpy(x) for x in arrays)

    def call():
        r2 = a * b
        r3 = r2 + a
        r4 = r3 * r3
        r5 = r4 - b
        r8 = torch.maximum(r5, a) * r2 + r3
        return (torch.minimum(r8, r4) - r5) * b + a

    return call


def _torch_adam(arrays):
    import torch

    parameter = torch.from_numpy(arrays[0].copy()).requires_grad_()
    parameter.grad = torch.from_numpy(arrays[3])
    return torch.optim.Adam([parameter], fused=True).step


def _speed():
    million, four = (1 << 20,), (1 << 22,)
    unary = "exp log log1p expm1 tanh erf sigmoid silu gelu sin cos relu sqrt rsqrt"
    for op in unary.split():
        yield Case(op, ((million, "float32"),), ATTRS.get(op, {}), bytes=8 << 20, speed=True,
                   peer=_torch(op), make=_positive([million]))  # fmt: skip
    matrix = (4096, 1024)
    for op, shapes in (("add", [four, four]), ("mul", [four, ()]), ("add", [matrix, (1024,)]),
                       ("mul", [matrix, (4096, 1)]), ("pow", [million, million])):  # fmt: skip
        size = sum(4 * int(np.prod(s)) for s in (shapes[0], *shapes))
        yield Case(op, tuple((s, "float32") for s in shapes), bytes=size, speed=True,
                   peer=_torch(op), make=_positive(shapes))  # fmt: skip
    yield Case("select", ((four, "bool"), (four, "float32"), (four, "float32")), bytes=13 << 22,
               speed=True, peer=_torch("select"))  # fmt: skip
    pair = ((four, "float32"),) * 2
    yield Case("fused_elementwise", pair, {"program": CHAIN}, flops=11 << 22, bytes=12 << 22,
               speed=True, peer={"torch": _torch_chain}, label="chain_of_11")  # fmt: skip
    adam = (*pair, *pair, ((), "float32"))
    yield Case("fused_elementwise", adam, {"program": ADAM}, bytes=28 << 22, speed=True,
               make=_positive([s for s, _ in adam]), label="adam", updates=(0, 1, 2),
               peer={"torch": _torch_adam})  # fmt: skip


CASES = [
    *_unary(), *_binary(), *_integers(), *_bools(), *_broadcasts(), *_others(), *_fused(), *_speed()
]  # fmt: skip
assert set(DTYPES) == set(EPS)
