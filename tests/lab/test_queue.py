"""Many launches at once: a queue for each user, a limit at its end, and nobody else who notices."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from isod_contract import limits
from lab.changes import unit_settings
from lab.enter import LabProcess
from lab.machine import Lab
from lab.policies import added_policy

_STARTING = limits.PER_UID["launches_starting"].default
_MOST = _STARTING + limits.PER_UID["launches_queued"].default
# Calls one by one: dbus-daemon takes 128 unanswered ones at most.
CALLER = """
import json, sys
from jeepney import DBusAddress, new_method_call
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection("SYSTEM")
for line in sys.stdin:
    path, interface, member, signature, body = json.loads(line)
    call = new_method_call(DBusAddress(path, "org.isoctl1", interface), member, signature or None, tuple(body))
    reply = bus.send_and_get_reply(call)
    print(json.dumps([reply.header.fields.get(4, ""), reply.body[:1]]), flush=True)
"""


class Caller:
    """One connection of a user's to isod, which makes one call after the other."""

    def __init__(self, lab: Lab, user: str) -> None:
        pipe = subprocess.PIPE
        self.process: LabProcess = lab.popen("/usr/bin/python3", "-c", CALLER, user=user, stdin=pipe, stdout=pipe)

    def call(self, path: str, interface: str, member: str, signature: str = "", *body: object) -> tuple[str, object]:
        """Give the error's name, "" for none, and the first value."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([path, interface, member, signature, body]).encode() + b"\n")
        self.process.stdin.flush()
        error, values = json.loads(self.process.stdout.readline())
        return error, values[0] if values else None

    def run(self, container: str, *argv: str) -> tuple[str, str]:
        error, value = self.call("/org/isoctl1", "org.isoctl1.Manager", "Run", "sasa{sv}", container, argv, {})
        return error.rpartition(".")[2], str(value)

    def stop(self, app: str) -> None:
        assert self.call(app, "org.isoctl1.App", "Stop")[0] == ""

    def apps(self) -> dict[str, dict[str, object]]:
        """Give the properties of the user's apps, by object path."""
        error, listed = self.call("/org/isoctl1", "org.isoctl1.Manager", "ListApps")
        while error.endswith("LimitExceeded"):
            # hundreds of apps, each of which changes, asked for again and again: that is over the limit of calls
            time.sleep(0.3)
            error, listed = self.call("/org/isoctl1", "org.isoctl1.Manager", "ListApps")
        assert isinstance(listed, list)
        return {path: {key: value[1] for key, value in values.items()} for path, values in listed}


@pytest.fixture
def alice(lab: Lab) -> Iterator[Caller]:
    caller = Caller(lab, "alice")
    with caller.process:
        yield caller
        assert caller.process.stdin is not None
        caller.process.stdin.close()


@pytest.fixture
def starting(lab: Lab) -> Iterator[str]:
    """A container that takes minutes to start, so that all launches in it wait."""
    delay = lab.host_path("/var/lib/machines/slow/etc/lab-bus-delay")
    lab.stop_container("slow")
    delay.write_text("300\n")
    # Neither systemd nor isod gives up on it while this looks: on a busy machine that takes longer than they wait.
    in_unit = unit_settings(lab, lab.unit("slow"), "TimeoutStartSec=600")
    with in_unit, added_policy(lab, "slow", "start_timeout_sec = 600"):
        yield "slow"
        delay.write_text("8\n")
        lab.stop_container("slow")


@pytest.mark.attack("C15")
def test_beyond_its_queue_a_user_is_refused_and_others_are_served(lab: Lab, alice: Caller, starting: str) -> None:
    """R05, C30: one user who starts without end must cost nobody else anything."""
    launches_before = len(lab.journal(unit="isod.service", ISOCTL_KIND="launch", ISOCTL_CONTAINER=starting))
    answers = [alice.run(starting, "true") for _ in range(_MOST + 8)]
    errors = [error for error, _ in answers]
    queued = errors.count("")
    assert errors == [""] * queued + ["LimitExceeded"] * (len(errors) - queued)
    assert queued == _MOST
    assert str(_MOST) in answers[-1][1]
    paths = [path for error, path in answers if not error]

    for user, container in (("bob", "bobs"), ("carol", "shared")):
        done = lab.run("isoctl", "run", container, "echo", "served", user=user)
        assert done.stdout == "served\n"
    states = Counter(alice.apps()[path]["State"] for path in paths)
    assert states["starting-container"] == _STARTING
    assert states["starting-container"] + states["authorizing"] == queued

    # One that is stopped, starting or waiting, makes room for one.
    for path in (paths.pop(0), paths.pop()):
        alice.stop(path)
        assert alice.apps()[path]["State"] == "failed"
        error, fresh = alice.run(starting, "true")
        assert error == ""
        paths.append(fresh)
        assert alice.run(starting, "true")[0] == "LimitExceeded"

    for path in paths:
        alice.stop(path)
    assert not [app for path, app in alice.apps().items() if path in paths and app["State"] != "failed"]
    assert alice.run("blog", "true")[0] == ""
    launches = len(lab.journal(unit="isod.service", ISOCTL_KIND="launch", ISOCTL_CONTAINER=starting))
    assert launches == launches_before


def test_a_queue_longer_than_what_starts_at_once_is_served_to_its_end(lab: Lab, alice: Caller) -> None:
    """In any order: each user's launches wait for one another, none is lost."""
    lab.run("systemctl", "stop", "container@blog")
    count = _STARTING * 4
    script = 'echo "$1" >> /tmp/served'
    paths = {}
    for number in range(count):
        error, path = alice.run("blog", "sh", "-c", script, "sh", str(number))
        assert error == ""
        paths[path] = number

    def launched() -> list[dict[str, object]]:
        return [app for path, app in alice.apps().items() if path in paths]

    lab.wait_for(lambda: all(app["State"] in {"exited", "failed"} for app in launched()), 100)
    assert [app for app in launched() if app["State"] != "exited"] == []
    assert {app["ExitCode"] for path, app in alice.apps().items() if path in paths} == {0}
    served = lab.in_container("blog", "cat", "/tmp/served").stdout.split()
    assert sorted(map(int, served)) == list(range(count))
    lab.in_container("blog", "rm", "/tmp/served")
