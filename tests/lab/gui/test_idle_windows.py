"""Windows that no app of ours opened, as D-Bus and systemd open them inside, and `idle_stop_sec`."""

import time

import pytest

from lab.compositors import Sway
from lab.contained import policy
from lab.machine import Lab
from lab.programs import FOOT, XTERM, Program

IDLE_SEC = 2


@pytest.mark.parametrize("program", [FOOT, XTERM], ids=lambda program: program.name)
def test_a_window_that_no_app_of_ours_opened_keeps_the_container(lab: Lab, clean_desk: Sway, program: Program) -> None:
    """D-Bus opens those of gnome-terminal and Nautilus: an idle stop took them away without a word."""
    command = program.command("nobodys")
    clean_desk.run("isoctl", "run", "blog", "true")
    with policy(lab, "blog", f"idle_stop_sec = {IDLE_SEC}"):
        clean_desk.run(
            *("isoctl", "run", "--display", "require", "blog", "systemd-run", "--user", "--collect", "--unit=nobodys"),
            *("--", *command),
        )
        lab.wait_for(lambda: clean_desk.windows() != [], 40, "it shows no window")
        lab.wait_for(lambda: "container.not_idle" in lab.run("journalctl", "-b", "-u", "isod", "-o", "cat").stdout, 60)
        until = time.monotonic() + 4 * IDLE_SEC
        while time.monotonic() < until:
            assert _state(lab) == "active"
            time.sleep(0.2)
        assert clean_desk.windows() != []
        lab.in_container("blog", "systemctl", "--user", "-M", "alice@", "stop", "nobodys")
        lab.wait_for(lambda: _state(lab) == "inactive", 60, "it does not stop after its windows closed")


def _state(lab: Lab) -> str:
    return lab.run("systemctl", "is-active", lab.unit("blog"), check=False).stdout.strip()
