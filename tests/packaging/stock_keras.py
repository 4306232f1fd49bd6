"""Where Keras is and which one it is, without importing it."""

import importlib.util
import pathlib
import re

FOLDER = pathlib.Path(importlib.util.find_spec("keras").origin).parent
VERSION = re.search(r'__version__ = "(.*)"', (FOLDER / "src" / "version.py").read_text())[1]
IS_315 = VERSION.startswith("3.15")
