"""What the tests of the NixOS module run on: always the test double, and the nixpkgs that $NIXPKGS points to."""

import os

import pytest

REAL = pytest.param(
    os.environ.get("NIXPKGS"),
    id="nixpkgs",
    marks=pytest.mark.skipif(not os.environ.get("NIXPKGS"), reason="NIXPKGS names no nixpkgs (or its lib alone)"),
)


@pytest.fixture(params=[pytest.param(None, id="double"), REAL])
def nixpkgs(request: pytest.FixtureRequest) -> str | None:
    found: str | None = request.param
    return found
