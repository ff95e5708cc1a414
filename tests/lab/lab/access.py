"""The matrix of method and caller, access.toml, as tests read it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from isod_contract import names
from isod_contract.methods import METHODS, Method

STANDARD = (
    (names.PROPERTIES, "Get", "ss"),
    (names.PROPERTIES, "GetAll", "s"),
    (names.INTROSPECTABLE, "Introspect", ""),
    (names.PEER, "Ping", ""),
)
OBJECTS = (names.CONTAINER, names.APP)


def _short(interface: str) -> str:
    return interface.rpartition(".")[2]


def name_of(method: Method) -> str:
    """How a method stands in the matrix."""
    return f"{_short(method.interface)}.{method.name}"


def standard_name_of(interface: str, member: str, target: str) -> str:
    """How a method of a standard interface, of an object of ours, stands in the matrix."""
    return f"{_short(interface)}.{member} of {_short(target)}"


def all_names() -> list[str]:
    """All that the matrix must have a row for."""
    standard = [standard_name_of(interface, member, target) for target in OBJECTS for interface, member, _ in STANDARD]
    return [*(name_of(method) for method in METHODS), *standard]


def matrix() -> dict[str, dict[str, str]]:
    """Give, by method and caller, "ok" or an error's name."""
    data = tomllib.loads((Path(__file__).parents[1] / "access.toml").read_text())
    return {method: dict(zip(data["callers"], verdicts, strict=True)) for method, verdicts in data["verdicts"].items()}
