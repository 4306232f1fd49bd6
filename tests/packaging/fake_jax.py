"""Lets Keras's NumPy backend import where JAX is not installed: every `jax` module has every name.

Only for tests that look at what is imported; nothing computes with it.
"""

import importlib.util
import sys
import types


class _Anything(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything

    def __call__(cls, *args, **kwargs):
        return Anything


class Anything(metaclass=_Anything):
    pass


class _Module(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything


class _Finder:
    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname.split(".")[0] in ("jax", "jaxlib"):
            return importlib.util.spec_from_loader(fullname, _Finder, is_package=True)
        return None

    @staticmethod
    def create_module(spec):
        return _Module(spec.name)

    @staticmethod
    def exec_module(module):
        module.__version__ = "0.10.0"


if importlib.util.find_spec("jax") is None:
    sys.meta_path.append(_Finder)
