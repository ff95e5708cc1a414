"""Records under /run/isod/state, written whole or not at all; systemd and the kernel hold the rest."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from isod.core.app import AppRecord
from isod.core.json_file import write_json
from isod_contract.names import STATE_DIRECTORY, is_app_id

_Record = TypeVar("_Record")


class StateFiles:
    """One JSON file for each app that is not forgotten."""

    def __init__(self, directory: Path = Path(STATE_DIRECTORY)) -> None:
        """Take the directory, which must be root's alone."""
        self._directory = directory

    def _path(self, app_id: str) -> Path:
        return self._directory / f"app-{app_id}.json"

    def save(self, record: AppRecord) -> None:
        """Write a record by rename. Raises NoSpace."""
        write_json(self._path(record.id), record.to_json())

    def remove(self, app_id: str) -> None:
        """Forget a record."""
        self._path(app_id).unlink(missing_ok=True)

    def load_all(self) -> list[AppRecord]:
        """Read all records, the oldest first; one that cannot be read is removed."""

        def read(path: Path, untrusted_values: Any) -> AppRecord:
            record = AppRecord.from_json(untrusted_values)
            if not is_app_id(record.id) or path != self._path(record.id):
                raise ValueError(record.id)
            return record

        # By their ids, which are random, the next launch would forget the wrong ones.
        return sorted(_read_all(self._directory, "app-*.json", read), key=lambda record: record.started_usec)


@dataclass(frozen=True, slots=True)
class ListenerRecord:
    """What a listening socket in systemd's FD store is for."""

    stored: str  # its name there
    machine: str
    uid: int  # of the user, on the host
    name: str  # of the socket in the user's directory inside


class ListenerFiles:
    """One JSON file for each listening socket that systemd keeps."""

    def __init__(self, directory: Path = Path(STATE_DIRECTORY)) -> None:
        """Take the directory, which must be root's alone."""
        self._directory = directory

    def _path(self, stored: str) -> Path:
        return self._directory / f"listener-{stored}.json"

    def save(self, record: ListenerRecord) -> None:
        """Write a record by rename. Raises NoSpace."""
        write_json(self._path(record.stored), asdict(record))

    def remove(self, stored: str) -> None:
        """Forget a record."""
        self._path(stored).unlink(missing_ok=True)

    def load_all(self) -> list[ListenerRecord]:
        """Read all records; one that cannot be read is removed."""

        def read(path: Path, untrusted_values: Any) -> ListenerRecord:
            record = ListenerRecord(**untrusted_values)
            if path != self._path(record.stored):
                raise ValueError(record.stored)
            return record

        return list(_read_all(self._directory, "listener-*.json", read))


def _read_all(directory: Path, pattern: str, read: Callable[[Path, Any], _Record]) -> Iterator[_Record]:
    """Read all files of a pattern, and remove those that can't be read."""
    for path in sorted(directory.glob(pattern)):
        try:
            yield read(path, json.loads(path.read_text()))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            path.unlink(missing_ok=True)
