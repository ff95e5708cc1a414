"""Idle containers whose windows are on a compositor's own socket, as on GNOME; see test_idle_windows."""

import pytest

from lab.contained import policy
from lab.idle import IDLE_SEC, close, open_by_systemd, stays
from lab.machine import Lab
from lab.programs import FOOT


@pytest.mark.parametrize("container", ["blog", "net"])
def test_a_window_on_the_compositors_own_socket_keeps_it_too(lab: Lab, container: str) -> None:
    """On mutter, where all programs of the host have connections of the same kind; net has a network of its own."""
    with lab.desktop("alice", "mutter") as desk, policy(lab, container, f"idle_stop_sec = {IDLE_SEC}"):
        open_by_systemd(desk, container, FOOT)
        stays(lab, container)
        close(lab, container)
