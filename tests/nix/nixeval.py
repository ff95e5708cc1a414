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


class EvaluationFailed(Exception):
    """Nix refused; the text is what it said."""


def evaluate(expression: str, *, nixpkgs: str | None = None, tree: Path = REPOSITORY) -> Any:
    """Give the value of an expression, forced whole; `t` in it is nix/tests/system.nix. Raises EvaluationFailed.

    `nixpkgs` is the path of a nixpkgs, or of its lib alone; None is the test double.
    """
    chosen = f'"{nixpkgs}"' if nixpkgs else "null"
    text = f"let t = import {tree}/nix/tests/system.nix {{ nixpkgs = {chosen}; }}; in {expression}"
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


def flavours() -> list[str | None]:
    """Give what the tests run on: the double, and a real nixpkgs where one is named."""
    named = os.environ.get("NIXPKGS")
    return [None, named] if named else [None]
