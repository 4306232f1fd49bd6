"""keras.distribution over the one device that there is, and refused over several."""

import keras
import numpy as np
import pytest
from keras import distribution

from keras_native.engine.errors import UnsupportedError

X = np.random.default_rng(0).standard_normal((20, 4)).astype("float32")


@pytest.fixture(autouse=True)
def undistributed():
    yield
    distribution.set_distribution(None)


def trained():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2, name="dense")])
    model.compile("adam", "mse")
    return model.fit(X, X[:, :2], epochs=2, verbose=0).history["loss"]


def data_parallel():
    return distribution.DataParallel()


def model_parallel():
    mesh = distribution.DeviceMesh((1, 1), ["batch", "model"])
    layouts = distribution.LayoutMap(mesh)
    layouts["dense.*kernel"] = (None, "model")
    layouts["dense/output"] = ("batch", None)
    return distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")


@pytest.mark.parametrize("made", [data_parallel, model_parallel])
def test_one_device_trains_as_without_distribution(made):
    expected = trained()
    distribution.initialize()
    distribution.set_distribution(made())
    assert trained() == expected


def test_devices_are_counted():
    assert distribution.list_devices() == distribution.list_devices("cpu") == ["cpu:0"]
    assert distribution.get_device_count("CPU") == 1
    with pytest.raises(ValueError, match="tpu"):
        distribution.list_devices("tpu")


def test_several_devices_or_processes_are_refused():
    several = ["cpu:0", "cpu:1"]
    distribution.set_distribution(distribution.DataParallel(devices=several))
    with pytest.raises(UnsupportedError, match="one device, not on the 2 of <DeviceMesh"):
        trained()
    mesh = distribution.DeviceMesh((2,), ["batch"], several)
    with pytest.raises(UnsupportedError, match="one device"):
        distribution.distribute_tensor(X, distribution.TensorLayout(("batch", None), mesh))
    with pytest.raises(UnsupportedError, match="num_processes=2"):
        distribution.initialize("10.0.0.1:1,10.0.0.2:1", 2, 0)
