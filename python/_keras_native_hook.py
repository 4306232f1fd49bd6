"""Makes an unmodified Keras accept the backend name `native`.

Installed at interpreter start, so this module imports nothing but `sys` and does nothing but put
one finder in `sys.meta_path`. The finder waits for `keras.src.backend`; if the backend chosen there
is another one, Keras's own loader runs as if the finder did not exist.

Keras 3.16 has a set of the names of pluggable backends: the name is added. Keras 3.15 spells its
backends out as chains, `if backend() == "tensorflow": ... elif ... else: raise`, in a few modules:
those chains get one more branch, in the syntax tree, in memory. Every chain is found and checked
before the first module runs, so that an unknown Keras is refused whole and never half patched.
"""

import sys

KNOWN = "3.15 and 3.16"
NAME = "native"

_BACKEND = "keras.src.backend"
_DYNAMIC = "keras.src.utils.backend_utils"

# What the new branch of each chain of Keras 3.15 does.
_BRANCHES = {
    _BACKEND: (
        "from keras_native.src.flat import *\n"
        "from keras_native.src.flat import Variable as BackendVariable"
    ),
    "keras.src.layers.layer": "from keras_native.src.layer import BackendLayer",
    "keras.src.models.model": "from keras_native.src.trainer import Trainer",
    "keras.src.export.saved_model": (
        "from keras_native.src.export import SavedModelExportArchive\n"
        "BackendSavedModelExportArchive = SavedModelExportArchive"
    ),
}

_preferred = False


def install(prefer=False):
    """Puts the finder in place, once; nothing happens if KERAS_NATIVE_PLUGIN=0.

    Args:
        prefer: bool. Choose `native` where the variable KERAS_BACKEND chooses nothing; it is what
            `import keras_native` before `import keras` says.
    """
    global _preferred
    import os

    if os.environ.get("KERAS_NATIVE_PLUGIN") == "0":
        return
    _preferred = _preferred or prefer
    if not any(getattr(finder, "name", None) == __name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def watch(module, branch):
    """Extends the chain in one more module of Keras 3.15 (tests of Keras have such chains too).

    Args:
        module: str. Name of the module, not yet imported.
        branch: str. Source of the branch that is taken when the backend is `native`.
    """
    for finder in sys.meta_path:
        if getattr(finder, "name", None) == __name__:
            finder.watched[module] = lambda loader, module: _run(
                _extend_chain(loader, module.__name__, branch), module
            )


class _Finder:
    name = __name__

    def __init__(self):
        self.watched = {_BACKEND: self._load_backend}

    def find_spec(self, fullname, path=None, target=None):
        load = self.watched.get(fullname)
        if load is None:
            return None
        spec = self._find(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, load)
        return spec

    def _find(self, fullname, path, target=None):
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None

    def _load_backend(self, loader, module):
        self.watched = {_BACKEND: self._load_backend}
        if _preferred:
            import os

            # As keras.config.set_backend does, so that child processes choose the same.
            os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or NAME
        # The first thing that keras.src.backend does itself.
        from keras.src.backend import config

        if config.backend() != NAME:
            loader.exec_module(module)
        elif hasattr(config, "PLUGGABLE_BACKENDS"):
            _add_to_pluggable()
            loader.exec_module(module)
        else:
            self._load_chains(loader, module)

    def _load_chains(self, loader, module):
        loaders = {name: self._loader_of(name) for name in (*_BRANCHES, _DYNAMIC)}
        _check_dynamic_backend(loaders[_DYNAMIC])
        trees = {name: _extend_chain(loaders[name], name, _BRANCHES[name]) for name in _BRANCHES}
        for name in trees:
            self.watched[name] = lambda loader, module: _run(trees.pop(module.__name__), module)
        self.watched[_DYNAMIC] = _load_dynamic_backend
        self.watched[_BACKEND] = self._load_backend
        _run(trees.pop(_BACKEND), module)

    def _loader_of(self, name):
        # Without importing the parent packages: they need keras.src.backend, which is being loaded.
        path = sys.modules["keras.src"].__path__
        package = "keras.src"
        for part in name.split(".")[2:]:
            package += "." + part
            spec = self._find(package, path)
            if spec is None:
                raise _refusal(f"it has no module {name}")
            path = spec.submodule_search_locations
        return spec.loader


class _Loader:
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


def _refusal(reason):
    try:
        from keras.src.version import __version__ as version
    except ImportError:
        version = "of unknown version"
    return ImportError(
        f"keras-native knows the structure of Keras {KNOWN}, and this Keras ({version}) differs: "
        f"{reason}. Nothing was patched. Install a known version, or choose another backend."
    )


def _add_to_pluggable():
    # Modules copy the set when they are imported, so each copy made so far is rebound.
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("keras.src.") and "PLUGGABLE_BACKENDS" in vars(module)
    ]
    for module in modules:
        if not isinstance(module.PLUGGABLE_BACKENDS, frozenset):
            raise _refusal(f"{module.__name__}.PLUGGABLE_BACKENDS is not a frozenset")
    for module in modules:
        module.PLUGGABLE_BACKENDS |= {NAME}


def _parse(loader, name):
    import ast

    source = loader.get_source(name) if hasattr(loader, "get_source") else None
    if source is None:
        raise _refusal(f"the source of {name} is not there")
    return ast.parse(source, loader.get_filename(name))


def _extend_chain(loader, name, branch):
    """The syntax tree of module `name` with one more branch in its chain of backends."""
    import ast

    tree = _parse(loader, name)
    chains = []
    for statement in tree.body:
        link = statement
        while isinstance(link, ast.If) and _backend_compared(link.test):
            if len(link.orelse) == 1 and isinstance(link.orelse[0], ast.Raise):
                chains.append(link)
            link = link.orelse[0] if len(link.orelse) == 1 else None
    if len(chains) != 1:
        raise _refusal(f"{len(chains)} chains of backends in {name}, 1 expected")
    last = chains[0]
    block = branch.replace("\n", "\n    ")
    new = ast.parse(f"if {ast.unparse(last.test.left)} == {NAME!r}:\n    {block}").body[0]
    for part in ast.walk(new):
        if hasattr(part, "lineno"):
            ast.copy_location(part, last.orelse[0])
    new.orelse, last.orelse = last.orelse, [new]
    return tree


def _backend_compared(test):
    """Whether an expression reads `backend() == "..."` or `backend.backend() == "..."`."""
    import ast

    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Call)
        and ast.unparse(test.left) in ("backend()", "backend.backend()")
        and len(test.ops) == 1
        and isinstance(test.ops[0], ast.Eq)
        and isinstance(test.comparators[0], ast.Constant)
    )


def _run(tree, module):
    # Compiled in memory: no bytecode of a patched module is ever written.
    exec(compile(tree, module.__spec__.origin, "exec", dont_inherit=True), module.__dict__)


def _check_dynamic_backend(loader):
    import ast

    for node in _parse(loader, _DYNAMIC).body:
        if isinstance(node, ast.ClassDef) and node.name == "DynamicBackend":
            methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            if {"set_backend", "__getattr__"} <= methods:
                return
    raise _refusal(f"no DynamicBackend in {_DYNAMIC} with set_backend and __getattr__")


def _load_dynamic_backend(loader, module):
    loader.exec_module(module)
    dynamic = module.DynamicBackend
    stock_set_backend, stock_getattr = dynamic.set_backend, dynamic.__getattr__

    def set_backend(self, backend):
        if backend == NAME:
            self._backend = backend
        else:
            stock_set_backend(self, backend)

    def __getattr__(self, name):
        if self._backend == NAME:
            import keras_native.src.flat

            return getattr(keras_native.src.flat, name)
        return stock_getattr(self, name)

    dynamic.set_backend, dynamic.__getattr__ = set_backend, __getattr__
