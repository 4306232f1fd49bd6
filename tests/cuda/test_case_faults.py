"""Faults planted in kernels that are launched by hand are found, by the emulator or by a wrong
result; none in what they were planted in."""

import functools

import place_cases
import place_faults
import product_cases
import product_faults
import pytest
import row_cases
import row_faults
from planted_kernels import Modules, assert_conflicts, assert_found, compiled, units

pytestmark = pytest.mark.emulator

# Of each table its kernels, the faults in them, and those that are conflicts of banks.
TABLES = {
    "rows": (row_cases.CASES, row_faults.FAULTS, []),
    "places": (place_cases.CASES, place_faults.FAULTS, place_faults.CONFLICTS),
    "products": (product_cases.CASES, product_faults.FAULTS, product_faults.CONFLICTS),
}


def each(which):
    """A test for each of the tables' kernels (0), faults (1) or conflicts (2), by its number."""
    rows = [
        pytest.param(name, number, id=f"{name}-{getattr(row, 'id', row)}")
        for name, table in TABLES.items()
        for number, row in enumerate(table[which])
    ]
    return pytest.mark.parametrize("table, number", rows)


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """By a table's name its kernels, compiled and loaded when they are first asked for."""

    @functools.cache
    def of(name):
        cases, faults, conflicts = TABLES[name]
        made = units(cases.unit, cases, faults, conflicts)
        return Modules(compiled(made, tmp_path_factory.mktemp(name)))

    return of


@each(0)
def test_sound_kernels(modules, table, number):
    cases = TABLES[table][0]
    kernel = list(cases)[number]
    assert cases.run(modules(table), f"sound_{kernel}", kernel) == (True, set())


@each(1)
def test_fault_is_found(modules, table, number):
    cases, faults, _ = TABLES[table]
    kernel = faults[number].kernel
    assert_found(faults[number], *cases.run(modules(table), f"fault_{number}", kernel))


@each(2)
def test_conflicts_are_counted(modules, table, number):
    cases, _, conflicts = TABLES[table]
    fault = conflicts[number]
    assert_conflicts(fault, number, lambda name: cases.run(modules(table), name, fault.kernel))
