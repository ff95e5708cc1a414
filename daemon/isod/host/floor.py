"""The oldest versions that isod runs on, and the one refusal on a host that is below them."""

# Without this and with the standard library alone, it is read by the Pythons that it refuses, too.
from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping

FLOOR: Mapping[str, tuple[int, ...]] = {
    "Python": (3, 11),
    "pydantic": (2,),
    # Peer pidfds (SO_PEERPIDFD), by which a container is known.
    "Linux": (6, 5),
    # FDPOLL=0 in the FD store, FileDescriptorStorePreserve=, RestartSteps=.
    "systemd": (254,),
}
EXIT_CODE = 69  # sysexits.h, EX_UNAVAILABLE: systemd does not start isod again, nothing would change


class BelowFloor(Exception):
    """Something that isod needs is missing or too old; the text names each, with what is needed."""


def check(found: Mapping[str, str]) -> None:
    """Compare versions as their owners write them; "" is what is not there. Raises BelowFloor."""
    short = [_sentence(name, version) for name, version in found.items() if _numbers(version) < FLOOR[name]]
    if short:
        raise BelowFloor(f"isod can't run here: {', '.join(short)}; upgrade, or use an older isod")


def python_versions() -> dict[str, str]:
    """Give the versions of Python and pydantic, which the check of policy files needs as well."""
    try:
        from pydantic import version

        pydantic = version.VERSION
    except ImportError:
        pydantic = ""
    return {"Python": platform.python_version(), "pydantic": pydantic}


def kernel_version() -> dict[str, str]:
    """Give the version of the running kernel."""
    return {"Linux": os.uname().release}


def _numbers(version: str) -> tuple[int, ...]:
    # "6.12.48+deb13-amd64", "257.9-1~deb13u1", "v258-rc2", "2.0b3": the first run of numbers counts
    digits = re.search(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in digits.group().split(".")) if digits else ()


def _sentence(name: str, version: str) -> str:
    needed = ".".join(str(number) for number in FLOOR[name])
    # systemd's comes from the bus: it is shown short and on one line whatever it holds
    shown = repr(version[:40])[1:-1] if version else "none found"
    return f"{name} {needed} is needed ({shown})"
