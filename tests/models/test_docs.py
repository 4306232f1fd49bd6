"""The examples of docs/custom_training.md: each runs by itself after the first, and learns."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "custom_training.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> list:
    """(line of the page, code) of each example, named by its heading."""
    text = PAGE.read_text()
    found = []
    for match in BLOCK.finditer(text):
        heading = re.findall(r"^## (.*)$", text[: match.start()], re.MULTILINE)[-1:] or ["Set-up"]
        line = text[: match.start(1)].count("\n")
        found.append(pytest.param(line, match[1], id=f"{heading[0]} (line {line})"))
    return found


FIRST, *REST = examples()


def run(line: int, code: str, names: dict) -> None:
    # Numbered as in the page, so that a traceback points there.
    exec(compile("\n" * line + code, PAGE, "exec"), names)


@pytest.mark.parametrize("line, code", REST)
def test_an_example_runs_and_learns(line, code):
    names = {"__name__": "example"}
    run(*FIRST.values, names)
    run(line, code, names)
    losses = names["losses"]
    # Examples without a loss assert what they show.
    assert losses or "assert" in code
    assert not losses or losses[-1] < 0.75 * losses[0]


def test_every_public_transform_has_its_place():
    import keras_native

    text = PAGE.read_text()
    missing = [name for name in keras_native._PUBLIC if f"keras_native.{name}" not in text]
    assert missing == ["stop_gradient"] and "keras.ops.stop_gradient" in text
    assert len(REST) >= 10
