"""`python -m keras_native TOOL ...`: the tools of keras_native.tools."""

import importlib
import pkgutil
import sys

from keras_native import tools


def main() -> int:
    """Runs the tool that the command line names; returns the exit status."""
    names = sorted(module.name for module in pkgutil.iter_modules(tools.__path__))
    found = {
        name: importlib.import_module(f"{tools.__name__}.{name}")
        for name in sys.argv[1:2]
        if name in names
    }
    if not found:
        print("usage: python -m keras_native TOOL ...\n")
        for name in names:
            module = importlib.import_module(f"{tools.__name__}.{name}")
            if hasattr(module, "main"):
                print(f"  {name:10} {(module.__doc__ or '').splitlines()[0]}")
        return 0 if sys.argv[1:2] in ([], ["-h"], ["--help"]) else 2
    return found[sys.argv[1]].main(sys.argv[2:]) or 0


if __name__ == "__main__":
    sys.exit(main())
