"""Processes that are timed in turns: each answers a line for a line, and is stopped meanwhile."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence

ROOT = pathlib.Path(__file__).parents[1]


class Side:
    """A process that reads requests from its standard input, ended by `close` or as this one exits
    (not if that is killed, which leaves it stopped).

    It runs only from a request to its answer. Threads of many libraries wait for more work by
    asking for it over and over, OpenBLAS's for tens of milliseconds: left to it, they take the
    processors of whoever has the next turn (on two, a product of 128x512x512 by two threads took
    2.3 times as long behind a turn of NumPy's).

    Args:
        command: of the process, begun in the project's folder. It writes one line when it is ready.
        environment: beside this process's own.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by close)
        self._process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        self._end = weakref.finalize(self, self._process.kill)

    def answer(self) -> str:
        """Waits for the next line; "" if it ended without one. Stopped from then on."""
        line = self._process.stdout.readline()
        self._signal(signal.SIGSTOP)
        return line

    def ask(self, line: str) -> str:
        """The answer to a line; "" if it ended."""
        self._signal(signal.SIGCONT)
        try:
            print(line, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            return ""
        return self.answer()

    def last_error(self) -> str:
        """The last line that it wrote on standard error."""
        self._errors.seek(0)
        return (self._errors.read().strip().splitlines() or ["it ended without a word"])[-1]

    def close(self) -> None:
        """Lets it end and waits for that."""
        self._signal(signal.SIGCONT)
        # If it ended, what could not be written to it is tried once more.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()
        self._end.detach()

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)
