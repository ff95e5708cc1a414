"""What nobody else knows of a container's devices: which DeviceAllow entries are isod's, and what was granted to it.

The first tells them from the administrator's own; the second lasts until the container stops, whatever isod does.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isod.core.json_file import write_json
from isod.resources import GrantValue, device_kinds
from isod_contract.names import STATE_DIRECTORY


@dataclass(frozen=True, slots=True)
class RunTimeGrant:
    """A grant to a running container."""

    value: GrantValue
    uid: int  # of who asked for it


@dataclass(slots=True)
class DeviceRecord:
    """One container's, by its unit."""

    unit: str
    allowed: set[str] = field(default_factory=set)  # Device.key of each
    invocation_id: str = ""  # of the container that `granted` holds for
    granted: dict[str, RunTimeGrant] = field(default_factory=dict)  # by key of the kind

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember."""
        return not self.allowed and not self.granted

    def end_grants(self, invocation_id: str, never: Mapping[str, Iterable[str]]) -> bool:
        """Forget grants to another run of the container, and those above the ceiling; tells whether there were any."""
        kept = {
            key: grant
            for key, grant in self.granted.items()
            if self.invocation_id == invocation_id and _is_allowed(key, grant.value, never)
        }
        ended, self.granted = kept != self.granted, kept
        return ended

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON can hold it."""
        granted = {key: {"value": grant.value, "uid": grant.uid} for key, grant in self.granted.items()}
        return {
            "unit": self.unit,
            "allowed": sorted(self.allowed),
            "invocation_id": self.invocation_id,
            "granted": granted,
        }

    @classmethod
    def from_json(cls, value: Any) -> "DeviceRecord":
        """Read what `to_json` gave. Raises KeyError, TypeError, ValueError."""
        granted = {
            str(key): RunTimeGrant(
                item["value"] if isinstance(item["value"], str) else tuple(map(str, item["value"])), int(item["uid"])
            )
            for key, item in value["granted"].items()
        }
        return cls(str(value["unit"]), set(map(str, value["allowed"])), str(value["invocation_id"]), granted)


def _is_allowed(key: str, value: GrantValue, never: Mapping[str, Iterable[str]]) -> bool:
    kind = device_kinds().get(key)
    return kind is not None and kind.lowered(value, never.get(key, ())) == value


class DeviceRecords:
    """One JSON file for each container that has something to remember, below /run/isod/state."""

    def __init__(self, directory: Path = Path(STATE_DIRECTORY)) -> None:
        """Take the directory, which must be root's alone."""
        self._directory = directory
        self._known: dict[str, DeviceRecord] = {}

    def _path(self, unit: str) -> Path:
        return self._directory / f"devices-{unit}.json"

    def load(self) -> None:
        """Read all; one that can't be read is removed."""
        for path in sorted(self._directory.glob("devices-*.json")):
            try:
                record = DeviceRecord.from_json(json.loads(path.read_text()))
                if path != self._path(record.unit):
                    raise ValueError(record.unit)
                self._known[record.unit] = record
            except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
                path.unlink(missing_ok=True)

    def of(self, unit: str) -> DeviceRecord:
        """Give the record of a unit, a new one where there is none."""
        return self._known.setdefault(unit, DeviceRecord(unit))

    def save(self, record: DeviceRecord) -> None:
        """Write a record by rename, or remove an empty one. Raises NoSpace."""
        path = self._path(record.unit)
        if record.is_empty:
            path.unlink(missing_ok=True)
            return
        write_json(path, record.to_json())
