"""What a desktop's notification service was told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.login import Login


class Recorder:
    """The notification service of one login; it shows nothing and keeps all."""

    def __init__(self, login: Login, records: Path) -> None:
        self._records = records
        program = f"/tmp/lab-notifier-{login.user}.py"
        login.lab.host_path(program).write_text((Path(__file__).parent / "notifier.py").read_text())
        with records.open("wb") as out:
            self._process = login.popen("python3", program, stdout=out)
        login.lab.wait_for(lambda: bool(self._lines()), what="no notification service")

    def _lines(self) -> list[dict[str, Any]]:
        lines = self._records.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def received(self) -> list[dict[str, Any]]:
        """All notifications so far."""
        # the first line says that it is ready
        return self._lines()[1:]

    def close(self) -> None:
        """End the service."""
        self._process.end()
