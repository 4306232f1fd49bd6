"""Runs any CUDA or PTX kernel on the emulator: faults, counts, occupancy, an estimate of time."""

from keras_native.tools.emulate.run import main

__all__ = ["main"]
