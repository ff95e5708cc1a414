"""A container's root must not lead its start script, which runs as the host's root, out of the container.

Checked twice, by isod before a start and by isod-prepare in the unit: both must judge alike.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from isod.host.start_guard import StoppedRoots
from isod_contract import start_script
from isod_contract.errors import UnsafePath
from isod_helper.rootcheck import UnsafeRoot, check_roots


def check_in_isod(machine: str, root: str) -> None:
    asyncio.run(StoppedRoots(root=root).check(machine, machine))


Check = Callable[[str, str], None]


@pytest.fixture(params=[check_roots, check_in_isod])
def check(request: pytest.FixtureRequest) -> Check:
    return request.param


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "var/lib/nixos-containers/evil"
    for directory in ("etc", "usr/bin", "var/lib/private", "root", "run"):
        (tree / directory).mkdir(parents=True)
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/os-release").symlink_to("/etc/static/os-release")
    (tree / "etc/resolv.conf").symlink_to("/run/systemd/resolve/stub-resolv.conf")
    return tree


def test_an_ordinary_root_passes(check: Check, tree: Path, tmp_path: Path) -> None:
    check("evil", os.fspath(tmp_path))


def test_a_root_that_was_never_started_passes(check: Check, tmp_path: Path) -> None:
    (tmp_path / "var/lib/nixos-containers/new").mkdir(parents=True)
    check("new", os.fspath(tmp_path))


def test_other_containers_are_not_ours_to_check(check: Check, tmp_path: Path) -> None:
    check("nothing", os.fspath(tmp_path))


@pytest.mark.attack("C29")
@pytest.mark.parametrize("path", [*start_script.DIRECTORIES, *start_script.FILES])
@pytest.mark.parametrize("target", ["/", "../../../../../..", "nowhere"])
def test_a_link_in_it_is_refused(check: Check, tree: Path, tmp_path: Path, path: str, target: str) -> None:
    """Class C29: `root -> /` would have the start script chmod the host's root directory."""
    (tree / path).rename(tree / "aside")
    (tree / path).symlink_to(target)
    with pytest.raises((UnsafeRoot, UnsafePath), match=rf"/{path}\b"):
        check("evil", os.fspath(tmp_path))


@pytest.mark.attack("C29")
def test_a_fifo_does_not_hold_the_start(check: Check, tree: Path, tmp_path: Path) -> None:
    (tree / "etc/machine-id").unlink()
    os.mkfifo(tree / "etc/machine-id")
    with pytest.raises((UnsafeRoot, UnsafePath)):
        check("evil", os.fspath(tmp_path))
