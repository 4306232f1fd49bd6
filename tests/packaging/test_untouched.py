"""Other backends, other programs and Keras's files are left as they were."""

import json
import os
import statistics

import pytest
from stock_keras import FOLDER, IS_315

# The NumPy backend is the only one that needs no other framework, but for names of JAX.
OTHER = """
import os, sys
sys.path.append(os.environ["TEST_FOLDER"])
import fake_jax, json, keras
"""


def state_of_files(folder):
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_other_backend_imports_nothing_and_changes_nothing(interpreter):
    code = (
        OTHER
        + """
from keras.src.backend import config
backend = sys.modules["keras.src.backend"]
facts = {
    "modules": sorted(sys.modules),
    "loader": type(backend.__loader__).__name__,
    "spec loader": type(backend.__spec__.loader).__name__,
    "names": sorted(getattr(config, "PLUGGABLE_BACKENDS", [])),
    "variable": str(keras.src.backend.Variable.__mro__),
    "chosen": os.environ["KERAS_BACKEND"],
}
print(json.dumps(facts))
"""
    )
    on, off = (
        json.loads(interpreter.run(code, KERAS_BACKEND="numpy", KERAS_NATIVE_PLUGIN=switch))
        for switch in ("1", "0")
    )
    assert on == off
    assert not [name for name in on["modules"] if name.startswith("keras_native")]


def test_interpreter_start_imports_the_hook_alone(interpreter):
    code = "import sys, json; print(json.dumps(sorted(sys.modules)))"
    (interpreter.site / "keras_native_hook.pth").rename(interpreter.site / "off")
    without = set(json.loads(interpreter.run(code)))
    (interpreter.site / "off").rename(interpreter.site / "keras_native_hook.pth")
    assert set(json.loads(interpreter.run(code))) - without == {"_keras_native_hook"}


def test_interpreter_start_costs_less_than_a_millisecond(interpreter):
    code = """
import os, sys, time  # a normal start has imported os
sys.path.append(SITE)
start = time.perf_counter()
import _keras_native_hook; _keras_native_hook.install()
print(1e3 * (time.perf_counter() - start))
""".replace("SITE", repr(str(interpreter.site)))
    # As pip leaves it: with its bytecode beside it.
    interpreter.run("import _keras_native_hook", PYTHONDONTWRITEBYTECODE="")
    assert statistics.median(float(interpreter.run(code, "-I", "-S")) for _ in range(7)) < 1.0


def test_finder_costs_nothing_to_other_imports(interpreter):
    code = """
import sys, timeit
finder = sys.meta_path[0]
assert type(finder).__module__ == "_keras_native_hook"
print(min(timeit.repeat(lambda: finder.find_spec("numpy.linalg"), number=1000)) / 1000 * 1e6)
"""
    assert float(interpreter.run(code)) < 5  # microseconds


def test_no_bytecode_of_patched_modules(interpreter, tmp_path):
    before = state_of_files(FOLDER)
    variables = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": os.fspath(tmp_path)}
    interpreter.run("import keras", KERAS_BACKEND="native", **variables)
    cached = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.pyc")}
    ours = {path for path in cached if "/keras/src/" in path}
    assert any("/keras/src/backend/config." in path for path in ours)
    if IS_315:
        for module in ("backend/__init__", "layers/layer", "models/model", "export/saved_model"):
            assert not [path for path in ours if f"/keras/src/{module}." in path]
    # What is cached serves another backend, and Keras's own folder was not written to.
    assert (
        interpreter.run(OTHER + "print(keras.ops.add(1, 2))", KERAS_BACKEND="numpy", **variables)
        == "3"
    )
    assert state_of_files(FOLDER) == before


def test_switched_off(interpreter):
    code = """
import sys
print([type(finder).__module__ for finder in sys.meta_path])
try:
    import keras
except Exception as error:
    print(type(error).__name__)
"""
    shown = interpreter.run(code, KERAS_BACKEND="native", KERAS_NATIVE_PLUGIN="0")
    assert "_keras_native_hook" not in shown
    assert shown.split("\n")[-1] in ("ValueError", "ImportError")


def test_start_up_files_say_the_same(interpreter):
    line = (interpreter.site / "keras_native_hook.pth").read_text().strip()
    entry = (interpreter.site / "keras_native_hook.start").read_text().strip()
    module, function = entry.split(":")
    assert line == f"import {module}; {module}.{function}()"


def test_every_installed_file_is_recorded():
    """What pip records, it removes: uninstalling leaves no trace."""
    from importlib import metadata

    try:
        files = metadata.files("keras-native")
    except metadata.PackageNotFoundError:
        pytest.skip("keras-native is not installed here, only importable")
    names = {str(file) for file in files}
    assert {"_keras_native_hook.py", "keras_native_hook.pth", "keras_native_hook.start"} <= names
