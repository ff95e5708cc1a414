"""What is asked for by one launch."""

from dataclasses import dataclass
from typing import Any

from isod.core import stdio
from isod.core.app import App
from isod.core.container import Container
from isod.directory_ports import HostDirectory
from isod.ports import Caller
from isod_contract.options import RunOptions


@dataclass(slots=True)
class LaunchRequest:
    """A call of Run, until the app has started.

    `streams` are the caller's descriptors by name: None where there is none, -1 where nothing is to be read or written.
    `host_directory` is the caller's, in which it shall run if it is shared.
    """

    caller: Caller
    container: Container
    argv: tuple[str, ...]
    options: RunOptions
    streams: dict[str, int | None]
    host_directory: HostDirectory | None = None

    @property
    def lends_streams(self) -> bool:
        """Whether any of the streams is the caller's own: of a request whose terminal is not made yet."""
        return any(fd is not None and fd >= 0 for fd in self.streams.values())

    def close(self) -> None:
        """Close the streams that nobody took."""
        stdio.close_all(*self.streams.values())
        self.streams = {}

    def told(self, app: App, account: str) -> dict[str, Any]:
        """Give what every audit record about it holds, with what isod-session says of its caller."""
        claim = self.options.via or {}
        told = {"app": app.record.id, "argv": list(self.argv), "user": account}
        return told | {f"claimed_{name}": value for name, value in claim.items()}
