"""The example machine, whole, against what is checked in; UPDATE_GOLDEN=1 writes it anew."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from case import plain
from isod.policy_loader import load_policy
from nixeval import NIX, evaluate

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def example(nixpkgs: str | None) -> dict[str, Any]:
    found: dict[str, Any] = plain(evaluate("t.look.host t.example.config", nixpkgs=nixpkgs))
    return found


def _files(example: dict[str, Any]) -> dict[str, str]:
    """Each text as a file of its own, and the rest as one."""
    files = {f"etc/{name}": file["text"] for name, file in example["policy"].items()}
    files |= {f"etc/{name}": text for name, text in example["conf"].items()}
    files |= {f"units/{name}.service": text for name, text in example["units"].items()}
    files |= {f"bin/{name}": text for name, text in example["launchers"].items()}
    texts = ("policy", "conf", "units", "launchers")
    rest = {key: value for key, value in example.items() if key not in texts}
    return files | {"rest.json": json.dumps(rest, indent=1, sort_keys=True) + "\n"}


def test_it_is_what_is_checked_in(example: dict[str, Any]) -> None:
    files = _files(example)
    if os.environ.get("UPDATE_GOLDEN"):
        for name, text in files.items():
            path = GOLDEN / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    kept = {str(path.relative_to(GOLDEN)): path.read_text() for path in GOLDEN.rglob("*") if path.is_file()}
    assert files == kept


def test_what_isod_needs_is_bound_where_nixos_binds_all_else(example: dict[str, Any]) -> None:
    """NixOS's own binds are flags already, so these hide none of a .nspawn file; and nothing is mounted later."""
    for name in ("blog", "shop", "browser", "offline"):
        own = {f"--bind-ro=/run/isod/container/{name}/{part}" for part in ("run:/run/isoctl", "dri:/dev/dri")}
        assert own <= set(example["containers"][name]["extraFlags"])


def test_isods_own_loader_takes_the_policy(example: dict[str, Any], tmp_path: Path) -> None:
    """The contract between the module and the daemon."""
    for name, file in example["policy"].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["text"])
        path.chmod(int(file["mode"], 8))
    tmp_path.chmod(0o755)
    result = load_policy(tmp_path / "isod", owners={os.geteuid()})
    assert result.problems == ()
    containers = result.policy.containers
    assert set(containers) == {"blog", "shop", "browser", "offline", "legacy"}
    assert containers["blog"].users == ("alice",)
    assert containers["blog"].idle_stop_sec == 3600
    assert containers["shop"].wrapper == ("enter-fhs", "--")
    assert containers["browser"].autostart
    assert containers["browser"].grants.value("gpu") == "render"
    assert containers["browser"].grants.value("x11") == "none"
    assert containers["blog"].start_timeout_sec == 310
    assert containers["legacy"].start_timeout_sec == 120
    assert result.policy.settings.never.forbidden()["x11"] == ("host",)


def test_every_kind_of_value_survives_the_way_to_the_loader(nixpkgs: str | None, tmp_path: Path) -> None:
    odd = 'a "quoted" \\\\ back\\\\slash, é✓, ${"$"}{HOME}, tab\\t and line\\nbreak'
    container = (
        f'users = [ "alice" ]; environment = {{ ODD = "{odd.replace(chr(34), chr(92) + chr(34), 2)}"; "A_1" = "x"; }}; '
        'grants.gpu = [ "0000:00:02.0" ]; login_shell = false; idle_stop_sec = 5; on_logout = "stop"; menu = [ "a b" "" ];'
    )
    text = evaluate(
        f"(t.host [ {{ services.isod.enable = true; services.isod.containers.x = {{ {container} }}; }} ])"
        '.config.environment.etc."isod/containers/x.toml".text',
        nixpkgs=nixpkgs,
    )
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers/x.toml").write_text(text)
    result = load_policy(tmp_path, owners={os.geteuid()})
    assert result.problems == ()
    policy = result.policy.containers["x"]
    assert policy.environment["ODD"].startswith('a "quoted" \\ back\\slash, é✓, ${HOME}, tab\t and line\nbreak')
    assert policy.environment["A_1"] == "x"
    assert policy.grants.value("gpu") == ("0000:00:02.0",)
    assert (policy.login_shell, policy.idle_stop_sec, policy.on_logout) == (False, 5, "stop")
    assert policy.menu == ("a b", "")


def test_every_key_of_the_policy_is_an_option() -> None:
    """nix/policy-options.nix is generated; this holds it to what the module uses of it."""
    from isod.policy import ContainerPolicy

    keys = evaluate(f"builtins.attrNames (import {NIX}/policy-options.nix {{ inherit (t) lib; }}).container")
    assert set(keys) == set(ContainerPolicy.model_fields)
