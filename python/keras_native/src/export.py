"""Export to TensorFlow's SavedModel, which needs TensorFlow: `model.export(path)`."""

from __future__ import annotations

import inspect

from keras.src import tree
from keras.src.export import saved_model_export_archive
from keras.src.utils.module_utils import tensorflow as tf

from keras_native.engine.sparse import SparseTensor
from keras_native.engine.tensor import Tensor
from keras_native.engine.trace import Trace
from keras_native.src.export_tensorflow import TensorFlowTrace

# Keras 3.16 calls it BaseSavedModelExportArchive.
_Base = getattr(saved_model_export_archive, "BaseSavedModelExportArchive", None) or (
    saved_model_export_archive.SavedModelExportArchive
)


class SavedModelExportArchive(_Base):
    """Writes functions of models, with their variables, as TensorFlow's.

    The variables of tracked layers are the file's `trainable_variables` and
    `non_trainable_variables`; others that a function reads are kept in it as well.

    Raises (when made):
        ImportError: TensorFlow is not installed.
    """

    def __init__(self):
        if not tf.available:
            raise ImportError(
                "Export to a SavedModel writes TensorFlow's operations and needs TensorFlow: "
                "`pip install tensorflow-cpu`."
            )
        self._endpoint_names = []
        self._endpoint_signatures = {}
        self.tensorflow_version = tf.__version__
        self._tf_trackable = tf.__internal__.tracking.AutoTrackable()
        self._tf_trackable.variables = []
        self._tf_trackable.trainable_variables = []
        self._tf_trackable.non_trainable_variables = []
        self._tf_trackable.other_variables = []
        self._by_slot = {}  # id of a slot -> tf.Variable
        self._slots = []  # keeps them alive, and so their ids

    def _backend_track_layer(self, layer):
        trackable = self._tf_trackable
        for variables, group in (
            (layer.trainable_variables, trackable.trainable_variables),
            (layer.non_trainable_variables, trackable.non_trainable_variables),
        ):
            group.extend(self._of_slot(v._slot, v) for v in variables)
        trackable.variables = trackable.trainable_variables + trackable.non_trainable_variables

    def _of_slot(self, slot, variable=None):
        if id(slot) not in self._by_slot:
            self._slots.append(slot)
            self._by_slot[id(slot)] = tf.Variable(
                slot.read().numpy(),
                dtype=slot.dtype,
                trainable=variable is not None and variable.trainable,
                name=getattr(variable, "name", None),
            )
        return self._by_slot[id(slot)]

    def add_variable_collection(self, name, variables):
        """Keeps variables, of Keras or TensorFlow, under a name of their own in the file."""
        if isinstance(variables, (list, tuple, set)):
            variables = [self._of_slot(v._slot, v) if hasattr(v, "_slot") else v for v in variables]
        super().add_variable_collection(name, variables)

    def _backend_add_endpoint(self, name, fn, input_signature):
        for slot in _slots_read(fn, input_signature):
            if id(slot) not in self._by_slot:
                self._tf_trackable.other_variables.append(self._of_slot(slot))

        def function(*args):
            trace = TensorFlowTrace(self._by_slot)
            with trace:
                inputs = tree.map_structure(trace.argument, args)
                with tf.init_scope():
                    results = fn(*inputs)
                trace.finish()
                return tree.map_structure(lambda x: _emitted(trace, x), results)

        # As many of the function's parameters as there are inputs, by their names.
        signature = inspect.signature(fn)
        parameters = list(signature.parameters.values())[: len(input_signature)]
        function.__signature__ = inspect.Signature(parameters)
        return tf.function(function, input_signature=input_signature, autograph=False)


def _emitted(trace: TensorFlowTrace, x):
    if isinstance(x, SparseTensor):
        x = x.to_dense()
    return trace.of(x) if isinstance(x, Tensor) else x


def _slots_read(fn, input_signature) -> list:
    """The variables' slots that a function reads, found by tracing it."""

    def argument(spec):
        # Sizes that are not known do not matter for this.
        return trace.input([2 if d is None else d for d in spec.shape], spec.dtype.name)

    trace = Trace()
    with trace:
        fn(*tree.map_structure(argument, input_signature))
    return trace.read_slots
