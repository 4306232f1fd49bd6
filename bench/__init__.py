"""Cases of every family of primitives, read by the tests and by `python -m keras_native bench`."""
