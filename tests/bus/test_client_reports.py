"""`isoctl exposure` and `doctor` against a stand-in for isod: what they make of hostile containers and broken hosts."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from buses import Bus
from client import Isoctl
from fakeisod import FakeIsod, fake_isod

ESCAPE = "\x1b[2Jgone\u202e"
FINDING = {"code": "thing", "what": f"bad {ESCAPE}", "why": "it matters", "fix": "`mend it`"}
CONTAINER = {
    "State": ("s", "running"),
    "Unit": ("s", "container@blog.service"),
    "Grants": ("a{sv}", {"wayland": ("s", "secured")}),
}


@pytest.fixture
def isod(bus: Bus) -> Iterator[FakeIsod]:
    with fake_isod(bus.address) as running:
        running.answers = {
            "Ping": ("", ()),
            "Get": ("v", (("s", "0.1.0"),)),
            "ListContainers": ("a(oa{sv})", ([],)),
            "GetContainer": ("o", ("/org/isoctl1/container/blog",)),
            "GetAll": ("a{sv}", (CONTAINER,)),
            "Check": ("aa{sv}", ([{key: ("s", value) for key, value in FINDING.items()}],)),
        }
        yield running


@pytest.fixture
def isoctl(bus: Bus, isod: FakeIsod) -> Isoctl:
    return Isoctl(bus.address)


def hostile_sh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A container whose /bin/sh is the attacker's."""
    path = tmp_path / "sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_exposure_is_what_an_app_measures(isoctl: Isoctl, isod: FakeIsod) -> None:
    done = isoctl.run("exposure", "blog")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith("measured inside blog as uid ")
    # it is this very machine
    report = json.loads(isoctl.run("exposure", "--json", "blog").stdout)
    found = {item["code"]: item["severity"] for item in report["exposures"]}
    assert report["complete"]
    assert (found["root-is-root"], found["network-shared"]) == ("high", "medium")
    (_, (name, argv, options)), _ = [call for call in isod.calls if call[0] == "Run"]
    assert (name, argv[:2]) == ("blog", ["sh", "-c"])
    # nothing that would make it another than the caller's own app
    assert not {"user", "directory", "environment", "login-shell"} & options.keys()


@pytest.mark.attack("C13")
def test_what_a_hostile_container_says_is_shown_by_number(
    isoctl: Isoctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = f"start\\nid\\t1000\\ntool\\tpython3\\ntry\\tu\\t0\\t/run/user/{ESCAPE}\\nhit\\tu\\t0\\tok\\t0\\t\\n"
    hostile_sh(tmp_path, monkeypatch, f"printf '{lines}'")
    done = isoctl.run("exposure", "blog")
    assert done.returncode == 0
    assert b"\\x1b[2Jgone\\u202e" in done.stdout
    assert done.stdout.replace(b"\n", b"").decode().isprintable()
    assert b"did not come to its end" in done.stderr
    done = isoctl.run("exposure", "--json", "blog")
    assert done.stdout.isascii()
    assert json.loads(done.stdout)["complete"] is False


@pytest.mark.parametrize(
    "script", ["exit 0", "echo start; echo 'id\t-7'", "exec head -c 100000 /dev/urandom", "exit 127"]
)
def test_a_container_in_which_nothing_can_be_measured_is_no_safe_one(
    isoctl: Isoctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    hostile_sh(tmp_path, monkeypatch, script)
    done = isoctl.run("exposure", "blog")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"nothing was measured" in done.stderr


def test_a_flood_of_lines_is_cut_off_and_its_writer_ended(
    isoctl: Isoctl, isod: FakeIsod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile_sh(tmp_path, monkeypatch, "printf 'start\\nid\\t1000\\n'; exec yes 'try\ta\t7\t@x'")
    began = time.monotonic()
    done = isoctl.run("exposure", "blog")
    assert done.returncode == 0
    assert b"did not come to its end" in done.stderr
    assert len(done.stdout) < 64 * 1024
    assert isod.only_app.over.wait(10)
    assert time.monotonic() - began < 10


def test_a_launch_that_is_refused_is_told(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.start_error = ("org.isoctl1.Error.NotPermitted", "not permitted: polkit refused")
    done = isoctl.run("exposure", "blog")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"isoctl: not permitted: polkit refused\n"


def codes(done: bytes) -> set[str]:
    return {finding["code"] for finding in json.loads(done)["findings"]}


def test_doctor_tells_what_isod_found_and_what_it_sees_itself(isoctl: Isoctl) -> None:
    """A bus with nothing else on it: no machined, no polkit."""
    done = isoctl.run("doctor", "--json", "blog")
    assert done.returncode == 1
    assert {"thing", "machined-missing", "polkit-missing"} <= codes(done.stdout)
    shown = isoctl.run("doctor", "blog").stdout.decode()
    assert "blog: bad \\x1b[2Jgone\\u202e; it matters. To fix: `mend it` [thing]" in shown
    assert shown.replace("\n", "").isprintable()


def test_a_note_of_isods_is_no_finding(isoctl: Isoctl, isod: FakeIsod) -> None:
    """A home on NFS is no fault: doctor never came to 0 there."""
    found = {"code": "not-asked", "what": "nfs", "why": "unknown", "fix": ""}
    isod.answers["Check"] = ("aa{sv}", ([{key: ("s", value) for key, value in found.items()}],))
    done = json.loads(isoctl.run("doctor", "--json", "blog").stdout)
    assert "not-asked" not in {finding["code"] for finding in done["findings"]}
    assert "blog: nfs; unknown [not-asked]" in done["notes"]
    shown = isoctl.run("doctor", "blog")
    assert b"isoctl: blog: nfs; unknown [not-asked]\n" in shown.stderr
    assert b"not-asked" not in shown.stdout


def test_doctor_is_of_use_without_isod(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.leave()
    done = isoctl.run("doctor", "--json", "blog")
    assert done.returncode == 1
    assert "machined-missing" in codes(done.stdout)
    assert json.loads(done.stdout)["notes"] == ["blog was not looked at: that takes isod"]


def test_doctor_is_of_use_without_a_bus(isoctl: Isoctl) -> None:
    done = isoctl.run("doctor", environment={"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"})
    assert done.returncode == 1
    assert done.stdout.count(b"\n") == 1
    assert b"[bus-missing]" in done.stdout


def test_an_isod_from_before_an_update_is_told_as_that(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.answers["Get"] = ("v", (("s", "0.0.1"),))
    del isod.answers["Check"]
    done = isoctl.run("doctor", "--json")
    assert "isod-other-version" in codes(done.stdout)
