"""Records of apps under /run/isod/state, written whole or not at all; systemd and the kernel hold the rest."""

import json
from pathlib import Path

from isod.core.app import AppRecord
from isod.core.json_file import write_json
from isod_contract.names import STATE_DIRECTORY, is_app_id


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
        """Read all records; one that cannot be read is removed."""
        records = []
        for path in sorted(self._directory.glob("app-*.json")):
            try:
                record = AppRecord.from_json(json.loads(path.read_text()))
                if not is_app_id(record.id) or path != self._path(record.id):
                    raise ValueError(record.id)
                records.append(record)
            except (OSError, ValueError, TypeError, KeyError, RecursionError):
                path.unlink(missing_ok=True)
        return records
