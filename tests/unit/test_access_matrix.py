"""The matrix of method and caller has a row for each method: a new one must say who may call it before it lands."""

import pytest

from isod_contract.errors import IsodError
from isod_contract.methods import METHODS, Access
from lab.access import all_names, matrix, name_of


@pytest.mark.attack("C07")
def test_each_method_has_a_row_and_each_row_a_method() -> None:
    """CVE-2018-1116; anybody may call Waydroid's Stop and Freeze: a check that was forgotten shows nowhere."""
    assert sorted(matrix()) == sorted(all_names())


def test_verdicts_are_errors_that_exist() -> None:
    known = {"ok", "AccessDenied", *IsodError.registry}
    assert {verdict for row in matrix().values() for verdict in row.values()} <= known


@pytest.mark.attack("C07")
@pytest.mark.parametrize("method", METHODS, ids=name_of)
def test_the_matrix_says_what_the_declaration_says(method: object) -> None:
    """Strangers are told "ok" only where the declaration lets anybody in, and a contained process never."""
    row = matrix()[name_of(method)]  # type: ignore[arg-type]
    is_open = method.access in (Access.ANYONE, Access.SESSION)  # type: ignore[attr-defined]
    for stranger in ("bob", "carol", "mallory", "nobody"):
        assert (row[stranger] == "ok") == is_open
    assert row["contained"] == "AccessDenied"
