"""Install the product into the lab with the same `make install` that a user runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

UNITS = ("isod.service", "isod-helper.socket")


class InstallFailed(RuntimeError):
    """`make install` ended with an error; the text is its output."""


def repository() -> Path:
    """The root of the checkout that this package lies in."""
    return Path(__file__).resolve().parents[3]


def _make(directory: Path, root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *options, "install", f"DESTDIR={root}", "PREFIX=/usr"],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def installable(directory: Path) -> bool:
    """Whether the checkout has an install target at all."""
    has_makefile = (directory / "Makefile").exists()
    return has_makefile and _make(directory, Path("/nonexistent"), "-n").returncode == 0


def install(directory: Path, root: Path) -> bool:
    """Install into the tree at root; False where there is nothing to install yet."""
    if not installable(directory):
        return False
    done = _make(directory, root)
    if done.returncode:
        raise InstallFailed(done.stdout)
    return True


def enable(root: Path) -> None:
    """Do what the README tells an administrator to enable, offline."""
    present = [unit for unit in UNITS if (root / "usr/lib/systemd/system" / unit).exists()]
    if present:
        subprocess.run(["chroot", str(root), "systemctl", "enable", *present], check=True)
