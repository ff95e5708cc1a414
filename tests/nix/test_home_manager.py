"""The example machine with the whole real Home Manager, on the host and in every environment."""

import os
import subprocess

import pytest

from nixeval import evaluate


def _missing() -> str:
    """Why it can't be, if it can't."""
    for name in ("NIXPKGS", "HOME_MANAGER"):
        if not os.environ.get(name):
            return f"{name} is not set"
    has_builtin = subprocess.run(
        ["nix-instantiate", "--eval", "--store", "dummy://", "--expr", "builtins.readFileType"],
        capture_output=True,
        check=False,
    )
    return "" if has_builtin.returncode == 0 else "this Nix is older than 2.14, which Home Manager needs"


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing() or "-")


def test_the_example_evaluates_and_nothing_in_it_is_deprecated() -> None:
    found = evaluate(
        "let h = t.look.host t.example.config; in builtins.deepSeq h h",
        nixpkgs=os.environ["NIXPKGS"],
        home_manager=os.environ["HOME_MANAGER"],
    )
    assert found["warnings"] == []
    for name in ("blog", "shop", "browser", "offline"):
        guest = found["containers"][name]["guest"]
        assert guest["warnings"] == []
        assert guest["homeManager"] == {"useGlobalPkgs": True, "useUserPackages": True}
        unit = guest["services"]["home-manager-alice"]
        assert unit["wantedBy"] == ["multi-user.target"]
        # The generation is part of the system, so that the host's collector keeps it.
        assert unit["serviceConfig"]["ExecStart"].endswith("-home-manager-generation")
        assert "home-manager-path" in guest["users"]["alice"]["packages"]
    (shop,) = found["containers"]["shop"]["guest"]["fhs"]
    assert "home-manager-path" in shop["targets"]
