"""einsum: a composition of transpose, reshape, reduce_sum, mul and matmul, no primitive itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_native.engine.primitive import signature
from keras_native.engine.tensor import Tensor


def einsum(equation: str, *operands: Tensor, out_dtype: str | None = None) -> Tensor:
    """Einstein summation with NumPy's notation: ellipsis, repeated labels, implicit output.

    Args:
        equation: for instance "bij,bjk->bik".
        operands: tensors of one dtype.
        out_dtype: dtype to accumulate and return, as in `matmul`.

    Returns:
        The tensor that the equation describes.

    Raises:
        TypeError: dtypes differ.
        ValueError: a malformed equation, or shapes that do not fit it.
    """
    if any(t.dtype != operands[0].dtype for t in operands[1:]):
        raise TypeError(f"einsum needs operands of one dtype, got {signature(operands)}")
    inputs, output = _parse(equation, operands)
    terms = [_diagonal(t, labels) for t, labels in zip(operands, inputs)]
    if out_dtype is not None and (len(terms) != 2 or out_dtype == operands[0].dtype):
        terms = [(_cast(t, out_dtype), labels) for t, labels in terms]
        out_dtype = None
    for first, second in _path(terms, output):
        x, y = terms[first], terms[second]
        terms = [t for i, t in enumerate(terms) if i not in (first, second)]
        keep = set(output).union(*(labels for _, labels in terms))
        terms.append(_contract(equation, x, y, keep, out_dtype))
    tensor, labels = _sum_out(*terms[0], set(output))
    return _transposed(tensor, labels, output)


def _cast(tensor, dtype):
    from keras_native.engine.primitives.elementwise import cast

    return cast(tensor, dtype) if tensor.dtype != dtype else tensor


def _parse(equation: str, operands: Sequence[Tensor]) -> tuple[list[list], list]:
    """Labels of each operand and of the output; a dimension of an ellipsis is labelled by a
    negative number that counts from its right end."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(operands):
        raise ValueError(
            f"einsum '{equation}' has {len(parts)} terms but {len(operands)} operands were given"
        )
    longest = 0

    def labels_of(part: str, rank: int | None) -> list:
        nonlocal longest
        before, dots, after = part.partition("...")
        if not all(c.isalpha() for c in before + after):
            raise ValueError(f"einsum: malformed term '{part}' in '{equation}'")
        if rank is not None:
            extra = rank - len(before) - len(after)
            if extra < 0 or (extra > 0 and not dots):
                raise ValueError(
                    f"einsum '{equation}': term '{part}' does not fit an operand of rank {rank}: "
                    f"{signature(operands)}"
                )
            longest = max(longest, extra)
        else:
            extra = longest if dots else 0
        return [*before, *range(-extra, 0), *after]

    inputs = [labels_of(part, len(t.dims)) for part, t in zip(parts, operands)]
    seen = [label for labels in inputs for label in labels]
    if arrow:
        output = labels_of(right, None)
    else:
        once = sorted(c for c in set(seen) if isinstance(c, str) and seen.count(c) == 1)
        output = [*range(-longest, 0), *once]
    if len(set(output)) != len(output) or not set(output) <= set(seen):
        raise ValueError(
            f"einsum: the output of '{equation}' repeats a label or names an unknown one"
        )
    return inputs, output


def _path(terms, output) -> list[tuple[int, int]]:
    """Pairs to contract one after the other, the result going to the end of the list."""
    if len(terms) < 3 or any(type(d) is not int for t, _ in terms for d in t.dims):
        # Symbolic sizes give no costs to compare: from the left.
        return (
            [(0, 1)] + [(0, len(terms) - 1 - i) for i in range(1, len(terms) - 1)]
            if terms[1:]
            else []
        )
    numbers: dict = {}
    arguments = []
    for tensor, labels in terms:
        arguments += [
            np.broadcast_to(0.0, tensor.dims),
            [numbers.setdefault(c, len(numbers)) for c in labels],
        ]
    path = np.einsum_path(*arguments, [numbers[c] for c in output], optimize="greedy")[0][1:]
    pairs, count = [], len(terms)
    for step in path:
        # A step of more than two operands is contracted from the left.
        step = sorted(step)
        pairs.append((step[0], step[1]))
        count -= 1
        for done, index in enumerate(step[2:], start=2):
            pairs.append((index - done, count - 1))
            count -= 1
    return pairs


def _diagonal(tensor: Tensor, labels: list) -> tuple[Tensor, list]:
    """Replaces repeated labels by one that runs along the diagonal."""
    from keras_native.engine.primitives.shape import reshape
    from keras_native.engine.primitives.shape_slice import slice

    for label in list(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            n, other = tensor.dims[i], tensor.dims[j]
            if n != other:
                raise ValueError(
                    f"einsum: label '{label}' has sizes {n} and {other} in one operand"
                )
            rest = [c for p, c in enumerate(labels) if p not in (i, j)]
            perm = [p for p in range(len(labels)) if p not in (i, j)] + [i, j]
            tensor = _permute(tensor, perm)
            lead = tensor.dims[:-2]
            flat = reshape(tensor, (*lead, n * n))
            # Elements 0, n + 1, 2(n + 1), ... of a flattened square are its diagonal.
            tensor = slice(
                flat, (0,) * len(lead) + (0,), (*lead, n * n), (1,) * len(lead) + (n + 1,)
            )
            labels = [*rest, label]
    return tensor, labels


def _permute(tensor: Tensor, perm: Sequence[int]) -> Tensor:
    from keras_native.engine.primitives.shape import transpose

    return tensor if list(perm) == list(range(len(perm))) else transpose(tensor, tuple(perm))


def _transposed(tensor: Tensor, labels: list, wanted: list) -> Tensor:
    return _permute(tensor, [labels.index(c) for c in wanted])


def _sum_out(tensor: Tensor, labels: list, keep: set) -> tuple[Tensor, list]:
    from keras_native.engine.primitives.reduce import reduce_sum

    axes = tuple(i for i, c in enumerate(labels) if c not in keep)
    if axes:
        tensor = reduce_sum(tensor, axes)
    return tensor, [c for c in labels if c in keep]


def _drop_ones(tensor: Tensor, labels: list, other: Tensor, other_labels: list):
    """Drops labels of size 1 that the other operand has at another size: broadcasting."""
    from keras_native.engine.primitives.shape import reshape

    sizes = dict(zip(other_labels, other.dims))
    drop = [
        type(d) is int and d == 1 and c in sizes and not (type(sizes[c]) is int and sizes[c] == 1)
        for c, d in zip(labels, tensor.dims)
    ]
    if any(drop):
        tensor = reshape(tensor, tuple(d for d, gone in zip(tensor.dims, drop) if not gone))
        labels = [c for c, gone in zip(labels, drop) if not gone]
    return tensor, labels


def _product(dims) -> int:
    total = 1
    for d in dims:
        total = total * d
    return total


def _contract(equation, x, y, keep: set, out_dtype) -> tuple[Tensor, list]:
    """One product of two terms, summed over what neither the output nor later terms need."""
    from keras_native.engine.primitives.elementwise import mul
    from keras_native.engine.primitives.matmul import matmul
    from keras_native.engine.primitives.shape import reshape

    (a, la), (b, lb) = x, y
    (a, la), (b, lb) = _drop_ones(a, la, b, lb), _drop_ones(b, lb, a, la)
    a, la = _sum_out(a, la, keep.union(lb))
    b, lb = _sum_out(b, lb, keep.union(la))
    size = dict(zip(la, a.dims))
    for c, d in zip(lb, b.dims):
        if c in size and size[c] != d:
            raise ValueError(f"einsum '{equation}': label '{c}' has sizes {size[c]} and {d}")
        size.setdefault(c, d)
    batch = [c for c in la if c in lb and c in keep]
    inner = [c for c in la if c in lb and c not in keep]
    left = [c for c in la if c not in lb]
    right = [c for c in lb if c not in la]
    dims = [size[c] for c in batch + left + right]
    if not inner:
        a = _transposed(a, la, batch + left)
        b = _transposed(b, lb, batch + right)
        a = reshape(a, (*a.dims, *(1 for _ in right)))
        b = reshape(b, (*b.dims[: len(batch)], *(1 for _ in left), *b.dims[len(batch) :]))
        if out_dtype is not None:
            a, b = _cast(a, out_dtype), _cast(b, out_dtype)
        return mul(a, b), batch + left + right
    a, transpose_a = _as_matrix(a, la, batch, left, inner, size)
    b, transpose_b = _as_matrix(b, lb, batch, inner, right, size)
    product = matmul(a, b, transpose_a, transpose_b, out_dtype=out_dtype)
    return reshape(product, tuple(dims)), batch + left + right


def _as_matrix(tensor, labels, batch, rows, columns, size) -> tuple[Tensor, bool]:
    """The operand as [batch..., rows, columns], or with rows and columns swapped and True where
    that order is already there."""
    from keras_native.engine.primitives.shape import reshape

    swapped = bool(rows and columns) and labels == batch + columns + rows
    first, second = (columns, rows) if swapped else (rows, columns)
    tensor = _transposed(tensor, labels, batch + first + second)
    wanted = (
        *(size[c] for c in batch),
        _product(size[c] for c in first),
        _product(size[c] for c in second),
    )
    return reshape(tensor, wanted), swapped
