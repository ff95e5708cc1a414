"""What the lab needs from the machine it runs on, and how to install it where apt is at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

# program -> Debian package
PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "make": "make",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class LabUnavailable(RuntimeError):
    """This machine can't run the lab; the text says what is missing."""


def missing_packages(programs: Mapping[str, str] = PROGRAMS) -> list[str]:
    """Debian packages that still have to be installed on this machine."""
    missing = {package for program, package in programs.items() if shutil.which(program) is None}
    if not KEYRING.exists():
        missing.add("debian-archive-keyring")
    return sorted(missing)


def check(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Raise LabUnavailable with one clear sentence unless the lab can run here."""
    if os.geteuid() != 0:
        raise LabUnavailable("the lab needs root")
    missing = missing_packages(programs)
    if missing:
        raise LabUnavailable(f"missing: {' '.join(missing)} (run: python3 -m lab prepare)")


def install(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Install what is missing, without questions."""
    missing = missing_packages(programs)
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise LabUnavailable(f"no apt-get here; install by hand: {' '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-q"], env=env, check=True)
    subprocess.run(
        ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing],
        env=env,
        check=True,
    )
