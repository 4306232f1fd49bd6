"""The thread pool seen through kernels: the same bits at any number of threads; forks live."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from keras_native import _core
from keras_native.engine.primitives.matmul import matmul
from keras_native.engine.tensor import from_numpy

COUNTS = (1, 2, 3, 7, 16)


def product(m, k, n, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((m, k), dtype=np.float32)
    b = rng.standard_normal((k, n), dtype=np.float32)
    return from_numpy(a), from_numpy(b)


# Tiles, a split of k with a reduction, one row, and a problem of one task.
@pytest.mark.parametrize("sizes", [(300, 257, 301), (20, 9000, 30), (1, 999, 2001), (5, 6, 7)])
def test_same_bits_at_any_thread_count(sizes):
    a, b = product(*sizes)
    results = set()
    for count in COUNTS:
        _core.set_threads(count)
        results.update(matmul(a, b).numpy().tobytes() for _ in range(3))
    assert len(results) == 1


def test_callers_on_several_threads():
    _core.set_threads(3)
    a, b = product(200, 200, 200)
    want = matmul(a, b).numpy().tobytes()
    wrong = []

    def work():
        for _ in range(20):
            if matmul(a, b).numpy().tobytes() != want:
                wrong.append(threading.get_ident())

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for count in (1, 4, 2, 3):  # while they work
        _core.set_threads(count)
    for caller in callers:
        caller.join()
    assert not wrong


def processor_of(thread):
    with open(f"/proc/self/task/{thread}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[36])


USABLE = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}


@pytest.mark.skipif(len(USABLE) < 2, reason="one processor, or a system that does not name them")
def test_a_worker_leaves_the_caller_s_processor():
    a, b = product(512, 512, 512)
    _core.set_threads(1)
    before = set(os.listdir("/proc/self/task"))
    _core.set_threads(2)
    matmul(a, b).numpy()
    (worker,) = (int(thread) for thread in set(os.listdir("/proc/self/task")) - before)
    here = min(USABLE)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(0, {here})
        os.sched_setaffinity(busy.pid, USABLE - {here})
        left = 0
        for _ in range(20):
            os.sched_setaffinity(worker, {here})
            os.sched_setaffinity(worker, USABLE)
            for _ in range(3):
                matmul(a, b).numpy()
            left += processor_of(worker) != here
        assert left >= 10  # the system by itself: 0 to 4
        # It may wait for a processor between leaving one and being allowed everywhere again.
        deadline = time.monotonic() + 10
        while os.sched_getaffinity(worker) != USABLE and time.monotonic() < deadline:
            time.sleep(0.001)
        assert os.sched_getaffinity(worker) == USABLE
    finally:
        busy.kill()
        busy.wait()
        os.sched_setaffinity(0, USABLE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork():
    _core.set_threads(3)
    a, b = product(200, 200, 200)
    want = matmul(a, b).numpy().tobytes()
    child = os.fork()
    if child == 0:
        os._exit(0 if matmul(a, b).numpy().tobytes() == want else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert matmul(a, b).numpy().tobytes() == want


def test_thread_count_is_clamped():
    _core.set_threads(0)
    assert _core.threads() == 1
    _core.set_threads(100000)
    assert _core.threads() == 256


def test_round_trip_between_threads():
    """Nanoseconds, or a time slice where both share a processor."""
    assert 1e-9 < _core.measure_round_trip() < 1


STARVED = """
import resource
import numpy as np
from keras_native import _core
from keras_native.engine.primitives.matmul import matmul
from keras_native.engine.tensor import from_numpy

a, b = (from_numpy(np.random.default_rng(i).random((300, 300), "float32")) for i in range(2))
_core.set_threads(1)
want = matmul(a, b).numpy().tobytes()
_core.set_threads(200)
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + (40 << 20)  # a few stacks
resource.setrlimit(resource.RLIMIT_AS, (most, most))
assert matmul(a, b).numpy().tobytes() == want
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")
@pytest.mark.skipif("san.so" in os.environ.get("LD_PRELOAD", ""), reason="needs much memory itself")
def test_threads_that_the_system_does_not_give_are_done_without():
    found = subprocess.run(
        [sys.executable, "-c", "import os" + STARVED], capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) < 100
