"""The one refusal on a host that is older than isod's floor."""

# Without this and with the standard library alone, it is read by the Pythons that it refuses, too.
from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from isod_contract.versions import FLOOR, numbers

EXIT_CODE = 69  # sysexits.h, EX_UNAVAILABLE: systemd does not start isod again, nothing would change
# Beside pydantic, of which the version matters.
MODULES = ("dbus_next", "pyudev", "structlog", "systemd")


class BelowFloor(Exception):
    """Something that isod needs is missing or too old; the text names each, with what is needed."""


def check(found: Mapping[str, str], missing: Sequence[str] = ()) -> None:
    """Compare versions as their owners write them; "" is what is not there. Raises BelowFloor.

    `missing` are Python modules that are not there.
    """
    short = [name for name, version in found.items() if numbers(version) < FLOOR[name]]
    if not short and not missing:
        return
    facts = [_sentence(name, found[name]) for name in short]
    facts += [f"the Python module {name} is needed (none found)" for name in missing]
    if set(short) <= {"pydantic"}:
        way_out = "install it, or put it into a virtual environment and isod on that: README, Supported hosts"
    else:
        way_out = "a newer release of this system has it: README, Supported hosts"
    raise BelowFloor(f"isod can't run here: {', '.join(facts)}; {way_out}")


def python_versions() -> dict[str, str]:
    """Give the versions of Python and pydantic, which the check of policy files needs as well."""
    try:
        from pydantic import version

        pydantic = version.VERSION
    except ImportError:
        pydantic = ""
    return {"Python": platform.python_version(), "pydantic": pydantic}


def missing_modules() -> list[str]:
    """Give the modules that isod and isod-session import and that this Python does not have."""
    return [name for name in MODULES if find_spec(name) is None]


def kernel_version() -> dict[str, str]:
    """Give the version of the running kernel."""
    return {"Linux": os.uname().release}


def _sentence(name: str, version: str) -> str:
    needed = ".".join(str(number) for number in FLOOR[name])
    # systemd's comes from the bus: it is shown short and on one line whatever it holds
    shown = repr(version[:40])[1:-1] if version else "none found"
    return f"{name} {needed} is needed ({shown})"
