"""Branches: nested, in loops of different lengths, with early exits;
random programs beside Python."""

import numpy as np
import pytest
from ptxkernel import Buffer, _cuda, launch, run, source

LANES = np.arange(128, dtype=np.uint32)


def results(body, block=(128,), **parts):
    out = Buffer(np.full(128, 7, np.uint32))
    run(body, out, block=block, **parts)
    return out.get()


STORE = "add.u64 %rd9, %p0, %off4; st.global.u32 [%rd9], %r1;"


def test_predication():
    body = f"""mov.u32 %r1, 0; and.b32 %r2, %thread, 1; setp.eq.u32 %q0, %r2, 1;
@%q0 add.u32 %r1, %thread, 100; @!%q0 sub.u32 %r1, 1000, %thread; {STORE}"""
    assert (results(body) == np.where(LANES % 2, LANES + 100, 1000 - LANES)).all()


def test_nested_ifs():
    body = f"""mov.u32 %r1, 1; and.b32 %r2, %thread, 1; and.b32 %r3, %thread, 2;
and.b32 %r4, %thread, 4;
setp.ne.u32 %q1, %r2, 0; setp.ne.u32 %q2, %r3, 0; setp.ne.u32 %q3, %r4, 0;
@%q1 bra A;
 @%q2 bra B; add.u32 %r1, %r1, 10; bra C;
 B: @!%q3 bra D; add.u32 %r1, %r1, 20; D: mul.lo.u32 %r1, %r1, 3;
 C: add.u32 %r1, %r1, 1000; bra E;
A: @%q3 bra F; add.u32 %r1, %r1, 5; F: shl.b32 %r1, %r1, 1;
E: add.u32 %r1, %r1, 1; {STORE}"""

    def one(t):
        x = 1
        if t & 1:
            x = (x if t & 4 else x + 5) << 1
        else:
            x = ((x + 20 if t & 4 else x) * 3 if t & 2 else x + 10) + 1000
        return x + 1

    assert (results(body) == [one(int(t)) for t in LANES]).all()


def test_loops_of_different_lengths():
    """Steps of the Collatz sequence: a loop with a branch in it, each lane for itself."""
    body = f"""mov.u32 %r1, 0; add.u32 %r2, %thread, 1;
L: setp.eq.u32 %q0, %r2, 1; @%q0 bra E;
and.b32 %r3, %r2, 1; setp.eq.u32 %q1, %r3, 0; add.u32 %r1, %r1, 1;
@%q1 bra H; mad.lo.u32 %r2, %r2, 3, 1; bra L; H: shr.u32 %r2, %r2, 1; bra L;
E: {STORE}"""

    def steps(n):
        count = 0
        while n != 1:
            n, count = (3 * n + 1 if n % 2 else n // 2), count + 1
        return count

    assert (results(body) == [steps(int(t) + 1) for t in LANES]).all()


@pytest.mark.parametrize("leave", ["ret", "exit"])
def test_early_exit(leave):
    """Lanes that have left take no part in anything that follows, not even in votes."""
    body = f"""and.b32 %r2, %thread, 3; setp.eq.u32 %q0, %r2, 0; @%q0 {leave};
activemask.b32 %r1; {STORE}"""
    expected = np.where(LANES % 4 == 0, 7, 0xEEEEEEEE)
    assert (results(body) == expected).all()


def test_exit_in_a_loop():
    body = f"""mov.u32 %r1, 0;
L: {STORE} setp.ge.u32 %q0, %r1, %thread; @%q0 ret; add.u32 %r1, %r1, 1; bra.uni L;"""
    assert (results(body) == LANES).all()


def test_end_of_text_ends():
    """A kernel may end without ret."""
    out = Buffer(np.zeros(32, np.uint32))
    text = source("mov.u32 %r1, 5;" + STORE, 1).replace("\nret;\n", "\n")
    launch(text, out)
    assert (out.get() == 5).all()


def test_indexed_branch():
    body = f"""and.b32 %r2, %thread, 3; mov.u32 %r1, 0;
T: .branchtargets A, B, C, B;
brx.idx %r2, T;
A: mov.u32 %r1, 11; bra E;
B: add.u32 %r1, %r2, 20;
C: add.u32 %r1, %r1, 300;
E: {STORE}"""
    expected = np.array([11, 321, 300, 323])[LANES % 4]
    assert (results(body) == expected).all()


def test_lanes_meet_again():
    """Behind an if all lanes of the warp run together."""
    body = f"""setp.lt.u32 %q0, %lane, 9; @%q0 bra A; activemask.b32 %r2; bra B;
A: activemask.b32 %r2;
B: activemask.b32 %r1; and.b32 %r3, %lane, 1; setp.eq.u32 %q1, %r3, 0; @%q1 mov.u32 %r1, %r2;
{STORE}"""
    lane = LANES % 32
    inside = np.where(lane < 9, 0x1FF, 0xFFFFFE00)
    assert (results(body) == np.where(lane % 2 == 0, inside, 0xFFFFFFFF)).all()


class Programs:
    """Random structured programs over one variable, as PTX and as a Python function."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.labels = 0

    def block(self, depth):
        """(PTX, list of statements) of a few statements."""
        parts = [self.statement(depth) for _ in range(self.rng.integers(1, 4))]
        return "\n".join(p[0] for p in parts), [p[1] for p in parts]

    def statement(self, depth):
        self.labels += 1
        k, bit = self.labels, int(self.rng.integers(0, 8))
        kind = (
            self.rng.choice(["step", "if", "loop", "leave"], p=[0.4, 0.3, 0.2, 0.1])
            if depth
            else "step"
        )
        if kind == "step":
            a, b = (int(v) for v in self.rng.integers(1, 1000, 2))
            return f"mad.lo.u32 %r1, %r1, {2 * a + 1}, {b};", ("step", 2 * a + 1, b)
        test = f"shr.u32 %r2, %r1, {bit}; and.b32 %r2, %r2, 1; setp.eq.u32 %q0, %r2, 0;"
        if kind == "leave":
            value = int(self.rng.integers(0, 8))
            text = f"and.b32 %r2, %r1, 15; setp.eq.u32 %q0, %r2, {value}; @%q0 bra END;"
            return text, ("leave", value)
        text, inner = self.block(depth - 1)
        if kind == "if":
            other, second = self.block(depth - 1)
            text = f"{test} @%q0 bra N{k}; {text}\nbra M{k}; N{k}: {other}\nM{k}:"
            return text, ("if", bit, inner, second)
        count = f"%n{k}"
        text = f""".reg .b32 {count}; shr.u32 {count}, %r1, {bit}; and.b32 {count}, {count}, 3;
L{k}: setp.eq.u32 %q0, {count}, 0; @%q0 bra M{k}; {text}
sub.u32 {count}, {count}, 1; bra L{k}; M{k}:"""
        return text, ("loop", bit, inner)


class Left(Exception):
    """The program ends here."""


def interpret(statements, x):
    for kind, *rest in statements:
        if kind == "step":
            x = (x * rest[0] + rest[1]) % 2**32
        elif kind == "if":
            x = interpret(rest[1] if x >> rest[0] & 1 else rest[2], x)
        elif kind == "loop":
            for _ in range(x >> rest[0] & 3):
                x = interpret(rest[1], x)
        elif x & 15 == rest[0]:
            raise Left(x)
    return x


@pytest.mark.parametrize("seed", range(20))
def test_random_programs(seed):
    text, statements = Programs(seed).block(3)
    start = LANES.astype(np.uint64) * 2654435761 % 2**32
    expected = []
    for x in start:
        try:
            expected.append(interpret(statements, int(x)))
        except Left as left:
            expected.append(left.args[0])
    body = f"{{ mul.lo.u32 %r1, %thread, 2654435761;\n{text}\nEND: {STORE} }}"
    assert (results(body) == np.array(expected, np.uint32)).all()


@pytest.mark.emulator
def test_trap_is_a_fault():
    out = Buffer(np.zeros(32, np.uint32))
    launch(source("trap;", 1), out)
    with pytest.raises(RuntimeError, match="trapped"):
        out.get()


@pytest.mark.emulator
def test_endless_loop_ends():
    _cuda.set_options(most_instructions=10000)
    launch(source("L: bra L;", 0))
    with pytest.raises(RuntimeError, match="does not end"):
        _cuda.synchronize()


@pytest.mark.parametrize("threads", ["", "128, "])
def test_barriers_that_reduce(threads):
    """Over all threads of the block; those that have left do not count."""
    body = f"""setp.ge.u32 %q3, %thread, 100; @%q3 ret; and.b32 %r2, %thread, 3;
setp.eq.u32 %q0, %r2, 1;
setp.lt.u32 %q4, %thread, 128; bar.red.popc.u32 %r1, 0, {threads}%q0;
bar.red.and.pred %q1, 0, {threads}%q4; @%q1 add.u32 %r1, %r1, 100;
bar.red.or.pred %q2, 1, {threads}!%q4; @!%q2 add.u32 %r1, %r1, 1000; {STORE}"""
    if threads:
        body = body.replace("@%q3 ret;", "")
    got = results(body)
    if threads:
        assert (got == 32 + 1100).all()
    else:
        assert (got[:100] == 25 + 1100).all() and (got[100:] == 7).all()


@pytest.mark.parametrize("to", ["E: ret; ", "E: "])
def test_branch_to_the_end_leaves(to):
    """As compilers write an early return: a barrier does not wait for those who have gone there."""
    body = f"setp.ge.u32 %q0, %thread, 75; @%q0 bra E; bar.sync 0; activemask.b32 %r1; {STORE} {to}"
    expected = np.where(LANES < 64, 0xFFFFFFFF, np.where(LANES < 75, 0x7FF, 7))
    assert (results(body) == expected).all()
