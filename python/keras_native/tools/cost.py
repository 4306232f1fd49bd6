"""What one training step of a model costs: time, kernels, share of the machine's peak."""

import collections
import functools
import math
import re

import keras

from keras_native import _core
from keras_native.tools.info import processor

# Operations of a matrix product, convolution or attention by the sizes of its operands and result:
# two for each multiply-add. Everything else is left out, so that shares of the peak are modest.
COUNTS = {
    "matmul": lambda a, b, out: 2 * math.prod(out) * _contracted(a, b, out),
    "linear": lambda x, w, out: 2 * math.prod(out) * x[-1],
    "packed_linear": lambda x, w, out: 2 * math.prod(out) * x[-1],
    "conv": lambda x, w, out: 2 * math.prod(out) * math.prod(w[:-1]),
    "conv_bias_act": lambda x, w, out: 2 * math.prod(out) * math.prod(w[:-1]),
    # Of what is pooled.
    "conv_pool": lambda x, w, out: 2 ** (len(x) - 1) * math.prod(out) * math.prod(w[:-1]),
    # Of the direct way.
    "winograd_conv": lambda x, u, out: 2 * math.prod(out) * 3 ** (len(x) - 2) * x[-1],
    "line_conv": lambda x, u, out: 2 * math.prod(out) * math.prod(u[:-1]) * x[-1],
    "conv_input_grad": lambda ct, w, out: 2 * math.prod(ct) * math.prod(w[:-1]),
    "conv_weight_grad": lambda x, ct, out: 2 * math.prod(ct) * math.prod(out[:-1]),
    "attention": lambda q, k, out: 4 * math.prod(q) * k[1],
    "attention_grad": lambda q, k, out: 10 * math.prod(q) * k[1],
}


def machine() -> str:
    """'AVX2 on 2 threads of an ...': what the figures hold for."""
    if keras.backend.backend() != "native":
        return f"backend {keras.backend.backend()}"
    return f"backend native: {_core.isa()}, {_core.threads()} threads, {processor()}"


def operations(problem: str) -> float:
    """Floating-point operations of a problem written as "op(dtype(sizes), ...) -> dtype(sizes)"."""
    name, rest = problem.split("(", 1)
    shapes = [
        tuple(int(size) for size in sizes.split(",") if size.strip())
        for sizes in re.findall(r"\w+\(([\d, ]*)\)", rest)
    ]
    operands = problem.split(" -> ")[0].count("(") - 1
    if name not in COUNTS or operands < 2:
        return 0
    return float(COUNTS[name](shapes[0], shapes[1], shapes[operands]))


def report(model: keras.Model, x, y, repeat: int = 10) -> list[str]:
    """Lines that say what a training step on these inputs and targets costs.

    The step runs `repeat` times and the fastest counts; the model's variables stay as they are.
    Empty with another backend than `native`.
    """
    if keras.backend.backend() != "native":
        return []
    compiled, arrays, sizes = model.make_train_function().step.compiled((x, y))
    compiled.profile(arrays, sizes)
    # Other work on the machine only ever adds, so each kernel's minimum is its time.
    seconds = [
        min(times) for times in zip(*(compiled.profile(arrays, sizes) for _ in range(repeat)))
    ]
    total = sum(seconds)
    work = sum(operations(compiled.step_text(i, sizes)) for i in range(len(seconds)))
    shares = collections.Counter()
    for (op, kernel), spent in zip(compiled.chosen(sizes), seconds):
        shares[f"{op} ({kernel})"] += spent / total
    most = ", ".join(f"{name} {share:.0%}" for name, share in shares.most_common(4))
    return [
        f"a training step on {len(x)} examples: {total * 1e3:.2f} ms in {len(seconds)} kernels; "
        f"{work / total / 1e9:.1f} GFLOP/s, {work / total / _peak():.0%} of this machine's peak",
        f"most of it in {most}",
    ]


def on_gpu(model: keras.Model, x, y) -> list[str]:
    """The same on gpu:0, where only counts can be told: kernels of the GPU, and what borrowed the
    CPU's by way of the host."""
    if keras.backend.backend() != "native":
        return []
    compiled, arrays, sizes = model.make_train_function().step.compiled((x, y))
    steps = [(op, kernel) for op, kernel in compiled.chosen(sizes) if kernel != "alias"]
    borrowed = collections.Counter(
        op for op, kernel in steps if kernel.startswith("cpu:") or kernel == "host"
    )
    lines = [
        f"a training step on {len(x)} examples: {len(steps) - borrowed.total()} of {len(steps)} "
        "steps on gpu:0"
    ]
    if borrowed:
        names = ", ".join(f"{op} ({n})" for op, n in borrowed.most_common())
        lines.append(f"by way of the host: {names}")
    return lines


@functools.cache
def _peak() -> float:
    return _core.measure_peak()


def _contracted(a, b, out) -> float:
    # From the sizes alone, because either operand may be transposed.
    return math.sqrt(math.prod(a[-2:]) * math.prod(b[-2:]) / max(1, math.prod(out[-2:])))
