"""Leaving a trace for a moment, to compute something now."""

from __future__ import annotations

import contextlib

from keras_native.engine.primitive import STATE


@contextlib.contextmanager
def eagerly():
    """Within it, primitives run at once and no tape records, whatever is being traced around it."""
    saved = STATE.trace, STATE.tapes
    STATE.trace, STATE.tapes = None, []
    try:
        yield
    finally:
        STATE.trace, STATE.tapes = saved
