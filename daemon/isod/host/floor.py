"""The one refusal on a host that is older than isod's floor."""

# Without this and with the standard library alone, it is read by the Pythons that it refuses, too.
from __future__ import annotations

import os
import platform
from collections.abc import Mapping

from isod_contract.versions import FLOOR, numbers

EXIT_CODE = 69  # sysexits.h, EX_UNAVAILABLE: systemd does not start isod again, nothing would change


class BelowFloor(Exception):
    """Something that isod needs is missing or too old; the text names each, with what is needed."""


def check(found: Mapping[str, str]) -> None:
    """Compare versions as their owners write them; "" is what is not there. Raises BelowFloor."""
    short = [_sentence(name, version) for name, version in found.items() if numbers(version) < FLOOR[name]]
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


def _sentence(name: str, version: str) -> str:
    needed = ".".join(str(number) for number in FLOOR[name])
    # systemd's comes from the bus: it is shown short and on one line whatever it holds
    shown = repr(version[:40])[1:-1] if version else "none found"
    return f"{name} {needed} is needed ({shown})"
