"""Changes to a lab's host that are undone when a test no longer needs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.machine import Lab


@contextmanager
def kept(lab: Lab, *paths: str) -> Iterator[None]:
    """Files that are put back as they were, absent ones too."""
    before = {path: lab.host_path(path) for path in paths}
    texts = {path: file.read_bytes() if file.exists() else None for path, file in before.items()}
    try:
        yield
    finally:
        for path, text in texts.items():
            if text is None:
                before[path].unlink(missing_ok=True)
            else:
                before[path].write_bytes(text)


@contextmanager
def unit_settings(lab: Lab, unit: str, *lines: str, restart: bool = False) -> Iterator[None]:
    """Settings of a host's service over those that it has; restarted for them and after them if need be."""
    path = lab.host_path(f"/run/systemd/system/{unit}.d/test.conf")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("[Service]", *lines, "")))
    _take_in(lab, unit, restart=restart)
    try:
        yield
    finally:
        path.unlink()
        _take_in(lab, unit, restart=restart)


def _take_in(lab: Lab, unit: str, *, restart: bool) -> None:
    lab.run("systemctl", "daemon-reload")
    if restart:
        lab.run("systemctl", "restart", unit)
