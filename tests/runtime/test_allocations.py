"""A compiled step takes no memory of the system's for any of its kernels: a model that uses a layer
six times more does not call malloc six times more. (It does for arrays, whose handles hold a shape:
arguments, variables, results.)"""

import json
import os
import shutil
import subprocess
import sys

import pytest

COUNTER = """
#include <stddef.h>
void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
static long count;
static void add(void) { __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED); }
long allocations(void) { return __atomic_load_n(&count, __ATOMIC_RELAXED); }
void *malloc(size_t n) { return add(), __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return add(), __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return add(), __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { return add(), __libc_memalign(a, n); }
"""

# Prints, as JSON, kind of layer -> how often it is used -> the calls of a training step and of a
# prediction.
STEPS = """
import ctypes
import json
import keras
import numpy as np
from keras import layers

count = ctypes.CDLL(None).allocations
count.restype = ctypes.c_long
KINDS = {
    "dense": ((24,), lambda: layers.Dense(24, "relu")),
    "conv": ((9, 9, 8), lambda: layers.Conv2D(8, 3, padding="same", activation="relu")),
    "winograd": ((9, 9, 64), lambda: layers.Conv2D(64, 3, padding="same")),
    "line": ((40, 64), lambda: layers.Conv1D(64, 5, padding="same")),
    "depthwise": ((9, 9, 8), lambda: layers.DepthwiseConv2D(3, padding="same")),
    "pool": ((32, 32, 8), lambda: layers.MaxPooling2D(3, 1, "same")),
    "batch_norm": ((9, 9, 8), layers.BatchNormalization),
    "layer_norm": ((12, 24), layers.LayerNormalization),
    "softmax": ((12, 24), layers.Softmax),
    "lstm": ((5, 24), lambda: layers.LSTM(24, return_sequences=True)),
    "gru": ((5, 24), lambda: layers.GRU(24, return_sequences=True)),
    "dropout": ((24,), lambda: layers.Dropout(0.5)),
}


def calls(function, data):
    compiled, arrays, sizes = function.step.compiled(data)
    found = []
    for _ in range(6):
        before = count()
        compiled.run(arrays, sizes)
        found.append(count() - before)
    return min(found)


def of_model(dims, layer, depth):
    x, y = np.ones((64, *dims), "float32"), np.ones((64, 1), "float32")
    inputs = z = layers.Input(dims)
    for _ in range(depth):
        z = layer(z)
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(z)))
    model.compile("adam", "mse")
    model.train_on_batch(x, y)
    model.predict_on_batch(x)
    return calls(model.train_function, (x, y, None)), calls(model.predict_function, (x,))


print(json.dumps({k: {n: of_model(v[0], v[1](), n) for n in (3, 9)} for k, v in KINDS.items()}))
"""

KINDS = [
    "dense", "conv", "winograd", "line", "depthwise", "pool", "batch_norm", "layer_norm", "softmax",
    "lstm", "gru", "dropout",
]  # fmt: skip


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if not compiler or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler, or another C library")
    if "san.so" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("a sanitiser's malloc comes first and takes memory of its own")
    folder = tmp_path_factory.mktemp("counter")
    library, source = folder / "counter.so", folder / "counter.c"
    source.write_text(COUNTER)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    own = {"LD_PRELOAD": str(library), "KERAS_BACKEND": "native", "NATIVE_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", STEPS], env={**os.environ, **own}, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kernel_allocates(calls, kind):
    for few, many in zip(calls[kind]["3"], calls[kind]["9"], strict=True):
        assert many - few < 6
