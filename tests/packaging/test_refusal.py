"""An unknown Keras is refused whole; a half-built keras_native says what is missing."""

import os
import pathlib

import pytest
from stock_keras import FOLDER, IS_315, VERSION

CHANGES_315 = {
    "chain gone": ("models/model.py", "raise RuntimeError(", "print("),
    "chain twice": ("layers/layer.py", "\n@keras_export", "\nCHAIN\n@keras_export"),
    "backend chain": ("backend/__init__.py", "elif backend() ==", "elif backend() in"),
    "export chain": ("export/saved_model.py", "if backend.backend() ==", "if backend.name() =="),
    "dynamic backend": ("utils/backend_utils.py", "class DynamicBackend", "class Dynamic"),
}
CHANGES_316 = {
    "set of names": (
        "backend/config.py",
        "PLUGGABLE_BACKENDS = frozenset",
        "PLUGGABLE_BACKENDS = set",
    ),
}
CHANGES = CHANGES_315 if IS_315 else CHANGES_316
CHAIN = 'if backend.backend() == "a":\n    pass\nelse:\n    raise RuntimeError\n'


def changed_keras(folder, file, old, new):
    """A copy of Keras, made of links but for one file."""
    source, target = FOLDER, folder / "keras"
    for part in pathlib.PurePath("src", file).parts:
        target.mkdir()
        for entry in source.iterdir():
            if entry.name not in (part, "__pycache__"):
                (target / entry.name).symlink_to(entry)
        source, target = source / part, target / part
    text = source.read_text()
    assert old in text
    target.write_text(text.replace(old, new.replace("CHAIN", CHAIN), 1))


@pytest.mark.parametrize("change", CHANGES)
def test_unknown_keras(interpreter, tmp_path, change):
    changed_keras(tmp_path, *CHANGES[change])
    code = """
import sys
try:
    import keras
except ImportError as error:
    print(error)
import _keras_native_hook
print(sorted(_keras_native_hook.finder.watched))
print([name for name in sys.modules if name.startswith("keras_native.src")])
print([name for name in sys.modules if name.startswith("keras.src.layers")])
"""
    shown = interpreter.run(code, KERAS_BACKEND="native", PYTHONPATH=os.fspath(tmp_path))
    message, watched, ours, theirs = shown.split("\n")
    assert "3.15 and 3.16" in message and VERSION in message
    assert "Nothing was patched" in message
    assert (watched, ours, theirs) == ("['keras.src.backend']", "[]", "[]")


def test_unknown_keras_with_another_backend(interpreter, tmp_path):
    changed_keras(tmp_path, *CHANGES["chain gone" if IS_315 else "set of names"])
    code = f"import sys; sys.path.append({os.path.dirname(__file__)!r}); import fake_jax, keras"
    interpreter.run(code, KERAS_BACKEND="numpy", PYTHONPATH=os.fspath(tmp_path))


def test_compiled_part_is_missing(interpreter, tmp_path):
    (tmp_path / "keras_native").mkdir()
    package = interpreter.site / "keras_native"
    for name in ("__init__.py", "plugin.py"):
        (tmp_path / "keras_native" / name).write_text((package / name).read_text())
    error = interpreter.run("import keras_native", check=False, PYTHONPATH=os.fspath(tmp_path))
    assert "no compiled part" in error and "pip install ." in error and str(tmp_path) in error
