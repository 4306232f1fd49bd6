"""Makes `bench` (tables of cases) importable; leaves instruction set and threads as found."""

import os
import sys
from pathlib import Path

import hypothesis
import pytest

# The same examples on every run where changes are judged; new ones wherever people work.
hypothesis.settings.register_profile("judged", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("judged")

# What the user tuned on this machine is not what is tested.
os.environ["NATIVE_TUNED"] = "0"

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@pytest.fixture(autouse=True)
def restore_settings():
    """Tests may force an instruction set or thread count; the next one finds the defaults."""
    from keras_native import _core

    isa, threads = _core.isa(), _core.threads()
    yield
    if _core.isa() != isa:
        _core.set_isa(isa)
    if _core.threads() != threads:
        _core.set_threads(threads)
