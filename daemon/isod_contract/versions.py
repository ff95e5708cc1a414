"""The oldest versions that isod runs on, and released ones with faults that matter here."""

# Without this and with the standard library alone, it is read by the Pythons that it refuses, too.
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

FLOOR: Mapping[str, tuple[int, ...]] = {
    "Python": (3, 11),
    "pydantic": (2,),
    # Peer pidfds (SO_PEERPIDFD), by which a container is known.
    "Linux": (6, 5),
    # FDPOLL=0 in the FD store, FileDescriptorStorePreserve=, RestartSteps=.
    "systemd": (254,),
}


class Bad(NamedTuple):
    """Versions of a program from `first` on and before `fixed` that have a known fault."""

    program: str
    first: tuple[int, ...]
    fixed: tuple[int, ...]
    fault: str


KNOWN_BAD = (
    Bad("systemd", (258,), (258, 6), "CVE-2026-40223: who may start units in a delegated cgroup can stop PID 1"),
    Bad("systemd", (259,), (259, 4), "CVE-2026-40223: who may start units in a delegated cgroup can stop PID 1"),
    Bad("systemd", (260,), (261,), "CVE-2026-40227: any local user can stop PID 1 by one message"),
    Bad("polkit", (0,), (0, 120), "CVE-2021-4034: any local user becomes root by pkexec"),
)


def numbers(version: str) -> tuple[int, ...]:
    """Read a version as its owner writes it: the first run of numbers counts; empty without one."""
    # "6.12.48+deb13-amd64", "257.9-1~deb13u1", "v258-rc2", "2.0b3"
    digits = re.search(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in digits.group().split(".")) if digits else ()


def faults(program: str, version: str) -> list[Bad]:
    """Give what is known to be wrong with a version of a program."""
    found = numbers(version)
    return [bad for bad in KNOWN_BAD if bad.program == program and bad.first <= found < bad.fixed]
