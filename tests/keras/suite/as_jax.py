"""What Keras's tests take from JAX where they make sparse tensors or differentiate, said with this
backend's own: `import as_jax as jax` (or `jax_sparse`), put in by amendments.py."""

from types import SimpleNamespace

import numpy as np
from jax.experimental import sparse
from keras import ops

from keras_native import SparseTensor, grad, jit
from keras_native.engine.tensor import Tensor

__all__ = ["BCOO", "JAXSparse", "grad", "jit", "numpy"]

JAXSparse = SparseTensor

numpy = SimpleNamespace(
    array=ops.array,
    expand_dims=np.expand_dims,
    moveaxis=np.moveaxis,
    ndarray=Tensor,
    squeeze=np.squeeze,
    sum=ops.sum,
    take=np.take,
)


def BCOO(parts, shape):  # noqa: N802
    """A sparse tensor from (values, indices), or one of JAX's where these have axes of a batch."""
    values, indices = parts
    if np.ndim(indices) > 2:
        values, indices = np.asarray(values), np.asarray(indices)
        return ops.convert_to_tensor(sparse.BCOO((values, indices), shape=shape))
    return SparseTensor(indices, values, shape)


BCOO.fromdense = lambda x, n_batch=0: SparseTensor.from_dense(x)
