"""What a virtual machine needs from the machine it runs on; its processors are emulated."""

from __future__ import annotations

import platform

from lab import needs

PROGRAMS = {
    **needs.PROGRAMS,
    "qemu-system-x86_64": "qemu-system-x86",
    "mke2fs": "e2fsprogs",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}


def check() -> None:
    """Raise LabUnavailable with one clear sentence unless the machine can run here."""
    if platform.machine() != "x86_64":
        raise needs.LabUnavailable("the virtual machine is one for x86_64 processors")
    needs.check(PROGRAMS)


def install() -> None:
    """Install what is missing, without questions."""
    needs.install(PROGRAMS)
