"""Losses of a dozen models over ten steps equal those of the JAX or PyTorch backend, where one is
installed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PEER = next((p for p in ("jax", "torch") if importlib.util.find_spec(p)), None)


def run(backend):
    script = Path(__file__).parent / "zoo.py"
    env = dict(os.environ, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3")
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.skipif(PEER is None, reason="neither jax nor torch is installed (extra `parity`)")
def test_losses_equal_a_peers():
    ours, theirs = run("native"), run(PEER)
    assert set(ours) == set(theirs) and len(ours) >= 12
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, err_msg=name)
