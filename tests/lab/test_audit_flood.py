"""Who may call isod, and nothing else, tries to have others' records lost; journald has the settings of every host."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.machine import Lab

STRANGERS = [f"stranger{number}" for number in range(8)]
FLOOD_SEC = 24
# Calls of anybody, as many as isod takes: registrations, and what is refused.
FLOOD = """
import sys, time
from jeepney import DBusAddress, new_method_call
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection("SYSTEM")
manager = DBusAddress("/org/isoctl1", "org.isoctl1", "org.isoctl1.Manager")
calls = [new_method_call(manager, member, "a{sv}", ({},)) for member in ("RegisterSession", "Reload")]
print("ready", flush=True)
until, count = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < until:
    bus.send_and_get_reply(calls[count % 8 == 7])
    count += 1
print(count)
"""


@pytest.fixture
def strangers(lab: Lab) -> Iterator[list[str]]:
    for name in STRANGERS:
        lab.run("useradd", "--no-create-home", name)
    yield STRANGERS
    for name in STRANGERS:
        lab.run("userdel", name)


@pytest.mark.attack("C46")
@pytest.mark.slow
@pytest.mark.breaks("host-files")
def test_who_is_admitted_nowhere_pushes_no_record_out(lab: Lab, strangers: list[str]) -> None:
    """A3: at 22 s of this alice's launch left no record at all, and 47,268 messages were suppressed."""
    assert "RateLimit" not in lab.run("systemd-analyze", "cat-config", "systemd/journald.conf").stdout.replace(
        "#Rate", ""
    )
    before = len(lab.journal(unit="isod.service"))
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        floods = [
            stack.enter_context(lab.popen("python3", "-c", FLOOD, str(FLOOD_SEC), user=user, stdout=pipe))
            for user in ("mallory", *strangers)
        ]
        for flood in floods:
            assert flood.stdout is not None
            assert flood.stdout.readline() == b"ready\n"
        time.sleep(FLOOD_SEC - 4)
        app_id = lab.run("isoctl", "run", "-d", "blog", "true", user="alice").stdout.strip()
        calls = sum(int(flood.communicate(timeout=60)[0]) for flood in floods)
    lab.wait_for(lambda: len(lab.journal(unit="isod.service", ISOCTL_APP=app_id)) >= 3)
    kinds = [record["ISOCTL_KIND"] for record in lab.journal(unit="isod.service", ISOCTL_APP=app_id)]
    assert kinds == ["decision", "launch", "exit"]
    written = len(lab.journal(unit="isod.service")) - before
    assert calls > 5000
    # a record a second of each, and the ends of their sessions
    assert written < len(floods) * (FLOOD_SEC + 5) * 1.5
    messages = lab.run("journalctl", "-q", "-o", "cat", "_COMM=systemd-journal").stdout
    assert not re.search("Suppressed [0-9]+ messages from isod", messages)


@pytest.mark.attack("C46")
@pytest.mark.slow
def test_journald_takes_more_of_isod_than_its_own_limit() -> None:
    """A3: LogRateLimitIntervalSec=0 is no setting of its own to systemd, and 10,000 in 30 s would hold.

    On a lab of its own, since so many records take the older ones out of the journal.
    """
    with Lab.boot() as lab:
        _fill(lab)


def _fill(lab: Lab) -> None:
    count = 60_000
    script = (
        "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        f"for n in range({count}): s.sendto(b'MESSAGE=x\\nISOCTL_TEST=limit\\n', '/run/systemd/journal/socket')\n"
        "import time; time.sleep(1)"
    )
    shown = lab.run("systemctl", "show", "isod", "-p", "LogRateLimitIntervalUSec", "-p", "LogRateLimitBurst").stdout
    settings = dict(line.split("=", 1) for line in shown.split())
    settings = {
        "LogRateLimitIntervalSec": settings["LogRateLimitIntervalUSec"],
        "LogRateLimitBurst": settings["LogRateLimitBurst"],
    }
    flags = [word for name, value in settings.items() for word in ("-p", f"{name}={value}")]
    lab.run("systemd-run", "--wait", "-q", *flags, "python3", "-c", script, timeout_sec=100)
    lab.run("journalctl", "--sync")
    kept = lab.run("sh", "-c", "journalctl -q -o cat ISOCTL_TEST=limit | wc -l").stdout
    assert int(kept) == count
