"""Windows that no app of ours opened, as D-Bus and systemd open them inside, and `idle_stop_sec`."""

import pytest

from lab.compositors import Sway
from lab.contained import policy
from lab.idle import IDLE_SEC, close, open_by_systemd, stays
from lab.machine import Lab
from lab.programs import FOOT, XTERM, Program


@pytest.mark.parametrize("program", [FOOT, XTERM], ids=lambda program: program.name)
def test_a_window_that_no_app_of_ours_opened_keeps_the_container(lab: Lab, clean_desk: Sway, program: Program) -> None:
    """D-Bus opens those of gnome-terminal and Nautilus: an idle stop took them away without a word."""
    with policy(lab, "blog", f"idle_stop_sec = {IDLE_SEC}"):
        open_by_systemd(clean_desk, "blog", program)
        lab.wait_for(lambda: clean_desk.windows() != [], 40, "it shows no window")
        stays(lab, "blog")
        assert clean_desk.windows() != []
        close(lab, "blog")
