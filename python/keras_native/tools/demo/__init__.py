"""Trains three models on real data, loads them again in a fresh process, reports their cost."""

from keras_native.tools.demo.run import main

__all__ = ["main"]
