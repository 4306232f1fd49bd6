"""Models of Keras's guides train on kernels alone, with the losses that the JAX backend gave:

KERAS_BACKEND=jax python tests/models/guides.py > tests/models/guide_losses.json
"""

import json
from pathlib import Path

import guides
import numpy as np
import pytest
from test_layers import on_host

JAX = json.loads((Path(__file__).parent / "guide_losses.json").read_text())


@pytest.mark.parametrize("guide", guides.GUIDES, ids=lambda guide: guide.__name__)
def test_a_guide_trains_as_with_jax(guide):
    model, x, y = guides.compiled(guide, jit_compile=True)
    losses = [model.train_on_batch(x, y) for _ in range(guides.STEPS)]
    np.testing.assert_allclose(losses, JAX[guide.__name__], rtol=1e-4, atol=1e-5)
    assert losses[-1] < losses[0]
    assert on_host(model.train_function, (x, y, None)) == []
