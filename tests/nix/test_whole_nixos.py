"""The quick start as a whole NixOS, down to the derivation of its system; on the double, this only shows the way.

It needs a complete nixpkgs in $NIXPKGS (its lib alone is not enough) and evaluates for about a minute.
"""

import os
from pathlib import Path

import pytest

from nixeval import NIX, REPOSITORY, evaluate

_NAMED = os.environ.get("NIXPKGS", "")
_MACHINE = """
{
  users.users.alice.isNormalUser = true;
  fileSystems."/" = { device = "/dev/disk/by-label/nixos"; fsType = "ext4"; };
  boot.loader.systemd-boot.enable = true;
  system.stateVersion = "25.05";
}
"""


@pytest.mark.parametrize(
    "nixpkgs",
    [
        pytest.param(str(NIX / "tests/mini/nixpkgs"), id="double"),
        pytest.param(
            _NAMED,
            id="nixpkgs",
            marks=pytest.mark.skipif(
                not (Path(_NAMED or "/nonexistent") / "nixos/lib/eval-config.nix").exists(),
                reason="NIXPKGS names no complete nixpkgs",
            ),
        ),
    ],
)
def test_the_quick_start_is_a_system(nixpkgs: str) -> None:
    quick_start = (NIX / "examples/quickstart.nix").read_text().replace("./isoctl", str(REPOSITORY))
    found = evaluate(
        f'let c = (import {nixpkgs}/nixos/lib/eval-config.nix {{ system = "x86_64-linux"; '
        f"modules = [ ({quick_start}) ({_MACHINE}) ]; }}).config; in "
        "{ system = c.system.build.toplevel.drvPath; inside = c.containers.blog.path.drvPath; "
        'policy = c.environment.etc."isod/containers/blog.toml".text; '
        "failed = map (one: one.message) (builtins.filter (one: !one.assertion) c.assertions); }"
    )
    assert found["failed"] == []
    assert found["system"].endswith(".drv")
    assert "nixos-system-blog" in found["inside"]
    assert 'users = ["alice"]' in found["policy"]
