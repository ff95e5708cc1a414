"""A container's root directory with desktop entries in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from closed import until_open_are
from isod.desktop_entry import Application
from isod.host.applications import read_applications
from isod.ports import Account

ALICE = Account("alice", 1000, 1000, "/home/alice", "/bin/bash")


def entry(name: str, command: str = "foo", **keys: str) -> str:
    values = {"Type": "Application", "Name": name, "Exec": command, **keys}
    return "[Desktop Entry]\n" + "".join(f"{key}={value}\n" for key, value in values.items())


class Root:
    """A container's root directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_PATH | os.O_DIRECTORY)

    def write(self, path: str, text: str) -> Path:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def link(self, path: str, target: str) -> None:
        (self.path / path).parent.mkdir(parents=True, exist_ok=True)
        (self.path / path).symlink_to(target)

    def names(self, account: Account = ALICE) -> list[str]:
        return [item.name for item in self.applications(account)]

    def applications(self, account: Account = ALICE, desktops: tuple[str, ...] = ()) -> list[Application]:
        return read_applications(self.fd, account, (), desktops)


@contextmanager
def container_root(path: Path) -> Iterator[Root]:
    """Make one; what reads it leaves no descriptor open."""
    path.mkdir()
    made = Root(path)
    before = len(os.listdir("/proc/self/fd"))
    yield made
    until_open_are(before)
    os.close(made.fd)
