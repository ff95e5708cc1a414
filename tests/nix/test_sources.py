"""Every file of Nix parses; the examples and the flake evaluate; the virtual machine's test is whole."""

import ast
import subprocess
from pathlib import Path

import pytest

from nixeval import NIX, REPOSITORY, evaluate

FILES = sorted([REPOSITORY / "flake.nix", REPOSITORY / "default.nix", *NIX.rglob("*.nix")])
# The flake's inputs are stood in for.
_FLAKE = (
    f"(import {REPOSITORY}/flake.nix).outputs "
    "{ self = { }; nixpkgs = { inherit (t) lib; legacyPackages = { x86_64-linux = t.pkgs; aarch64-linux = t.pkgs; }; }; }"
)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(REPOSITORY)) for path in FILES])
def test_it_parses(path: Path) -> None:
    done = subprocess.run(
        ["nix-instantiate", "--parse", "--store", "dummy://", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_quick_start_is_25_lines_and_enough(nixpkgs: str | None) -> None:
    """From a NixOS machine with no containers to `isoctl run blog idea-community`."""
    text = (NIX / "examples/quickstart.nix").read_text()
    assert len(text.splitlines()) <= 25
    assert "isoctl run blog idea-community" in text
    assert text.count("import ./isoctl;") == 1
    # A user who was there before, as every installer makes one.
    host = "{ users.users.alice.isNormalUser = true; }"
    found = evaluate(
        f"let h = t.look.host (t.system {{ }} [ ({text.replace('./isoctl', str(REPOSITORY))}) {host} ]).config; "
        'in { inherit (h) warnings; policy = h.policy."isod/containers/blog.toml".text; '
        "inside = h.containers.blog.guest.packages; users = h.containers.blog.guest.users; inherit (h) packages; }",
        nixpkgs=nixpkgs,
    )
    assert found["warnings"] == []
    assert 'users = ["alice"]' in found["policy"]
    assert "idea-community" in found["inside"]
    assert found["users"]["alice"]["uid"] == 1000
    assert {"isoctl", "blog-launcher"} <= set(found["packages"])


def test_the_manual_shows_the_quick_start_as_it_is() -> None:
    assert f"```nix\n{(NIX / 'examples/quickstart.nix').read_text()}```" in (REPOSITORY / "docs/nixos.md").read_text()


def test_the_flake_offers_the_module_as_a_path(nixpkgs: str | None) -> None:
    """Trap 5: a function would be another module each time."""
    found = evaluate(
        f"let f = {_FLAKE}; in {{ module = builtins.typeOf f.nixosModules.default; "
        "traits = builtins.attrNames f.lib.traits; kinds = builtins.map builtins.typeOf (builtins.attrValues f.lib.traits); "
        "package = f.packages.x86_64-linux.default.name; overlay = (f.overlays.default t.pkgs t.pkgs).isoctl.name; "
        "checks = builtins.attrNames f.checks.aarch64-linux; formatter = f.formatter.x86_64-linux.name; }",
        nixpkgs=nixpkgs,
    )
    assert found["module"] == "path"
    assert set(found["kinds"]) == {"path"}
    assert set(found["traits"]) == {
        *("baseDev", "golangDev", "ideaCommunity", "jvmDev", "nodejsDev", "pythonDev", "rustDev"),
    }
    assert found["package"] == found["overlay"] == "isoctl"
    assert found["checks"] == ["package", "vm"]


@pytest.mark.parametrize("home_manager", ["null", "t.homeManager"])
def test_the_virtual_machines_test_evaluates(nixpkgs: str | None, home_manager: str) -> None:
    found = evaluate(
        f"let vm = import {NIX}/tests/vm.nix {{ inherit (t) pkgs; homeManager = {home_manager}; }}; "
        "in { inherit (vm.test) testScript; host = t.look.host vm.nodes.machine.config; }",
        nixpkgs=nixpkgs,
    )
    ast.parse(found["testScript"])
    for promise in ("isod.service", "the container boots", "Wayland socket"):
        assert promise in found["testScript"]
    assert ("first activation" in found["testScript"]) == (home_manager != "null")
    assert set(found["host"]["containers"]) == {"blog", "shop", "apart"}
    homes = found["host"]["containers"]["blog"]["guest"]["homes"]
    assert set(homes) == (set() if home_manager == "null" else {"alice"})
