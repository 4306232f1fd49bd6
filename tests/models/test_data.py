"""Every source of data that Keras takes, through fit, evaluate and predict."""

import inspect

import keras
import numpy as np
import pytest

import keras_native

COUNT, BATCH = 70, 16  # the last batch is short
RNG = np.random.default_rng(0)
X = RNG.standard_normal((COUNT, 4)).astype("float32")
Y = (X @ [[1.0], [-2.0], [0.5], [0.0]]).astype("float32")
W = RNG.uniform(0.5, 1.5, COUNT).astype("float32")


class Batches(keras.utils.PyDataset):
    """Picklable, so that processes can have it."""

    def __getitem__(self, index):
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return X[rows], Y[rows], W[rows]

    def __len__(self):
        return -(-COUNT // BATCH)


def arrays():
    return (X, Y, W), {"batch_size": BATCH, "shuffle": False}


def memory_map(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return (np.load(tmp_path / "x.npy", mmap_mode="r"), Y, W), {
        "batch_size": BATCH,
        "shuffle": False,
    }


def native_tensors():
    tensors = tuple(keras.ops.convert_to_tensor(a) for a in (X, Y, W))
    return tensors, {"batch_size": BATCH, "shuffle": False}


def pandas_frames():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    return (frame, pandas.DataFrame(Y), pandas.Series(W)), {"batch_size": BATCH, "shuffle": False}


def torch_tensors():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    return tuple(torch.from_numpy(a) for a in (X, Y, W)), {"batch_size": BATCH, "shuffle": False}


def tensorflow_tensors():
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    return tuple(tf.constant(a) for a in (X, Y, W)), {"batch_size": BATCH, "shuffle": False}


def jax_arrays():
    jnp = pytest.importorskip("jax.numpy", reason="jax is not installed")
    return tuple(jnp.asarray(a) for a in (X, Y, W)), {"batch_size": BATCH, "shuffle": False}


def generator():
    def batches():
        while True:
            for i in range(len(Batches())):
                yield Batches()[i]

    return (batches(),), {"steps": len(Batches())}


def py_dataset():
    return (Batches(),), {"shuffle": False}


def py_dataset_threads():
    return (Batches(workers=3, max_queue_size=4),), {"shuffle": False}


def py_dataset_processes():
    return (Batches(workers=2, use_multiprocessing=True),), {"shuffle": False}


def tf_data():
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    return (tf.data.Dataset.from_tensor_slices((X, Y, W)).batch(BATCH),), {}


def torch_loader():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    data = torch.utils.data.TensorDataset(*(torch.from_numpy(a) for a in (X, Y, W)))
    return (torch.utils.data.DataLoader(data, batch_size=BATCH),), {}


def torch_loader_processes():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    data = torch.utils.data.TensorDataset(*(torch.from_numpy(a) for a in (X, Y, W)))
    return (torch.utils.data.DataLoader(data, batch_size=BATCH, num_workers=2),), {}


class Rows:
    """A source of single examples, as grain has them."""

    def __len__(self):
        return COUNT

    def __getitem__(self, i):
        return X[i], Y[i], W[i]


def grain_dataset():
    grain = pytest.importorskip("grain", reason="grain is not installed")
    return (grain.MapDataset.source(Rows()).to_iter_dataset().batch(BATCH),), {}


def grain_loader():
    grain = pytest.importorskip("grain", reason="grain is not installed")
    loader = grain.DataLoader(
        data_source=Rows(),
        sampler=grain.samplers.SequentialSampler(COUNT, grain.sharding.NoSharding()),
        operations=[grain.transforms.Batch(BATCH)],
        worker_count=0,
    )
    return (loader,), {}


# Those that fork come first, before other libraries have threads in this process.
SOURCES = [
    py_dataset_processes, torch_loader_processes, arrays, memory_map, native_tensors,
    pandas_frames, torch_tensors, tensorflow_tensors, jax_arrays, generator, py_dataset,
    py_dataset_threads, tf_data, torch_loader, grain_dataset, grain_loader,
]  # fmt: skip


def trained(data, options):
    """Losses of training, evaluation and prediction over a source of data."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, "tanh")])
    model.add(keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(0.02), "mse", weighted_metrics=["mae"])
    # Builds the metrics: else Keras looks at a batch first, which workers then deliver as the last.
    model.evaluate(X, Y, verbose=0)
    steps = options.pop("steps", None)
    shuffle = options.pop("shuffle", None)
    names = ("x", "y", "sample_weight")
    given = dict(zip(names, data)), options
    fit_options = {} if shuffle is None else {"shuffle": shuffle}
    history = model.fit(
        **given[0], **options, **fit_options, steps_per_epoch=steps, epochs=3, verbose=0
    ).history
    logs = model.evaluate(**given[0], **options, steps=steps, return_dict=True, verbose=0)
    predictions = model.predict(data[0], **options, steps=steps, verbose=0)
    assert model.train_function.step.traces == 1
    return history, logs, predictions


@pytest.fixture(scope="module")
def expected():
    return trained(*arrays())


@pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.__name__)
def test_a_source_of_data_trains_as_arrays_do(source, expected, tmp_path):
    data, options = source(tmp_path) if inspect.signature(source).parameters else source()
    history, logs, predictions = trained(data, options)
    assert history == expected[0] and history["loss"][-1] < history["loss"][0]
    assert logs == expected[1]
    np.testing.assert_array_equal(predictions, expected[2])


def _sparse(library):
    scipy = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    matrix = scipy.csr_matrix(np.where(X > 0.5, X, 0))
    if library == "scipy":
        return matrix
    indices = np.stack(matrix.nonzero(), 1)
    return keras_native.SparseTensor(indices, matrix[tuple(indices.T)].A1, matrix.shape)


@pytest.mark.parametrize("library", ["scipy", "native"])
def test_a_sparse_matrix_comes_in_sparse_batches(library):
    seen = []

    class Spy(keras.layers.Layer):
        def call(self, x):
            seen.append(type(x))
            return x

    def model():
        keras.utils.set_random_seed(0)
        made = keras.Sequential([keras.layers.Input((4,), sparse=True), Spy()])
        made.add(keras.layers.Dense(1))
        made.compile(keras.optimizers.Adam(0.05), "mse")
        return made

    found, expected = model(), model()
    data, dense = _sparse(library), np.where(X > 0.5, X, 0)
    options = {"batch_size": BATCH, "epochs": 3, "shuffle": False, "verbose": 0}
    options["validation_split"] = 0.2
    # Keras builds with dense tensors, before training begins.
    begin = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: seen.clear())
    history = found.fit(data, Y, callbacks=[begin], **options).history
    assert set(seen) == {keras_native.SparseTensor}
    # One for each number of rows, and one where as many entries as rows came.
    assert found.train_function.step.traces <= 3
    for name, values in expected.fit(dense, Y, **options).history.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5)
    np.testing.assert_allclose(
        found.evaluate(data, Y, verbose=0), expected.evaluate(dense, Y, verbose=0), rtol=1e-5
    )
    np.testing.assert_allclose(
        found.predict(data, verbose=0), expected.predict(dense, verbose=0), rtol=1e-5, atol=1e-6
    )


def test_rows_of_a_sparse_tensor_of_rank_3_are_refused():
    data = keras_native.SparseTensor([[0, 1, 2]], np.ones(1, "float32"), (4, 3, 3))
    model = keras.Sequential([keras.layers.Input((3, 3), sparse=True), keras.layers.Flatten()])
    with pytest.raises(ValueError, match=r"sparse matrices only.*shape=\(4, 3, 3\).*generator"):
        model.predict(data, verbose=0)


def test_dictionaries_of_columns_feed_inputs_by_name():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    inputs = {name: keras.layers.Input((1,), name=name) for name in frame}
    model = keras.Model(
        inputs, keras.layers.Dense(1)(keras.ops.concatenate(list(inputs.values()), 1))
    )
    model.compile(keras.optimizers.Adam(0.1), "mse")
    losses = model.fit(dict(frame), Y, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.3 * losses[0]
    np.testing.assert_allclose(
        model.predict(dict(frame), verbose=0),
        X @ model.layers[-1].kernel.numpy() + model.layers[-1].bias.numpy(),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("make", [np.asarray, lambda x: x.astype("float64"), lambda x: x > 0])
@pytest.mark.parametrize("nest", [lambda a, b: [a, b], lambda a, b: {"a": a, "b": b}])
def test_one_batch_is_predicted_as_many_are(make, nest):
    a, b = keras.layers.Input((4,), name="a"), keras.layers.Input((2,), name="b")
    y = keras.layers.Dense(3)(keras.ops.concatenate([keras.ops.cast(a, "float32"), b], 1))
    model = keras.Model(nest(a, b), {"y": y, "sum": keras.ops.sum(y, 1)})
    data = nest(make(X[:20]), X[:20, :2])
    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_predict_batch_end=lambda batch, logs: seen.append(batch)
    )
    one = model.predict(data, verbose=0)
    many = model.predict(data, batch_size=6, callbacks=[callback], verbose=0)
    assert len(seen) == 4
    for key, value in many.items():
        np.testing.assert_allclose(one[key], value, rtol=1e-6, atol=1e-6)
        one[key] += 1  # the caller's own
    again = model.predict(data, verbose=0)
    np.testing.assert_allclose(again["y"], many["y"], rtol=1e-6, atol=1e-6)
    if isinstance(data, list):  # of dictionaries Keras's own message fails
        with pytest.raises(ValueError, match="(?s)cardinality.*20.*19"):
            model.predict([data[0], data[1][:19]], verbose=0)


@pytest.mark.parametrize("missing", [lambda x: keras.ops.sum(x), lambda x: None])
@pytest.mark.parametrize("rows", [20, len(X)])
def test_a_prediction_without_rows_is_refused(missing, rows):
    class Two(keras.Model):
        def call(self, x):
            return {"rows": x, "none": missing(x)}

    with pytest.raises(ValueError, match="zero-dimensional|nested structure"):
        Two().predict(X[:rows], verbose=0)


def test_a_prediction_of_no_rows_says_so():
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"no batches.*shape=\(0, 4\)"):
        model.predict(X[:0], verbose=0)


def test_an_exception_of_the_source_comes_out():
    class Broken(Batches):
        def __getitem__(self, index):
            if index == 2:
                raise OSError("the third batch cannot be read")
            return super().__getitem__(index)

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    for data in (Broken(), Broken(workers=2)):
        with pytest.raises(OSError, match="third batch"):
            model.fit(data, shuffle=False, verbose=0)
    model.fit(Batches(), verbose=0)


class Keeper(keras.Model):
    """Keeps its batch in a variable, and gives it back as it is, under another shape, and from a
    branch."""

    def __init__(self):
        super().__init__()
        self.kept = self.add_weight((BATCH, 4), trainable=False)

    def call(self, x):
        ops = keras.ops
        self.kept.assign(x)
        return x, ops.reshape(x, (-1,)), ops.cond(ops.sum(x) < 1e9, lambda: x, lambda: 2.0 * x)


@pytest.mark.parametrize("eagerly", [False, True])
def test_the_caller_may_write_to_a_batch_after_the_step(eagerly):
    model = Keeper()
    model.compile(run_eagerly=eagerly)
    for _ in range(2):
        x = X[:BATCH].copy()
        same, flat, chosen = model.predict_on_batch(x)
        x[:] = -1
        for result in (same, flat.reshape(same.shape), chosen, model.kept.numpy()):
            np.testing.assert_array_equal(result, X[:BATCH])
