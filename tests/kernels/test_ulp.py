"""Functions of one argument over all of float32, every 65,537th of them; bench/ulp.py takes all."""

import numpy as np
import pytest

from bench import harness, ulp


@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("op", ulp.FUNCTIONS)
def test_at_most_two_units(op, isa):
    with harness.using_isa(isa):
        worst = ulp.check(op, stride=65537)
    assert worst.units <= ulp.MOST, f"{op}({worst.at!r}): {worst.units} units"


def test_units_between_numbers():
    one = np.float64(1)
    got = np.array([1, 1 + 2**-23, 1 - 2**-24, 0, np.inf, np.inf, np.nan, np.nan, 3e38])
    want = np.array([one, 1, 1, 2.0**-149, 2.0**128 - 2.0**104, 1e300, np.nan, 1, np.nan])
    assert ulp.units(got, want).tolist() == [0, 1, 0.5, 1, 1, 0, 0, np.inf, np.inf]


def test_the_worst_argument_is_found():
    worst = ulp.Worst()
    ulp.look("exp", np.array([0, 1, 88.5, -103], np.float32), worst)
    assert worst.arguments == 4 and 0 < worst.units < 2 and worst.at in (1, 88.5, -103)
    for start in (0, ulp.ALL - 3 * 977):
        assert ulp.arguments(start, 977).view(np.uint32)[0] == start
    assert ulp.arguments(ulp.ALL - 3 * 977, 977).size == 3
