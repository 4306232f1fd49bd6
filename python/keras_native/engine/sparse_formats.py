"""Sparse tensors of other libraries, none of which is imported for it."""

from __future__ import annotations

import numpy as np

from keras_native.engine.sparse import SparseTensor


def from_other(x) -> SparseTensor | None:
    """A sparse tensor of SciPy, TensorFlow, JAX or PyTorch as one of this backend, else None."""
    module = type(x).__module__.split(".")[0]
    read = _READERS.get(module)
    found = read(x) if read is not None else None
    if found is None:
        return None
    indices, values, dims = found
    # JAX fills up with entries outside of the shape.
    inside = (indices < np.array(dims[: indices.shape[1]], np.int64)).all(1)
    if not inside.all():
        indices, values = indices[inside], values[inside]
    return SparseTensor(indices, values, dims)


def to_scipy(x: SparseTensor):
    """A matrix as one of SciPy, whose rows can be chosen.

    Raises:
        ValueError: it is no matrix, or some of its axes are stored whole.
    """
    if x.ndim != 2 or x.n_dense:
        raise ValueError(
            f"rows can be chosen of sparse matrices only, got {x!r} with {x.n_sparse} sparse axes; "
            "give the batches themselves, by a generator or a keras.utils.PyDataset"
        )
    from scipy import sparse

    rows, columns = x.indices.numpy().T
    return sparse.csr_matrix((x.values.numpy(), (rows, columns)), x.dims)


def _from_scipy(x):
    if not hasattr(x, "tocoo"):
        return None
    x = x.tocoo()
    where = getattr(x, "coords", None) or (x.row, x.col)
    return np.stack(where, 1), x.data, x.shape


def _from_tensorflow(x):
    if not hasattr(x, "dense_shape") or not hasattr(x.values, "numpy"):
        return None
    indices = np.asarray(x.indices)
    indices = indices.reshape(len(indices), -1)
    return indices, np.asarray(x.values), tuple(int(d) for d in np.asarray(x.dense_shape))


def _from_jax(x):
    if hasattr(x, "to_bcoo"):
        x = x.to_bcoo()
    if not hasattr(x, "n_batch"):
        return None
    x = x.update_layout(n_batch=0)
    return np.asarray(x.indices), np.asarray(x.data), x.shape


def _from_torch(x):
    if not getattr(x, "is_sparse", False):
        return None
    x = x.detach().cpu().coalesce()
    return x.indices().numpy().T, x.values().numpy(), tuple(x.shape)


_READERS = {
    "scipy": _from_scipy,
    "tensorflow": _from_tensorflow,
    "jax": _from_jax,
    "torch": _from_torch,
}
