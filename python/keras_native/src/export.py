"""Export to formats of other frameworks, which need those frameworks."""

from __future__ import annotations

from keras_native.engine.errors import UnsupportedError


class SavedModelExportArchive:
    """Stands where other backends export to TensorFlow's SavedModel; refuses, saying what to do."""

    def __init__(self, *args, **kwargs):
        raise UnsupportedError(
            "`export_saved_model` only currently supports the tensorflow, jax and torch backends. "
            "Save the model with `model.save('m.keras')` and export it under one of them."
        )
