"""Each way of choosing the backend `native`."""

import os
import re

import pytest
from stock_keras import IS_315

SHOW = "import keras; print(keras.backend.backend(), keras.ops.add(1, 2))"
IS_NATIVE = re.compile(r"native .*3")


def test_variable(interpreter):
    assert IS_NATIVE.match(interpreter.run(SHOW, KERAS_BACKEND="native"))


def test_keras_json(interpreter, keras_json):
    keras_json("native")
    assert IS_NATIVE.match(interpreter.run(SHOW))


def test_variable_set_inside_the_script(interpreter):
    assert IS_NATIVE.match(
        interpreter.run(f"import os; os.environ['KERAS_BACKEND'] = 'native'; {SHOW}")
    )


def test_import_first(interpreter, keras_json):
    keras_json("jax")
    assert IS_NATIVE.match(interpreter.run("import keras_native; " + SHOW))


def test_import_first_where_no_site_is_read(interpreter):
    paths = [str(interpreter.site), *(interpreter.site / "seen.pth").read_text().split("\n")]
    code = f"import sys; sys.path += {paths}; import keras_native; {SHOW}"
    assert IS_NATIVE.match(interpreter.run(code, "-S"))


def test_import_first_gives_way_to_the_variable(interpreter):
    code = "import keras_native, sys; sys.path.append({!r}); import fake_jax; " + SHOW
    shown = interpreter.run(code.format(os.path.dirname(__file__)), KERAS_BACKEND="numpy")
    assert shown == "numpy 3"


def test_model_predicts(interpreter):
    code = """
import keras, numpy as np
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(2)])
x = np.linspace(-1, 1, 20, dtype="float32").reshape(5, 4)
y = model.predict(x, verbose=0)
w1, b1, w2, b2 = model.get_weights()
np.testing.assert_allclose(y, np.maximum(x @ w1 + b1, 0) @ w2 + b2, rtol=1e-5, atol=1e-6)
"""
    interpreter.run(code, KERAS_BACKEND="native")


def test_dynamic_backend(interpreter):
    code = """
from keras.src.utils.backend_utils import DynamicBackend
backend = DynamicBackend()
assert backend.name == "native"
assert backend.convert_to_tensor([1.0]).shape == (1,)
backend.set_backend("native")
backend.reset()
try:
    backend.set_backend("no such backend")
except ValueError as error:
    assert "no such backend" in str(error)
else:
    raise AssertionError("an unknown name was accepted")
"""
    interpreter.run(code, KERAS_BACKEND="native")


def test_set_backend_from_another(interpreter):
    code = """
import os, sys
sys.path.append(os.environ["TEST_FOLDER"])
import fake_jax, keras
assert keras.backend.backend() == "numpy"
keras.config.set_backend("native")
import keras
assert keras.backend.backend() == "native"
assert int(keras.ops.add(1, 2)) == 3
"""
    interpreter.run(code, KERAS_BACKEND="numpy")


@pytest.mark.skipif(not IS_315, reason="patched in 3.15 alone")
def test_patched_modules_keep_their_source_and_lines(interpreter):
    code = """
import inspect, keras
from keras.src.layers import layer
assert inspect.getsource(keras.Layer).startswith("@keras_export")
assert layer.__spec__.loader.get_source(layer.__name__).startswith('\"\"\"Layer is')
assert layer.__spec__.loader is layer.__loader__
code = keras.Layer.__init__.__code__
assert "def __init__" in inspect.getsource(layer).splitlines()[code.co_firstlineno - 1]
"""
    interpreter.run(code, KERAS_BACKEND="native")
