"""Batches of whatever Keras takes as data, sparse ones as they are."""

from __future__ import annotations

from keras.src import tree
from keras.src.trainers.data_adapters import (
    array_data_adapter,
    array_slicing,
    data_adapter_utils,
    tf_dataset_adapter,
)
from keras.src.trainers.epoch_iterator import EpochIterator

from keras_native.engine.sparse import SparseTensor
from keras_native.engine.sparse_formats import to_scipy


class BatchIterator(EpochIterator):
    """Batches as NumPy arrays, or sparse tensors, in lists of `steps_per_execution`."""

    def __init__(self, x, y=None, **options):
        super().__init__(x=sliceable(x), y=sliceable(y), **options)

    def _get_iterator(self):
        adapter = self.data_adapter
        if isinstance(adapter, tf_dataset_adapter.TFDatasetAdapter):
            return _dataset_batches(adapter.get_tf_dataset())
        if isinstance(adapter, array_data_adapter.ArrayDataAdapter):
            return _array_batches(adapter)
        return adapter.get_numpy_iterator()


def sliceable(data):
    """The data with SciPy's sparse matrices, of which Keras can choose rows, in place of ours."""
    return tree.map_structure(lambda x: to_scipy(x) if isinstance(x, SparseTensor) else x, data)


def _array_batches(adapter):
    """Batches of arrays: Keras's own iterator makes SciPy's sparse matrices dense.

    A generator, as Keras asks for an iterator after the last batch as well and does not use it.
    """

    def choose(sliceable, indices=None):
        rows = sliceable[indices]
        return (
            rows if data_adapter_utils.is_scipy_sparse(rows) else sliceable.convert_to_numpy(rows)
        )

    yield from adapter._get_iterator(
        choose, array_slicing.convert_to_sliceable(adapter._inputs, "numpy")
    )


def _dataset_batches(dataset):
    """Batches of a `tf.data.Dataset`: Keras's own iterator makes sparse tensors dense."""
    from keras.src.backend.tensorflow.core import convert_to_numpy

    def convert(x):
        return x if data_adapter_utils.is_tensorflow_sparse(x) else convert_to_numpy(x)

    for batch in dataset:
        yield tree.map_structure(convert, batch, none_is_leaf=False)
