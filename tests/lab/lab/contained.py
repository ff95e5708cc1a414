"""A program with windows that a user starts in a container by `isoctl run` from his desktop."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.compositors import Sway
from lab.desktop import Desktop
from lab.programs import Program
from lab.screenshot import Picture

if TYPE_CHECKING:
    from lab.machine import Lab
    from lab.windows import Window

# the first start of a toolkit builds its caches, and its container may have to boot
SHOW_TIMEOUT_SEC = 40.0
_INTERFACE = re.compile(r"interface: '([^']+)'")
_VERSIONED = re.compile(r"interface: '([^']+)',\s+version:\s+(\d+)")
_numbers = itertools.count()


class Contained:
    """One `isoctl run` with no terminal, as from a key binding; its output is kept for the failure's text."""

    def __init__(
        self,
        desktop: Desktop,
        container: str,
        *command: str,
        flags: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.desktop = desktop
        self.container = container
        self._output = desktop.files / f"isoctl-{next(_numbers)}"
        with self._output.open("wb") as out:
            self.process = desktop.popen(
                *("isoctl", "run", *flags, container, "--", *command), env=env, stdout=out, stderr=subprocess.STDOUT
            )

    @property
    def output(self) -> str:
        """What isoctl and the program have written."""
        return self._output.read_text(errors="replace")

    def window(self, timeout_sec: float = SHOW_TIMEOUT_SEC, **wanted: Any) -> Window:
        """Its window in sway's tree, once it is there; it must be of the container."""
        assert isinstance(self.desktop, Sway)
        try:
            window = self.desktop.wait_window(timeout_sec, **wanted)
        except TimeoutError as error:
            raise AssertionError(f"{error}\nisoctl: {self.output}") from error
        assert self.desktop.lab.container_of(window.pid) == self.container
        return window

    def seen(self, colour: tuple[int, int, int], share: float = 0.1) -> Picture:
        """The screen once so much of it has this colour."""
        try:
            return self.desktop.wait_picture(lambda picture: picture.share(colour) > share, SHOW_TIMEOUT_SEC)
        except TimeoutError as error:
            raise AssertionError(f"{error}\nisoctl: {self.output}") from error

    def end(self) -> None:
        """End it as Ctrl-C would."""
        self.process.end()


def show(desktop: Sway, container: str, program: Program, title: str) -> Contained:
    """Start one of the lab's programs in a container and return when its window can be seen."""
    app = Contained(desktop, container, *program.command(title))
    # an X11 program's window may be inside that of its X server
    if not program.x11:
        app.window(title=title)
    if program.colour:
        app.seen(program.colour)
    return app


def interfaces(desktop: Desktop, container: str | None = None) -> set[str]:
    """The Wayland interfaces that a program on the host, or one in a container, is offered."""
    prefix = ("isoctl", "run", container, "--") if container else ()
    return set(_INTERFACE.findall(desktop.run(*prefix, "wayland-info").stdout))


def offers(desktop: Desktop, container: str) -> dict[str, int]:
    """What a program in a container is offered: versions by Wayland interface."""
    told = desktop.run("isoctl", "run", container, "--", "wayland-info").stdout
    return {name: int(version) for name, version in _VERSIONED.findall(told)}


@contextmanager
def policy(lab: Lab, container: str, *lines: str) -> Iterator[str]:
    """Another policy for a container, for a while; gives what the reload told."""
    path = lab.host_path(f"/etc/isod/containers/{container}.toml")
    before = path.read_text()
    path.write_text("\n".join((*before.splitlines(), *lines)) + "\n")
    told = lab.run("isoctl", "reload").stdout
    try:
        yield told
    finally:
        path.write_text(before)
        lab.run("isoctl", "reload")


def mounts(lab: Lab, container: str) -> list[tuple[str, str]]:
    """What is mounted below a container's /run/isoctl and /dev/dri: destination and what of its source."""
    lines = Path(f"/proc/{lab.leader(container)}/mountinfo").read_text().splitlines()
    fields = [line.split(" ") for line in lines]
    return [(entry[4], entry[3]) for entry in fields if entry[4].startswith(("/run/isoctl", "/dev/dri"))]
