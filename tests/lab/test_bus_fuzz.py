"""Calls that mean nothing, by root and by a user who may do nothing, with systemd's reload and re-execution between."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import busfuzz
from lab.machine import Lab

SCRIPT = Path(busfuzz.__file__).read_text()
# Internal is a fault of isod, NoReply and the like its absence.
MAY_BE_TOLD = {
    *(f"org.freedesktop.DBus.Error.{name}" for name in ("InvalidArgs", "AccessDenied", "UnknownMethod")),
    *(f"org.freedesktop.DBus.Error.{name}" for name in ("UnknownObject", "UnknownInterface", "UnknownProperty")),
    *(f"org.freedesktop.DBus.Error.{name}" for name in ("PropertyReadOnly", "LimitsExceeded")),
}


@pytest.fixture
def without_rates(lab: Lab) -> Iterator[None]:
    settings = lab.host_path("/etc/isod/isod.toml")
    before = settings.read_text()
    settings.write_text("[limits]\ncalls_per_sec = 10000\n")
    lab.run("isoctl", "reload")
    yield
    settings.write_text(before)
    lab.run("isoctl", "reload")


def pid(lab: Lab) -> str:
    return lab.run("systemctl", "show", "-P", "MainPID", "isod").stdout.strip()


@pytest.mark.attack("C15", "C30")
@pytest.mark.parametrize("user", ["root", "mallory"])
def test_no_call_ends_isod_or_is_a_fault_of_it(lab: Lab, without_rates: None, user: str) -> None:
    """Systemd's TEST-21-DFUZZER does the same: each round, then daemon-reload and daemon-reexec."""
    lab.start("blog")
    before = pid(lab)
    for number, verb in enumerate(("daemon-reload", "daemon-reexec")):
        done = lab.run("python3", "-c", SCRIPT, "3", str(number), user=user, timeout_sec=120)
        found = json.loads(done.stdout)
        assert found["methods"] > 10
        told = found["told"]
        internal = [name for name in told if name == "org.isoctl1.Error.Internal"]
        assert not internal
        others = {name for name in told if not name.startswith("org.isoctl1.Error.")} - MAY_BE_TOLD - {"answered"}
        assert not others
        lab.run("systemctl", verb)
    assert pid(lab) == before
    assert lab.run("isoctl", "run", "blog", "echo", "alive", user="alice").stdout == "alive\n"
