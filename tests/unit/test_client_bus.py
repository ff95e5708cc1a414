"""isoctl's connection to a bus that turns it away."""

import os
import socket
import threading
from pathlib import Path

import pytest

from isoctl import wire


@pytest.mark.parametrize(
    ("uid", "text"),
    [(62000, "takes no uid 62000, of DynamicUser=yes; give the unit a User="), (1000, "closed the connection")],
)
def test_a_bus_that_does_not_know_a_dynamic_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, text: str
) -> None:
    """N29: all that was said was that the bus closed the connection."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bus"))
        listener.listen(1)

        def turn_away() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(b"OK 0123\r\nAGREE_UNIX_FD\r\n")

        thread = threading.Thread(target=turn_away)
        thread.start()
        with pytest.raises(wire.WireError, match=text):
            wire.Bus(f"unix:path={tmp_path}/bus")
        thread.join(10)
