"""Change a container's policy for as long as a test needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.machine import Lab


@contextmanager
def added_policy(lab: Lab, container: str, *lines: str) -> Iterator[None]:
    """Add lines to the policy file of a container and have isod read it; put it back at the end."""
    path = lab.host_path(f"/etc/isod/containers/{container}.toml")
    before = path.read_text()
    path.write_text("\n".join((before, *lines, "")))
    try:
        lab.run("isoctl", "reload")
        yield
    finally:
        path.write_text(before)
        lab.run("isoctl", "reload")
