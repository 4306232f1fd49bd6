"""Makes an unmodified Keras accept the backend name `native`: the part that changes Keras.

Keras 3.16 has a set of the names of pluggable backends: the name is added. Keras 3.15 spells its
backends out as chains, `if backend() == "tensorflow": ... elif ... else: raise`, in a few modules:
those chains get one more branch, in the syntax tree, in memory. Every chain is found and checked
before the first module runs, so that an unknown Keras is refused whole and never half patched.

One layer, `Equalization`, has a road for JAX by name and shapes that depend on values for all
others: two of its methods are replaced.
"""

import ast
import sys

from _keras_native_hook import NAME, finder

KNOWN = "3.15 and 3.16"

_DYNAMIC = "keras.src.utils.backend_utils"
_EQUALIZATION = "keras.src.layers.preprocessing.image_preprocessing.equalization"

# What the new branch of each chain of Keras 3.15 does.
_BRANCHES = {
    "keras.src.backend": (
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


def load_backend(loader, module):
    """Runs `keras.src.backend` with `native` as the backend.

    Args:
        loader: the module's own loader.
        module: the module, not yet run; `keras.src.backend.config` has been imported.

    Raises:
        ImportError: if the structure of this Keras is unknown.
    """
    from keras.src.backend import config

    # Who imports a part of keras_native.src before Keras has it half made here, waiting for Keras;
    # Keras needs it whole, so it is made afresh.
    sys.modules.pop("keras_native.src", None)
    if hasattr(config, "PLUGGABLE_BACKENDS"):
        _add_to_pluggable()
        finder.watched[_EQUALIZATION] = _load_equalization
        loader.exec_module(module)
        return
    loaders = {name: _loader_of(name) for name in (*_BRANCHES, _DYNAMIC)}
    _check_dynamic_backend(loaders[_DYNAMIC])
    trees = {name: _extend_chain(loaders[name], name, _BRANCHES[name]) for name in _BRANCHES}
    backend = trees.pop(module.__name__)
    # Watched from here on: running keras.src.backend imports some of them.
    finder.watched |= {_DYNAMIC: _load_dynamic_backend, _EQUALIZATION: _load_equalization}
    for name in trees:
        finder.watched[name] = lambda loader, module: _run(trees[module.__name__], module)
    _run(backend, module)


def extend(loader, module, branch):
    """Runs a module of Keras 3.15 whose chain of backends gets one more branch.

    Args:
        loader: has `get_source` and `get_filename`.
        module: the module, not yet run.
        branch: str. Source of the branch that is taken when the backend is `native`.

    Raises:
        ImportError: the module has no such chain, or several.
    """
    _run(_extend_chain(loader, module.__name__, branch), module)


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


def _loader_of(name):
    # Without importing the parent packages: they need keras.src.backend, which is being loaded.
    package = "keras.src"
    path = sys.modules[package].__path__
    for part in name.split(".")[2:]:
        package += "." + part
        spec = finder.find_original(package, path)
        if spec is None:
            raise _refusal(f"it has no module {name}")
        path = spec.submodule_search_locations
    return spec.loader


def _parse(loader, name):
    source = loader.get_source(name) if hasattr(loader, "get_source") else None
    if source is None:
        raise _refusal(f"the source of {name} is not there")
    return ast.parse(source, loader.get_filename(name))


def _extend_chain(loader, name, branch):
    """The syntax tree of a module with one more branch in its chain of backends."""
    tree = _parse(loader, name)
    chains = []
    for link in tree.body:
        while isinstance(link, ast.If) and _compares_backend(link.test):
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


def _compares_backend(test):
    """Whether an expression reads `backend() == "..."` or `backend.backend() == "..."`."""
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
            from keras_native.src import flat

            return getattr(flat, name)
        return stock_getattr(self, name)

    dynamic.set_backend, dynamic.__getattr__ = set_backend, __getattr__


def _load_equalization(loader, module):
    # Its histogram has a shape that depends on values, but for JAX by name.
    loader.exec_module(module)
    from keras_native.src.image import equalization

    equalization.amend(module.Equalization)
