"""From a call to compiled code: which variant of a traced function fits these sizes, or a new one.

Sizes that change from call to call become symbols: the leading ones at once when asked, any other
when
a second value of it is seen. So a function is traced once or twice, whatever the lengths it meets.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

from keras_native import _core
from keras_native.engine import device, dump, tree
from keras_native.engine.primitive import STATE
from keras_native.engine.sparse import entries
from keras_native.engine.symbolic import SymInt, evaluated
from keras_native.engine.tensor import Tensor
from keras_native.engine.trace import CompiledFunction

MOST_KEYS = 64
MOST_VARIANTS = 16


class Variant:
    """Compiled code for arguments of a pattern: per size an int (must equal) or ("s", k): symbol
    k."""

    def __init__(self, pattern, compiled: CompiledFunction, structure, statics, sparse):
        self.pattern = pattern
        self.compiled = compiled
        self.structure = structure
        self.statics = statics  # leaf index -> value that is no tensor
        self.sparse = sparse  # whether there is a sparse tensor of symbolic sizes among the results
        self.symbols = 1 + max((d[1] for p in pattern for d in p if type(d) is tuple), default=-1)

    def match(self, shapes) -> list[int] | None:
        """Values of the symbols if the code is right for these shapes, else None."""
        sizes = [None] * self.symbols
        for pattern, dims in zip(self.pattern, shapes):
            for wanted, size in zip(pattern, dims):
                if type(wanted) is int:
                    if wanted != size:
                        return None
                elif sizes[wanted[1]] is None:
                    sizes[wanted[1]] = size
                elif sizes[wanted[1]] != size:
                    return None
        return sizes if self.compiled.accepts(sizes) else None

    def run(self, arrays, sizes):
        tensors = iter(self.compiled.run(arrays, sizes))
        count = self.structure.num_leaves
        leaves = [self.statics[i] if i in self.statics else next(tensors) for i in range(count)]
        results = tree.unflatten(self.structure, leaves)
        if not self.sparse:
            return results
        return tree.map_sparse(
            lambda x: entries(x.indices, x.values, evaluated(x.dims, sizes), x.unique), results
        )


class Dispatcher:
    """Calls `fn(*tensors)` through compiled variants.

    Args:
        fn: takes the tensors of a call; gets the key as keyword argument `key`.
        leading: open every leading size from the first trace on.
        place: the device to run on; None for the current one of each call.
        name: of what is compiled, for `NATIVE_DUMP`.
        passes: a function giving the names of passes to run that do not run unasked.

    Attributes:
        traces: how often `fn` was traced so far; twice in a row, because the first time it made
            variables, counts once.
    """

    def __init__(
        self,
        fn: Callable,
        *,
        leading: bool = False,
        place: str | None = None,
        name: str = "function",
        passes: Callable[[], tuple[str, ...]] = tuple,
    ):
        self.fn = fn
        self.name = name
        self.leading = leading
        # The GPU is opened by whoever asks for it first.
        given = place in (None, device.TEST)
        self.place = place if given else device.find(place, "device")
        self.passes = passes
        self.traces = 0
        self._variants: OrderedDict[Hashable, list[Variant]] = OrderedDict()

    def variant(self, key: Hashable, tensors: Sequence[Tensor]) -> tuple[Variant, list[int]]:
        """The code for a call, traced if need be, and the values of its symbols."""
        place = self.place or device.STATE.name
        full_key = (key, place, self.passes(), tuple((t.dtype, len(t.dims)) for t in tensors))
        shapes = [t.dims for t in tensors]
        variants = self._variants.get(full_key)
        if variants is None:
            variants = self._variants[full_key] = []
            if len(self._variants) > MOST_KEYS:
                self._variants.popitem(last=False)
        else:
            self._variants.move_to_end(full_key)
        for variant in variants:
            sizes = variant.match(shapes)
            if sizes is not None:
                return variant, sizes
        variant = self._make(key, place, tensors, shapes, variants)
        variants.insert(0, variant)
        del variants[MOST_VARIANTS:]
        return variant, variant.match(shapes)

    def __call__(self, key: Hashable, tensors: Sequence[Tensor]):
        variant, sizes = self.variant(key, tensors)
        return variant.run([t.array for t in tensors], sizes)

    def _make(self, key, place, tensors, shapes, variants) -> Variant:
        open_sizes = self._open_sizes(shapes, variants)
        if open_sizes:
            try:
                return self._trace(key, place, tensors, shapes, open_sizes)
            except Exception:
                # Code that insists on a known size is traced for this very size instead.
                pass
        return self._trace(key, place, tensors, shapes, {})

    def _open_sizes(self, shapes, variants) -> dict:
        """(argument, axis) -> size, for every size to leave open."""
        axes = set()
        for i, dims in enumerate(shapes):
            if self.leading and dims:
                axes.add((i, 0))
            for variant in variants:
                for k, (wanted, size) in enumerate(zip(variant.pattern[i], dims)):
                    if type(wanted) is tuple or wanted != size:
                        axes.add((i, k))
        # Only what differs for good reason: after several variants with open sizes, stay fixed.
        if len(variants) >= MOST_VARIANTS // 2:
            return {}
        return {(i, k): shapes[i][k] for i, k in axes}

    def _trace(self, key, place, tensors, shapes, open_sizes) -> Variant:
        self.traces += 1
        symbols: dict[int, int] = {}
        pattern, specs = [], []
        for i, (t, dims) in enumerate(zip(tensors, shapes)):
            row, sizes = [], []
            for k, size in enumerate(dims):
                if (i, k) in open_sizes:
                    index = symbols.setdefault(size, len(symbols))
                    row.append(("s", index))
                    sizes.append(SymInt(_core.symbols.symbol(index), size))
                else:
                    row.append(size)
                    sizes.append(size)
            pattern.append(tuple(row))
            specs.append((tuple(sizes), t.dtype))
        outcome = {}

        def flat(*arguments):
            results = self.fn(*arguments, key=key)
            outcome["sparse"] = any(type(d) is SymInt for x in tree.sparse(results) for d in x.dims)
            leaves, outcome["structure"] = tree.flatten(results)
            outcome["statics"] = {
                i: leaf for i, leaf in enumerate(leaves) if not isinstance(leaf, Tensor)
            }
            return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

        def compiled_function() -> CompiledFunction:
            observer = dump.observer(self.name)
            return CompiledFunction(
                flat, specs, place=place, observer=observer, passes=self.passes()
            )

        made = STATE.slots
        compiled = compiled_function()
        if STATE.slots != made:
            # A first call that makes variables may do otherwise than all that follow: a model that
            # it builds had no weights to train before.
            compiled = compiled_function()
        return Variant(pattern, compiled, **outcome)
