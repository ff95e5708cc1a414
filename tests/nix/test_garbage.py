"""What the host's garbage collector keeps of a container: the real collector, on a store of the test's own (I-122)."""

import os
import subprocess
from pathlib import Path

import pytest


class Store:
    """A store with the state directory of a host."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.state = base / "var/nix"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(base),
            "NIX_STORE_DIR": str(base / "store"),
            "NIX_STATE_DIR": str(self.state),
            "NIX_LOG_DIR": str(base / "log"),
            "NIX_CONF_DIR": str(base / "etc"),
            # No second user builds here.
            "NIX_CONFIG": "build-users-group =\nsandbox = false",
        }
        (base / "store").mkdir()

    def run(self, *argv: str | Path) -> str:
        done = subprocess.run(argv, env=self._environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def add(self, name: str) -> Path:
        source = self.base / name
        source.write_text(name)
        return Path(self.run("nix-store", "--add", source))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_what_is_installed_where_the_module_puts_profiles_is_kept(store: Store) -> None:
    """~/.nix-profile inside leads to /nix/var/nix/profiles/per-user, which is this directory of the host."""
    package = store.add("package")
    profiles = store.state / "profiles/per-container/blog/per-user/alice"
    profiles.mkdir(parents=True)
    (store.base / ".nix-profile").symlink_to(profiles / "profile")
    store.run("nix-env", "--set", package)
    assert (profiles / "profile").resolve() == package
    store.run("nix-store", "--gc")
    assert package.exists()


def test_a_root_made_by_hand_in_the_users_gcroots_is_kept(store: Store) -> None:
    package = store.add("package")
    roots = store.state / "gcroots/per-container/blog/per-user/alice"
    roots.mkdir(parents=True)
    (roots / "kept").symlink_to(package)
    store.run("nix-store", "--gc")
    assert package.exists()


def test_what_a_result_link_inside_holds_is_collected(store: Store) -> None:
    """The daemon records the link's path as the container sees it; on the host nothing is there."""
    package = store.add("package")
    automatic = store.state / "gcroots/auto"
    automatic.mkdir(parents=True, exist_ok=True)
    (automatic / "0000").symlink_to("/home/alice-in-the-container/project/result")
    store.run("nix-store", "--gc")
    assert not package.exists()
