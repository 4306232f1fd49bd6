"""Kernels that won a race on this machine, kept in a file and chosen from then on.

The file is written by `python -m keras_native tune` and read when the package is imported, if it is
there: `tuned-VERSION-PROCESSOR.json` in the folder `keras_native` of the user's cache folder
(`XDG_CACHE_HOME`, else `~/.cache`). `NATIVE_TUNED` names another file; `NATIVE_TUNED=0` leaves all
choices to the registry.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Choice:
    """The kernel that a problem asks first on an instruction set.

    `inputs` and `outputs` are (dtype, sizes); `gain` is how many times faster it was than the
    registry's choice.
    """

    op: str
    inputs: list
    outputs: list
    attrs: dict
    isa: str
    kernel: str
    gain: float = 1.0

    @property
    def problem(self) -> tuple:
        """As the questions of `_core` take it."""
        return (
            self.op,
            [(dtype, tuple(dims)) for dtype, dims in self.inputs],
            [(dtype, tuple(dims)) for dtype, dims in self.outputs],
            {k: tuple(v) if isinstance(v, list) else v for k, v in self.attrs.items()},
        )


def folder() -> str:
    """Where files of choices are; it need not exist."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "keras_native")


def path() -> str | None:
    """The file of this version and processor, or None where `NATIVE_TUNED=0`."""
    given = os.environ.get("NATIVE_TUNED")
    if given is not None:
        return None if given == "0" else given
    import re

    import keras_native
    from keras_native.tools.info import processor

    name = re.sub(r"\W+", "-", processor()).strip("-").lower()
    return os.path.join(folder(), f"tuned-{keras_native.__version__}-{name}.json")


def load() -> list[Choice]:
    """Tells the registry of the choices in the file, if there is one; returns them.

    A file that cannot be read is left alone with a warning: tuning must not stop a program.
    """
    # The processor's name is not asked for where nobody ever tuned.
    if "NATIVE_TUNED" not in os.environ and not os.path.isdir(folder()):
        return []
    choices = []
    for choice in read():
        try:
            apply(choice)
            choices.append(choice)
        except (TypeError, ValueError, NotImplementedError) as error:
            _warn(error)
    return choices


def _warn(error: Exception) -> None:
    import warnings

    warnings.warn(f"{path()} is no file of tuned kernels and is ignored: {error}", stacklevel=3)


def read() -> list[Choice]:
    """The choices in the file; none where there is none, or, with a warning, where it is broken."""
    import json

    where = path()
    if where is None or not os.path.isfile(where):
        return []
    try:
        with open(where, encoding="utf-8") as file:
            choices = [Choice(**row) for row in json.load(file)["choices"]]
        for choice in choices:
            choice.problem  # noqa: B018 (raises where the rows are not what they should be)
        return choices
    except (OSError, ValueError, TypeError, KeyError) as error:
        _warn(error)
        return []


def apply(choice: Choice) -> None:
    """Tells the registry of one choice."""
    from keras_native import _core

    op, inputs, outputs, attrs = choice.problem
    _core.choose_kernel(op, inputs, outputs, attrs, choice.isa, choice.kernel)


def remember(choice: Choice) -> None:
    """Adds a choice to the file, in place of one for the same problem, and tells the registry.

    Raises:
        OSError: the file cannot be written.
        ValueError: `NATIVE_TUNED=0`.
    """
    others = [c for c in read() if (c.problem, c.isa) != (choice.problem, choice.isa)]
    _write([*others, choice])
    apply(choice)


def forget() -> int:
    """Removes the file and takes its choices back; returns how many there were."""
    from keras_native import _core

    choices = read()
    for choice in choices:
        _core.choose_kernel(*choice.problem, choice.isa, "")
    if choices:
        os.remove(path())
    return len(choices)


def _write(choices: list[Choice]) -> None:
    import json

    where = path()
    if where is None:
        raise ValueError("NATIVE_TUNED=0: there is no file to remember a choice in")
    os.makedirs(os.path.dirname(os.path.abspath(where)), exist_ok=True)
    # Whole or not at all: another process may be reading it.
    partial = f"{where}.{os.getpid()}"
    with open(partial, "w", encoding="utf-8") as file:
        json.dump({"choices": [asdict(c) for c in choices]}, file, indent=1)
    os.replace(partial, where)
