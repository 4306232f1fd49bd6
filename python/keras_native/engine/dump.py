"""`NATIVE_DUMP=folder`: the graph of everything that is compiled, as text, a file for each."""

from __future__ import annotations

import itertools
import os
import pathlib
import re
from collections.abc import Callable

_COUNT = itertools.count()


def observer(name: str) -> Callable[[str, str], None] | None:
    """What appends each stage (name, text) to a new file of $NATIVE_DUMP; None where it is not set.

    Files are called NUMBER-NAME-PROCESS.txt in the order of compiling. The folder is made.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    folder = os.environ.get("NATIVE_DUMP")
    if not folder:
        return None
    name = re.sub(r"\W+", "_", name).strip("_")
    path = pathlib.Path(folder) / f"{next(_COUNT):03d}-{name}-{os.getpid()}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)

    def append(stage: str, text: str) -> None:
        with path.open("a") as file:
            file.write(f"== {stage}\n{text}\n")

    return append
