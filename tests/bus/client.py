"""How tests start isoctl: as its own process, on a bus of the test's."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE_SEC = 10.0


class Isoctl:
    """Starts isoctl with a bus as its system bus."""

    def __init__(self, address: str) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{REPOSITORY}/client:{REPOSITORY}/daemon",
            "DBUS_SYSTEM_BUS_ADDRESS": address,
            "TERM": "xterm",
            "LANG": "C.UTF-8",
        }

    def command(self, *arguments: str | bytes) -> list[str | bytes]:
        return [sys.executable, "-S", "-m", "isoctl", *arguments]

    def popen(
        self, *arguments: str | bytes, environment: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(*arguments), env=self.environment | (environment or {}), **options)

    def run(
        self, *arguments: str | bytes, environment: dict[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        if "stdout" not in options:
            options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run(
            self.command(*arguments),
            env=self.environment | (environment or {}),
            timeout=DEADLINE_SEC,
            check=False,
            **options,
        )

    def bash(self, script: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a script of bash in which `isoctl` is a command."""
        return self.shell(script, program="/bin/bash", **options)

    def shell(self, script: str, *, program: str = "/bin/sh", **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a script of sh in which `isoctl` is a command."""
        words = " ".join(f"'{word!s}'" for word in self.command())
        return subprocess.run(
            [program, "-c", f'isoctl() {{ {words} "$@"; }}\n{script}'],
            env=self.environment,
            capture_output=True,
            timeout=DEADLINE_SEC,
            check=False,
            **options,
        )


def until(condition: Callable[[], Any]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + DEADLINE_SEC
    while not condition():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.01)
