"""What one part of the demonstration hands back."""

from dataclasses import dataclass

import keras
import numpy as np


@dataclass
class Result:
    """A trained model and what was learnt about it.

    Attributes:
        title: what it is.
        model: the trained model.
        examples: inputs whose predictions must be the same after loading.
        step: inputs and targets of one training step, to see what a step costs.
        curves: name -> loss of each epoch.
        lines: the findings in words.
        passed: whether they are what was expected.
        seconds: time to train and test, filled in by who ran it.
    """

    title: str
    model: keras.Model
    examples: np.ndarray
    step: tuple[np.ndarray, np.ndarray]
    curves: dict[str, list[float]]
    lines: list[str]
    passed: bool
    seconds: float = 0.0
