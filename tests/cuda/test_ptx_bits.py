"""Logic, shifts, fields, counts and permutations, on Python's integers."""

import inputs
import numpy as np
import pytest
from ptxkernel import DTYPES, Elementwise


def width(kind):
    return 8 * np.dtype(DTYPES[kind][0]).itemsize


def check(text, out, ins, rule, arrays=None):
    """`rule` maps Python integers to one, of which the low bits count."""
    arrays = arrays or inputs.cases(ins)
    got = Elementwise(text, out, ins)(*arrays)
    mask = (1 << width(out)) - 1
    expected = np.array([rule(*map(int, v)) & mask for v in zip(*arrays)], f"u{width(out) // 8}")
    inputs.same(got, expected.view(got.dtype), arrays)


LOGIC = {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}


@pytest.mark.parametrize("kind", ["b16", "b32", "b64"])
def test_logic(kind):
    for name, rule in LOGIC.items():
        check(f"{name}.{kind} {{d}}, {{a}}, {{b}};", kind, (kind, kind), rule)
    check(f"not.{kind} {{d}}, {{a}};", kind, (kind,), lambda a: ~a)
    check(f"cnot.{kind} {{d}}, {{a}};", kind, (kind,), lambda a: int(a == 0))


def test_logic_of_predicates():
    rng = np.random.default_rng(3)
    a, b = (rng.integers(0, 2, 64).astype(np.uint32) for _ in range(2))
    start = "setp.ne.u32 %q1, {a}, 0; setp.ne.u32 %q2, {b}, 0;"
    rules = {**LOGIC, "xor": lambda x, y: x ^ y}
    for name, rule in rules.items():
        for x, y in [("", ""), ("!", ""), ("", "!"), ("!", "!")]:
            got = Elementwise(
                f"{start} {name}.pred {{d}}, {x}%q1, {y}%q2;", "pred", ("u32", "u32")
            )(a, b)
            assert (got == rule(a ^ (x == "!"), b ^ (y == "!"))).all(), (name, x, y)
    got = Elementwise(f"{start} not.pred {{d}}, %q1;", "pred", ("u32", "u32"))(a, b)
    assert (got == 1 - a).all()
    got = Elementwise(f"{start} mov.pred {{d}}, !%q2;", "pred", ("u32", "u32"))(a, b)
    assert (got == 1 - b).all()


@pytest.mark.parametrize("name", ["shl.b", "shr.u", "shr.s", "shr.b"])
@pytest.mark.parametrize("size", [16, 32, 64])
def test_shift(name, size):
    """Counts above the width give zero, or the sign."""
    kind = f"{name[-1]}{size}"
    rule = (lambda a, n: a << n) if name.startswith("shl") else (lambda a, n: a >> n)
    (a, n) = inputs.cases([kind, "u32"])
    small = (n % 70).astype(np.uint32)
    for counts in (small, np.where(n > 2**20, n, small)):
        text = f"{name}{size} {{d}}, {{a}}, {{b}};"
        check(text, kind, (kind, "u32"), lambda a, n: rule(a, min(n, 100)), [a, counts])


@pytest.mark.parametrize("size", [32, 64])
def test_counts(size):
    kind = f"b{size}"
    check(f"popc.{kind} {{d}}, {{a}};", "u32", (kind,), lambda a: a.bit_count())
    check(f"clz.{kind} {{d}}, {{a}};", "u32", (kind,), lambda a: size - a.bit_length())
    check(f"brev.{kind} {{d}}, {{a}};", kind, (kind,), lambda a: int(f"{a:0{size}b}"[::-1], 2))


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_bfind(kind):
    size = width(kind)

    def highest(a):
        bits = ~a if a < 0 else a
        return bits.bit_length() - 1  # -1, all ones, if there is none

    def amount(a):
        at = highest(a)
        return -1 if at < 0 else size - 1 - at

    check(f"bfind.{kind} {{d}}, {{a}};", "u32", (kind,), highest)
    check(f"bfind.shiftamt.{kind} {{d}}, {{a}};", "u32", (kind,), amount)


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_bfe(kind):
    """Bits beyond the top are zero, or the sign of the field. Start and length are at most 255."""
    size = width(kind)

    def field(a, start, length):
        if length == 0:
            return 0
        bits = a & ((1 << size) - 1)
        found = (bits >> start) & ((1 << length) - 1)
        top = min(start + length - 1, size - 1)
        if kind[0] == "s" and bits >> top & 1:
            found |= -1 << max(top - start + 1, 0)
        return found

    a, start, length = inputs.cases([kind, "u32", "u32"])
    start, length = start % 256, length % 256
    start[::2], length[::3] = start[::2] % 70, length[::3] % 70
    check(
        f"bfe.{kind} {{d}}, {{a}}, {{b}}, {{c}};",
        kind,
        (kind, "u32", "u32"),
        field,
        [a, start, length],
    )


@pytest.mark.parametrize("kind", ["b32", "b64"])
def test_bfi(kind):
    size = width(kind)

    def insert(a, b, start, length):
        mask = ((1 << length) - 1) << start & ((1 << size) - 1)
        return (b & ~mask) | (a << start & mask)

    a, b, start, length = inputs.cases([kind, kind, "u32", "u32"])
    start, length = start % 256, length % 256
    start[::2], length[::3] = start[::2] % 70, length[::3] % 70
    text = f"bfi.{kind} {{d}}, {{a}}, {{b}}, {{c}}, {{e}};"
    check(text, kind, (kind, kind, "u32", "u32"), insert, [a, b, start, length])


def test_prmt():
    def permute(a, b, selector):
        both = (a | b << 32).to_bytes(8, "little")
        picked = []
        for k in range(4):
            pick = selector >> (4 * k) & 15
            byte = both[pick & 7]
            picked.append((255 if byte & 128 else 0) if pick & 8 else byte)
        return int.from_bytes(bytes(picked), "little")

    check("prmt.b32 {d}, {a}, {b}, {c};", "b32", ("b32", "b32", "b32"), permute)


@pytest.mark.parametrize("table", [0x00, 0xFF, 0x80, 0xE8, 0x96, 0xCA, 0x1B, 0xF0])
def test_lop3(table):
    def logic(a, b, c):
        return sum(
            (table >> ((a >> k & 1) << 2 | (b >> k & 1) << 1 | (c >> k & 1)) & 1) << k
            for k in range(32)
        )

    check(f"lop3.b32 {{d}}, {{a}}, {{b}}, {{c}}, {table};", "b32", ("b32", "b32", "b32"), logic)


@pytest.mark.parametrize("mode", ["clamp", "wrap"])
@pytest.mark.parametrize("direction", ["l", "r"])
def test_shf(direction, mode):
    """The upper half of {b, a} shifted left, or its lower half shifted right."""

    def funnel(a, b, n):
        n = n & 31 if mode == "wrap" else min(n, 32)
        both = b << 32 | a
        return both << n >> 32 if direction == "l" else both >> n

    a, b, n = inputs.cases(["b32", "b32", "u32"])
    n[::2] %= 40
    text = f"shf.{direction}.{mode}.b32 {{d}}, {{a}}, {{b}}, {{c}};"
    check(text, "b32", ("b32", "b32", "u32"), funnel, [a, b, n])


def test_mov_packs_and_unpacks():
    check("mov.b64 {d}, {{{a}, {b}}};", "b64", ("b32", "b32"), lambda a, b: a | b << 32)
    check("mov.b32 {d}, {{{a}, {b}}};", "b32", ("b16", "b16"), lambda a, b: a | b << 16)
    check("mov.b64 {{%r1, {d}}}, {a};", "b32", ("b64",), lambda a: a >> 32)
    check("mov.b64 {{{d}, _}}, {a};", "b32", ("b64",), lambda a: a)
    text = "mov.b64 {{%h1, %h2, %h3, {d}}}, {a};"
    check(text, "b16", ("b64",), lambda a: a >> 48)
