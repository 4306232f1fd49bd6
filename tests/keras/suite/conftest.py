"""The conftest that Keras's own tests expect beside them: its wheel has the tests and not this.

Used by run.py alone, with NATIVE_SUITE_REPORT naming the file that outcomes are written to and
NATIVE_SUITE_ONLY one with the tests to run, where that is not all.
"""

import json
import os
import pathlib
import re

import keras
import pytest
from keras.src import backend

ONLY = os.environ.get("NATIVE_SUITE_ONLY")
REPORT = os.environ.get("NATIVE_SUITE_REPORT")
EXCLUSIONS = pathlib.Path(__file__).parents[1] / "exclusions.txt"

if backend.backend() == "native" and keras.__version__.startswith("3.15"):
    import amendments

    amendments.apply()


def skip_if_backend(given_backend, reason):
    """Skips a test on one backend: imported from here by some of Keras's tests."""
    return pytest.mark.skipif(backend.backend() == given_backend, reason=reason)


def exclusions() -> dict[str, str]:
    """Node ids of tests that are left out, with the reason."""
    pairs = (line.split("#", 1) for line in EXCLUSIONS.read_text().splitlines() if "#" in line)
    return {node.strip(): reason.strip() for node, reason in pairs if node.strip()}


def pytest_configure(config):
    config.addinivalue_line("markers", "requires_trainable_backend: needs gradients")
    config.addinivalue_line("markers", "multi_device: needs several devices")


def pytest_collection_modifyitems(items):
    if ONLY:
        wanted = set(pathlib.Path(ONLY).read_text().splitlines())
        items[:] = [item for item in items if _stable(item.nodeid) in wanted]
    excluded = exclusions()
    for item in items:
        if item.get_closest_marker("multi_device"):
            item.add_marker(pytest.mark.skip(reason="one device"))
        # An exclusion names a test, or a parametrised test without its parameters.
        reason = excluded.get(item.nodeid) or excluded.get(item.nodeid.split("[")[0])
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"excluded: {reason}"))


def _stable(node: str) -> str:
    """A node id without the addresses of functions that are parameters: the same in each run."""
    return re.sub(r"(?<=at)0x[0-9a-f]+", "", node)


def _write(node, outcome, message=""):
    if REPORT:
        with open(REPORT, "a") as file:
            file.write(json.dumps([_stable(node), outcome, message]) + "\n")


def _last_line(report) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    lines = [line for line in text.splitlines() if line.strip()]
    return (lines[0] if crash else lines[-1])[:200] if lines else ""


def _frames(report) -> str:
    """Where the last calls of a failed test were, the innermost first."""
    entries = getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", [])
    places = [entry.reprfileloc for entry in entries if getattr(entry, "reprfileloc", None)]
    return " < ".join(f"{pathlib.Path(at.path).name}:{at.lineno}" for at in places[:-9:-1])


def pytest_runtest_logreport(report):
    if report.skipped:
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else "")
        if hasattr(report, "wasxfail"):
            reason = f"expected to fail: {report.wasxfail}"
        outcome = "excluded" if "excluded: " in reason else "skipped"
        _write(report.nodeid, outcome, reason[:200])
    elif report.failed:
        _write(report.nodeid, "failed", f"{_last_line(report)}  [{_frames(report)}]")
    elif report.when == "call":
        _write(report.nodeid, "passed")


def pytest_collectreport(report):
    if report.failed:
        _write(report.nodeid, "uncollected", _last_line(report))
    elif report.skipped:
        _write(report.nodeid, "skipped", str(report.longrepr)[:200])


def pytest_sessionfinish():
    _write("", "finished")
