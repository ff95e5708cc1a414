"""What the NixOS module makes of a configuration, and what it refuses."""

import pytest

from case import Case, verdict
from cases import CASES


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_it_does_as_promised(case: Case, nixpkgs: str | None) -> None:
    assert verdict(case, nixpkgs) is None


def test_names_of_cases_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
