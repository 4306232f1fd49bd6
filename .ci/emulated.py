"""Small cases of every kernel family, for an emulated processor: right, and by the right kernels.

    qemu-x86_64 -cpu Haswell python .ci/emulated.py avx2

Emulation is slow, so a family gets its smallest cases and a limited time.
"""

import math
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from bench import harness
from keras_native import _core

SECONDS = 25
LEAST = 3


def main() -> int:
    """Checks each family; 0 if all is right."""
    expected = sys.argv[1]
    if _core.isa() != expected:
        print(f"instruction set {_core.isa()}, expected {expected}")
        return 1
    bad = total = 0
    folder = pathlib.Path(harness.__file__).parent / "cases"
    for family in sorted(path.stem for path in folder.glob("[a-z]*.py")):
        cases = harness.test_cases(harness.load_cases(family))
        cases.sort(key=lambda case: sum(math.prod(shape) for shape, _ in case.inputs))
        done, start = 0, time.monotonic()
        for case in cases:
            if done >= LEAST and time.monotonic() - start > SECONDS:
                break
            try:
                harness.check_forward(case, isa=expected, threads=(1, 2))
            except AssertionError as error:
                print(f"{family}: {error}")
                bad += 1
            done += 1
        total += done
        print(f"{family}: {done} of {len(cases)} cases", flush=True)
    print(f"{total} cases on {expected}, {bad} wrong")
    return 1 if bad or not total else 0


if __name__ == "__main__":
    sys.exit(main())
