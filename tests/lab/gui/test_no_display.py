"""Programs with windows, started where there is no display: from ssh, su, cron."""

import pytest

from lab.machine import Lab


@pytest.mark.parametrize("flags", [[], ["-T"]], ids=["on a terminal", "without one"])
@pytest.mark.parametrize("program", ["foot", "xterm", "zenity --info", "wayland-info"])
def test_a_program_without_a_display_is_explained(lab: Lab, program: str, flags: list[str]) -> None:
    """N22: there was the toolkit's own error alone ("failed to connect to wayland; no compositor running?")."""
    name = program.split(maxsplit=1)[0]
    with lab.pty("isoctl", "run", *flags, "blog", *program.split(), user="alice") as terminal:
        terminal.read_until("isoctl: no display was attached, since there is none here (ssh, su, cron); ", 30)
        terminal.read_until(f"`isoctl run --display require blog {name}` takes that of your desktop's session")
        assert terminal.wait() not in (0, 125)
