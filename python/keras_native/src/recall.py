"""What Keras keeps beside tensors and variables, for functions that are called again later."""

from __future__ import annotations

import contextlib
import copy

from keras.src.backend.common import global_state
from keras.src.utils.tracking import TrackedDict, TrackedList

from keras_native.engine.closures import SURROUNDINGS
from keras_native.engine.tensor import Tensor
from keras_native.src.layer import BackendLayer

# They say in which dtype a variable is read, whether layers train, and what stands for variables.
_SCOPES = ("autocast_scope", "current_call_ctx", "stateless_scope")
# Keras makes its own kinds of those that are attributes of layers.
_PLAIN = {list: list, dict: dict, TrackedList: list, TrackedDict: dict}


def _scopes(found):
    then = {name: _snapshot(global_state.get_global_attribute(name)) for name in _SCOPES}

    @contextlib.contextmanager
    def context():
        now = {name: global_state.get_global_attribute(name) for name in _SCOPES}
        _enter({name: _snapshot(scope) for name, scope in then.items()})
        try:
            yield
        finally:
            _enter(now)

    return context


def _enter(scopes) -> None:
    for name, scope in scopes.items():
        global_state.set_global_attribute(name, scope)


def _snapshot(scope):
    if scope is None:
        return None
    own = copy.copy(scope)
    own.__dict__ = _copied(vars(scope))
    return own


def _copied(attributes: dict) -> dict:
    """Attributes with lists and dictionaries of their own, which do not see later changes."""
    return {k: _PLAIN[type(v)](v) if type(v) in _PLAIN else v for k, v in attributes.items()}


def _attributes(found):
    """Layers hand tensors on in attributes, as recurrent cells do with the masks of their dropout.

    Others, which a layer may have got when it was built meanwhile, stay as they are.
    """
    layers = {id(part): part for x in found if isinstance(x, BackendLayer) for part in _parts(x)}
    then = [(vars(layer), _copied(vars(layer))) for layer in layers.values()]

    @contextlib.contextmanager
    def context():
        changed = []
        for own, before in then:
            names = [k for k in own.keys() | before.keys() if _differs(own.get(k), before.get(k))]
            if own.get("built") and not before.get("built"):  # constants, and it is built once
                names = [k for k in names if not isinstance(own.get(k), Tensor)]
            changed.append((own, names, dict(own)))
            _assign(own, names, _copied(before))
        try:
            yield
        finally:
            for own, names, now in changed:
                _assign(own, names, now)

    return context


def _parts(layer):
    return layer._flatten_layers() if hasattr(layer, "_layers") else ()


def _differs(now, before) -> bool:
    return now is not before and (_has_tensor(now) or _has_tensor(before))


def _has_tensor(value) -> bool:
    if isinstance(value, (list, tuple, dict)):
        return any(map(_has_tensor, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Tensor)


def _assign(own: dict, names, values: dict) -> None:
    for name in names:
        if name in values:
            own[name] = values[name]
        else:
            own.pop(name, None)


SURROUNDINGS.extend([_scopes, _attributes])
