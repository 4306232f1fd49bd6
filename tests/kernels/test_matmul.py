"""matmul, linear and einsum: the table of cases, and what a table does not say."""

import numpy as np
import pytest
from bench import harness

CASES = harness.test_cases(harness.load_cases("matmul"))
GRADIENTS = [
    case
    for case in CASES
    if case.grad and case.inputs[0][1] == "float32" and 0 not in case.inputs[0][0]
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case):
    harness.check_forward(case)


@pytest.mark.parametrize("case", GRADIENTS, ids=str)
def test_gradient(case):
    harness.check_gradient(case)
