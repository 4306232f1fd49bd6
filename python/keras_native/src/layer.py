"""The base of every Keras layer on this backend."""


class BackendLayer:
    """Mixed into `keras.Layer`; this backend adds nothing to it."""
