"""Windows that no app of isod's opened, in a container that policy wants stopped when it is idle."""

import time

from lab.desktop import Desktop
from lab.machine import Lab
from lab.programs import Program

IDLE_SEC = 2


def open_by_systemd(desk: Desktop, container: str, program: Program) -> None:
    """Have the user's systemd inside start a program, as D-Bus does."""
    desk.run("isoctl", "run", container, "true")
    command = ("systemd-run", "--user", "--collect", "--unit=nobodys", "--", *program.command("nobodys"))
    desk.run("isoctl", "run", "--display", "require", container, *command)


def stays(lab: Lab, container: str) -> None:
    """Wait until isod says why it does not stop the container, and see that it does not for a while."""

    def told() -> bool:
        lines = lab.run("journalctl", "-b", "-u", "isod", "-o", "cat").stdout.splitlines()
        return any("container.not_idle" in line and f"container={container}" in line for line in lines)

    lab.wait_for(told, 60, "isod does not say why it stays")
    until = time.monotonic() + 4 * IDLE_SEC
    while time.monotonic() < until:
        assert _state(lab, container) == "active"
        time.sleep(0.2)


def close(lab: Lab, container: str) -> None:
    """End the program; then the container stops."""
    lab.in_container(container, "systemctl", "--user", "-M", "alice@", "stop", "nobodys")
    lab.wait_for(lambda: _state(lab, container) == "inactive", 60, "it does not stop after its windows closed")


def _state(lab: Lab, container: str) -> str:
    return lab.run("systemctl", "is-active", lab.unit(container), check=False).stdout.strip()
