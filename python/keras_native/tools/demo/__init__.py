"""Trains three models on real data, saves them, loads them in a fresh process, reports their cost."""

from keras_native.tools.demo.run import main

__all__ = ["main"]
