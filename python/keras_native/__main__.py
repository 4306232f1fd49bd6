"""`python -m keras_native TOOL ...`: the tools of keras_native.tools."""

import importlib
import pkgutil
import sys

from keras_native import tools


def main() -> int:
    """Runs the tool that the command line names; returns the exit status."""
    names = sorted(module.name for module in pkgutil.iter_modules(tools.__path__))
    wanted = [name for name in sys.argv[1:2] if name in names]
    for module in map(load, wanted):
        if hasattr(module, "main"):
            return module.main(sys.argv[2:]) or 0
    print("usage: python -m keras_native TOOL ...\n")
    for name in names:
        module = load(name)
        if hasattr(module, "main"):
            print(f"  {name:10} {(module.__doc__ or '').splitlines()[0]}")
    return 0 if sys.argv[1:2] in ([], ["-h"], ["--help"]) else 2


def load(name: str):
    """The module of that name in keras_native.tools; those without `main` are no tools."""
    return importlib.import_module(f"{tools.__name__}.{name}")


if __name__ == "__main__":
    sys.exit(main())
