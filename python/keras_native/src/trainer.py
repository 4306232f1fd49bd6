"""fit, evaluate and predict: each step is traced once for each signature and replayed without
Python."""

from __future__ import annotations

import warnings

import numpy as np
from keras.src import callbacks as callbacks_module
from keras.src import optimizers as optimizers_module
from keras.src import tree
from keras.src.backend import config
from keras.src.distribution import distribution_lib
from keras.src.trainers import trainer as base_trainer
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.array_slicing import train_validation_split
from keras.src.utils import traceback_utils
from keras.src.utils.python_utils import pythonify_logs

from keras_native.engine.primitives import shape
from keras_native.engine.tape import Tape, backward, full_like
from keras_native.src.batches import BatchIterator, sliceable
from keras_native.src.distribution_lib import check_mesh
from keras_native.src.ops.core import convert_to_numpy
from keras_native.src.ops.numpy import concatenate
from keras_native.src.steps import StepFunction, append_outputs, check_signature

# Keras 3.16 calls it BaseTrainer.
_Base = getattr(base_trainer, "BaseTrainer", None) or base_trainer.Trainer


class Trainer(_Base):
    """The trainer that `keras.Model` inherits from on this backend."""

    def __init__(self):
        super().__init__()
        self.train_function = None
        self.test_function = None
        self.predict_function = None
        self._jit_is_auto = True
        self._jit_resolving = False

    # jit_compile: "auto" tries whatever the layers say of themselves; True insists.

    def _resolve_auto_jit_compile(self):
        self._jit_resolving = True
        return True

    @property
    def jit_compile(self):
        if self._jit_compile is None:
            self._jit_compile, self._jit_is_auto = True, True
        return self._jit_compile

    @jit_compile.setter
    def jit_compile(self, value):
        self._jit_compile = bool(value)
        self._jit_is_auto, self._jit_resolving = self._jit_resolving, False

    def get_compile_config(self):
        """What the model was compiled with, for files: "auto" where that was asked for, since
        another backend would decide otherwise."""
        config = super().get_compile_config()
        if config.get("jit_compile") and self._jit_is_auto:
            config["jit_compile"] = "auto"
        return config

    def compile_from_config(self, config):
        """Compiles as a file says, one that PyTorch's backend wrote too."""
        super().compile_from_config(_with_own_optimizers(config))

    def _mode(self) -> str:
        if self.run_eagerly:
            return "eager"
        if not self.jit_compile:
            # Without compilation in the API's sense a step is still traced where it can be.
            return "auto"
        return "auto" if self._jit_is_auto else "jit"

    # Steps.

    def _symbolic_build(self, iterator=None, data_batch=None):
        """Builds what is not built yet by passing a batch through `call`.

        But not for steps of the user's own: these may take other data than `call` (three pictures
        to compare), or do without it (a GAN), and build what they use.
        """
        own = type(self).train_step, type(self).test_step
        if own == (Trainer.train_step, Trainer.test_step) or self._is_built():
            super()._symbolic_build(iterator=iterator, data_batch=data_batch)

    def _is_built(self) -> bool:
        return all(layer.built for layer in self._flatten_layers())

    def _forward(self, x, training):
        if self._call_has_training_arg:
            return self(x, training=training)
        return self(x)

    def _track_loss(self, loss, x):
        batch = next(t for t in tree.flatten(x) if t is not None).dims[0]
        self._loss_tracker.update_state(loss, sample_weight=shape.full((), batch, "int32"))

    def train_step(self, data):
        """Forward, loss, gradients, update: returns the metrics. Made to be overridden."""
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(data)
        with Tape() as tape:
            y_pred = self._forward(x, training=True)
            loss = self._compute_loss(
                x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
            )
            scaled = loss if self.optimizer is None else self.optimizer.scale_loss(loss)
        self._track_loss(loss, x)
        weights = self.trainable_weights[:]
        if weights:
            sources = [w._slot.read() for w in weights]
            gradients = backward(tape.records, [scaled], [full_like(scaled, 1)], sources)
            self.optimizer.apply(gradients, weights)
        else:
            warnings.warn("The model does not have any trainable weights.", stacklevel=2)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def test_step(self, data):
        """Forward and loss: returns the metrics. Made to be overridden."""
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(data)
        y_pred = self._forward(x, training=False)
        loss = self._compute_loss(
            x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False
        )
        self._track_loss(loss, x)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def predict_step(self, data):
        """Forward: returns the predictions. Made to be overridden."""
        x, _, _ = data_adapter_utils.unpack_x_y_sample_weight(data)
        return self._forward(x, training=False)

    # Functions over a list of batches (several with steps_per_execution).

    def _flags(self):
        variables = self.__dict__.get("_native_variables")
        if variables is None:
            # Past Keras's __setattr__, which would take the list for state of the model.
            variables = self.__dict__["_native_variables"] = list(self.variables)
        return tuple([v._trainable for v in variables])

    def _make(self, step, combine, inference=False):
        """A function of a list of batches; its attribute `step` runs one of them."""
        self.__dict__.pop("_native_variables", None)
        check_signature(step)
        distribution = distribution_lib.distribution()
        check_mesh(None if distribution is None else distribution.device_mesh)
        one = StepFunction(step, self._flags, self._mode(), inference)

        def function(batches):
            return combine([one(data) for data in batches])

        function.step = one
        return function

    def make_train_function(self, force=False):
        if self.train_function is not None and not force:
            return self.train_function
        self.train_function = self._make(self.train_step, _last)
        return self.train_function

    def make_test_function(self, force=False):
        if self.test_function is not None and not force:
            return self.test_function
        self.test_function = self._make(self.test_step, _last, inference=True)
        return self.test_function

    def make_predict_function(self, force=False):
        if self.predict_function is not None and not force:
            return self.predict_function
        self.predict_function = self._make(self.predict_step, _joined, inference=True)
        return self.predict_function

    # Loops.

    @traceback_utils.filter_traceback
    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ):
        self._assert_compile_called("fit")
        max_epochs = config.max_epochs()
        if max_epochs and max_epochs < epochs:
            warnings.warn(f"Limiting epochs to {max_epochs}", stacklevel=2)
            epochs = max_epochs

        self._eval_epoch_iterator = None
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = train_validation_split(
                (sliceable(x), sliceable(y), sample_weight), validation_split=validation_split
            )
        if validation_data is not None:
            val_x, val_y, val_weight = data_adapter_utils.unpack_x_y_sample_weight(validation_data)

        iterator = BatchIterator(
            x=x,
            y=y,
            sample_weight=sample_weight,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            shuffle=shuffle,
            class_weight=class_weight,
            steps_per_execution=self.steps_per_execution,
        )
        self._symbolic_build(iterator=iterator)
        iterator.reset()

        callbacks = self._callbacks(callbacks, iterator, verbose, epochs, add_history=True)
        self.stop_training = False
        self.make_train_function()
        training_logs = {}
        callbacks.on_train_begin()
        for epoch in range(self._initial_epoch or initial_epoch, epochs):
            self.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            logs = {}
            for begin, end, data in iterator:
                callbacks.on_train_batch_begin(begin)
                logs = self.train_function(data)
                callbacks.on_train_batch_end(end, logs)
                if self.stop_training:
                    break
            epoch_logs = dict(self._get_metrics_result_or_logs(logs))

            if validation_data is not None and self._should_eval(epoch, validation_freq):
                if self._eval_epoch_iterator is None:
                    self._eval_epoch_iterator = BatchIterator(
                        x=val_x,
                        y=val_y,
                        sample_weight=val_weight,
                        batch_size=validation_batch_size or batch_size,
                        steps_per_execution=self.steps_per_execution,
                        steps_per_epoch=validation_steps,
                        shuffle=False,
                    )
                val_logs = self.evaluate(
                    x=val_x,
                    y=val_y,
                    sample_weight=val_weight,
                    batch_size=validation_batch_size or batch_size,
                    steps=validation_steps,
                    callbacks=callbacks,
                    return_dict=True,
                    _use_cached_eval_dataset=True,
                )
                epoch_logs.update({f"val_{name}": value for name, value in val_logs.items()})

            callbacks.on_epoch_end(epoch, epoch_logs)
            training_logs = epoch_logs
            if self.stop_training:
                break

        if isinstance(self.optimizer, optimizers_module.Optimizer) and epochs > 0:
            self.optimizer.finalize_variable_values(self.trainable_weights)
        self._eval_epoch_iterator = None
        callbacks.on_train_end(logs=training_logs)
        return self.history

    @traceback_utils.filter_traceback
    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        callbacks=None,
        return_dict=False,
        **kwargs,
    ):
        self._assert_compile_called("evaluate")
        use_cached = kwargs.pop("_use_cached_eval_dataset", False)
        if kwargs:
            raise ValueError(f"Arguments not recognized: {kwargs}")
        if use_cached:
            iterator = self._eval_epoch_iterator
        else:
            iterator = BatchIterator(
                x=x,
                y=y,
                sample_weight=sample_weight,
                batch_size=batch_size,
                steps_per_epoch=steps,
                shuffle=False,
                steps_per_execution=self.steps_per_execution,
            )
        self._symbolic_build(iterator=iterator)
        iterator.reset()

        callbacks = self._callbacks(callbacks, iterator, verbose, 1)
        self.make_test_function()
        self.stop_evaluating = False
        callbacks.on_test_begin()
        logs = {}
        self.reset_metrics()
        for begin, end, data in iterator:
            callbacks.on_test_batch_begin(begin)
            logs = self.test_function(data)
            callbacks.on_test_batch_end(end, logs)
            if self.stop_evaluating:
                break
        logs = pythonify_logs(self._get_metrics_result_or_logs(logs))
        callbacks.on_test_end(logs)
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    @traceback_utils.filter_traceback
    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        if not (verbose or steps or callbacks) and _is_one_batch(x, batch_size or 32):
            # Nobody looks between batches: an iterator and a list of callbacks would cost more
            # than a small model.
            self.stop_predicting = False
            (data,) = self._like_predict_on_batch([data_adapter_utils.pack_x_y_sample_weight(x)])
            outputs = self._predict_batch(data)
            # What has no rows is refused as it is among many batches.
            return tree.map_structure(lambda y: y if y.ndim else np.concatenate([y]), outputs)
        iterator = BatchIterator(
            x=x,
            batch_size=batch_size,
            steps_per_epoch=steps,
            shuffle=False,
            steps_per_execution=self.steps_per_execution,
        )
        callbacks = self._callbacks(callbacks, iterator, verbose, 1)
        self.make_predict_function()
        self.stop_predicting = False
        callbacks.on_predict_begin()
        outputs = None
        for begin, end, data in iterator:
            callbacks.on_predict_batch_begin(begin)
            batch = self.predict_function(self._like_predict_on_batch(data))
            outputs = append_outputs(outputs, batch)
            callbacks.on_predict_batch_end(end, {"outputs": batch})
            if self.stop_predicting:
                break
        callbacks.on_predict_end()
        if outputs is None:
            raise ValueError(f"predict: there are no batches in the data, x={x!r}")
        outputs = tree.map_structure(convert_to_numpy, outputs)
        return tree.map_structure_up_to(batch, np.concatenate, outputs)

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        self._assert_compile_called("train_on_batch")
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError(
                    "Arguments `sample_weight` and `class_weight` cannot be specified at the same "
                    f"time. Received: sample_weight={sample_weight}, class_weight={class_weight}"
                )
            sample_weight = data_adapter_utils.class_weight_to_sample_weights(y, class_weight)
        return self._on_batch((x, y, sample_weight), "train", return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        self._assert_compile_called("test_on_batch")
        return self._on_batch((x, y, sample_weight), "test", return_dict)

    def _on_batch(self, data, kind, return_dict):
        self._symbolic_build(data_batch=data)
        # Overridden, the method need not return the function.
        getattr(self, f"make_{kind}_function")()
        self.reset_metrics()
        logs = pythonify_logs(getattr(self, f"{kind}_function")([data]))
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    def predict_on_batch(self, x):
        return self._predict_batch((x,))

    def _like_predict_on_batch(self, batches):
        """Batches of one array as tuples, so that all ways to predict run one compiled step: two
        would prepare the weights twice. A step of the user's own gets what Keras gives it."""
        if getattr(self.predict_step, "__func__", None) is not Trainer.predict_step:
            return batches
        return [data if isinstance(data, (tuple, list)) else (data,) for data in batches]

    def _predict_batch(self, data):
        self.make_predict_function()
        outputs = self.predict_function([data])
        return tree.map_structure(convert_to_numpy, outputs)

    def _callbacks(self, callbacks, iterator, verbose, epochs, add_history=False):
        if isinstance(callbacks, callbacks_module.CallbackList):
            return callbacks
        return _Callbacks(
            callbacks,
            add_history=add_history,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=iterator.num_batches,
            model=self,
        )


class _Callbacks(callbacks_module.CallbackList):
    """Calls each callback where it stands in the loop.

    Keras hands them to a thread where the backend allows it. A step has ended here before its
    callbacks are called, so there is nothing to overlap, and starting and stopping that thread is
    most of what `predict` costs on a small model.
    """

    def _configure_async_dispatch(self, callbacks):
        pass


def _with_own_optimizers(config):
    """The configuration with Keras's optimisers where PyTorch's backend names classes of its own,
    which compute with PyTorch alone."""
    if not isinstance(config, dict):
        return config
    config = {key: _with_own_optimizers(value) for key, value in config.items()}
    if str(config.get("module")).startswith("keras.src.backend.torch.optimizers"):
        config.update(module="keras.optimizers", registered_name=None)
    return config


def _is_one_batch(x, batch_size: int) -> bool:
    """Whether `x` is arrays, of a batch together, that no data adapter would change."""
    arrays = (x,) if type(x) is np.ndarray else tree.flatten(x)
    return bool(arrays) and all(
        type(a) is np.ndarray
        and a.ndim
        and 0 < len(a) == len(arrays[0]) <= batch_size
        and (a.dtype.kind in "iub" or a.dtype == config.floatx())
        for a in arrays
    )


def _last(results):
    """Logs accumulate over batches: those of the last are those of all."""
    return results[-1]


def _joined(results):
    """Predictions of several batches, one after the other."""
    if len(results) == 1:
        return results[0]
    return tree.map_structure(lambda *parts: concatenate(parts), *results)
