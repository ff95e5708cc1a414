"""A container's root must not lead its start script, which runs as the host's root, out of the container."""

import os
from pathlib import Path

import pytest

from isod_helper.rootcheck import UnsafeRoot, check_roots


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "var/lib/nixos-containers/evil"
    for directory in ("etc", "usr/bin", "var/lib/private", "root", "run"):
        (tree / directory).mkdir(parents=True)
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/os-release").symlink_to("/etc/static/os-release")
    (tree / "etc/resolv.conf").symlink_to("/run/systemd/resolve/stub-resolv.conf")
    return tree


def test_an_ordinary_root_passes(tree: Path, tmp_path: Path) -> None:
    check_roots("evil", os.fspath(tmp_path))


def test_a_root_that_was_never_started_passes(tmp_path: Path) -> None:
    (tmp_path / "var/lib/nixos-containers/new").mkdir(parents=True)
    check_roots("new", os.fspath(tmp_path))


def test_other_containers_are_not_ours_to_check(tmp_path: Path) -> None:
    check_roots("nothing", os.fspath(tmp_path))


@pytest.mark.parametrize(
    "path", ["etc", "usr", "usr/bin", "var", "var/lib", "var/lib/private", "root", "etc/machine-id"]
)
@pytest.mark.parametrize("target", ["/", "../../../../../..", "nowhere"])
def test_a_link_in_it_is_refused(tree: Path, tmp_path: Path, path: str, target: str) -> None:
    """Class C29: `root -> /` would have the start script chmod the host's root directory."""
    (tree / path).rename(tree / "aside")
    (tree / path).symlink_to(target)
    with pytest.raises(UnsafeRoot, match=f"/{path} "):
        check_roots("evil", os.fspath(tmp_path))


def test_a_fifo_does_not_hold_the_start(tree: Path, tmp_path: Path) -> None:
    (tree / "etc/machine-id").unlink()
    os.mkfifo(tree / "etc/machine-id")
    with pytest.raises(UnsafeRoot):
        check_roots("evil", os.fspath(tmp_path))
