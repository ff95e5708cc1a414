"""Evaluate Nix without /nix and without a network, on the test double or on what $NIXPKGS points to."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
NIX = REPOSITORY / "nix"
TESTS = NIX / "tests"

_FLAGS = (
    "--eval",
    "--strict",
    "--json",
    "--readonly-mode",
    "--store",
    "dummy://",
    "--option",
    "build-users-group",
    "",
)


# Supported releases of NixOS, as far as their options of containers differ.
RELEASES = ("24.11", "25.05", "25.11")
NEWEST = "26.11"


class EvaluationFailed(Exception):
    """Nix refused; the text is what it said."""


def evaluate(
    expression: str,
    *,
    nixpkgs: str | None = None,
    tree: Path = REPOSITORY,
    home_manager: str | None = None,
    release: str = NEWEST,
) -> Any:
    """Give the value of an expression, forced whole; `t` in it is nix/tests/system.nix. Raises EvaluationFailed.

    `nixpkgs` is the path of a nixpkgs, or of its lib alone, `home_manager` that of Home Manager; None is the double.
    `release` is the NixOS whose options the double has.
    """
    chosen = f'{{ nixpkgs = {_path(nixpkgs)}; home = {_path(home_manager)}; release = "{release}"; }}'
    text = f"let t = import {tree}/nix/tests/system.nix {chosen}; in {expression}"
    done = subprocess.run(
        ["nix-instantiate", *_FLAGS, "--expr", text],
        capture_output=True,
        text=True,
        check=False,
        # Nix looks into the caller's own configuration otherwise.
        env={"PATH": os.environ["PATH"], "HOME": "/homeless", "NIX_PATH": ""},
        timeout=100,
    )
    if done.returncode:
        raise EvaluationFailed(done.stderr)
    return json.loads(done.stdout)


def _path(path: str | None) -> str:
    return json.dumps(path) if path else "null"
