"""Makes an unmodified Keras accept the backend name `native`: the part that runs at start-up.

It imports nothing but `sys`, and puts one finder in `sys.meta_path` that waits for
`keras.src.backend`. If the backend chosen there is another one, Keras's own loader runs as if the
finder did not exist; if it is `native`, `keras_native.plugin` takes over.
"""

import sys

NAME = "native"

_BACKEND = "keras.src.backend"
_preferred = False


def install(prefer=False):
    """Puts the finder in place, once; does nothing if KERAS_NATIVE_PLUGIN=0.

    Args:
        prefer: bool. Choose `native` where the variable KERAS_BACKEND chooses nothing; it is what
            `import keras_native` before `import keras` says.
    """
    global _preferred
    import os

    if os.environ.get("KERAS_NATIVE_PLUGIN") != "0":
        _preferred = _preferred or prefer
        if finder not in sys.meta_path:
            sys.meta_path.insert(0, finder)


class Finder:
    """Finds what the other finders find; the loaders of watched modules are wrapped.

    Attributes:
        watched: dict from module name to `load(loader, module)`, which runs the module in place of
            `loader.exec_module(module)`.
    """

    def __init__(self):
        self.watched = {_BACKEND: _load_backend}

    def find_spec(self, fullname, path=None, target=None):
        load = self.watched.get(fullname)
        if load is None:
            return None
        spec = self.find_original(fullname, path, target)
        if spec is not None:
            spec.loader = Loader(spec.loader, load)
        return spec

    def find_original(self, fullname, path=None, target=None):
        """The spec that the other finders give, or None."""
        for other in sys.meta_path:
            if other is not self and hasattr(other, "find_spec"):
                spec = other.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None


class Loader:
    """Stands in for a module's loader until the module runs, then hands it back."""

    def __init__(self, loader, load):
        self.loader = loader
        self.load = load

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.load(self.loader, module)

    def __getattr__(self, name):
        return getattr(self.loader, name)


def _load_backend(loader, module):
    # Keras may be loaded again with another backend (keras.config.set_backend).
    finder.watched = {_BACKEND: _load_backend}
    if _preferred:
        import os

        # As keras.config.set_backend does, so that child processes choose the same.
        os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or NAME
    # The first thing that keras.src.backend does itself.
    from keras.src.backend import config

    if config.backend() == NAME:
        from keras_native import plugin

        plugin.load_backend(loader, module)
    else:
        loader.exec_module(module)


finder = Finder()
