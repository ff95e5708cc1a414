"""The units' sandboxes as the running systemd judges them, and the watchdog that a stopped isod meets."""

from collections.abc import Iterator

import pytest

from lab.apps import apps, run_app, wait_for_state
from lab.changes import unit_settings
from lab.machine import Lab

# `systemd-analyze security` of systemd 257, 0 to 10, less is better; what each unit needs is told in it.
SYSTEM_UNITS = {
    "isod.service": 1.5,
    "isod-helper@.service": 1.1,
    "isod-helper-mount@.service": 2.6,
    "isod-helper-terminal@.service": 1.3,
    "isod-helper-node@.service": 1.0,
    # It hears what udevd says in the host's network namespace, and has no right at all there.
    "isod-helper-devices@.service": 1.2,
    # It makes a mount of the host's, so it can have no namespace of its own.
    "isod-prepare@.service": 3.6,
}
USER_UNITS = {"isod-session.service": 2.5}
CAPABILITIES = {
    "isod.service": {"cap_chown", "cap_fowner", "cap_dac_override"},
    "isod-helper@.service": {"cap_setuid", "cap_setgid"},
    "isod-helper-mount@.service": {
        *("cap_sys_admin", "cap_sys_chroot", "cap_setuid", "cap_setgid", "cap_dac_override", "cap_sys_ptrace"),
    },
    "isod-helper-terminal@.service": {"cap_setuid", "cap_setgid"},
    "isod-helper-node@.service": {"cap_mknod"},
    "isod-helper-devices@.service": set(),
    "isod-prepare@.service": {"cap_sys_admin"},
}


def exposure(lab: Lab, unit: str, *options: str, user: str = "root") -> float:
    shown = lab.run("systemd-analyze", *options, "security", "--no-pager", unit.replace("@.", "@test."), user=user)
    *_, verdict = shown.stdout.split("Overall exposure level for ")
    score = float(verdict.split(":")[1].split()[0])
    print(f"\nexposure of {unit}: {score}")
    return score


@pytest.mark.parametrize("unit", SYSTEM_UNITS)
def test_the_exposure_of_a_unit(lab: Lab, capsys: pytest.CaptureFixture[str], unit: str) -> None:
    with capsys.disabled():
        assert exposure(lab, unit) <= SYSTEM_UNITS[unit]


@pytest.mark.parametrize("unit", USER_UNITS)
def test_the_exposure_of_a_users_unit(lab: Lab, capsys: pytest.CaptureFixture[str], unit: str) -> None:
    with capsys.disabled():
        assert exposure(lab, unit, "--user", user="alice") <= USER_UNITS[unit]


@pytest.mark.parametrize("unit", CAPABILITIES)
def test_a_unit_has_the_capabilities_that_it_needs_and_no_other(lab: Lab, unit: str) -> None:
    shown = lab.run("systemctl", "show", "-P", "CapabilityBoundingSet", unit.replace("@.", "@test.")).stdout
    assert set(shown.split()) == CAPABILITIES[unit]
    assert lab.run("systemctl", "show", "-P", "AmbientCapabilities", unit.replace("@.", "@test.")).stdout == "\n"


@pytest.mark.parametrize("unit", [*CAPABILITIES, "isod-session.service"])
def test_memory_tasks_and_descriptors_of_a_unit_are_bounded(lab: Lab, unit: str) -> None:
    manager = ["--user"] if unit in USER_UNITS else []
    user = "alice" if manager else "root"
    names = ("MemoryMax", "TasksMax", "LimitNOFILE", "LimitCORE")
    asked = (f"-p{name}" for name in names)
    shown = lab.run("systemctl", *manager, "show", unit.replace("@.", "@test."), *asked, user=user)
    values = dict(line.split("=") for line in shown.stdout.split())
    assert "infinity" not in values.values()
    assert int(values["MemoryMax"]) <= 256 * 1024 * 1024
    assert int(values["TasksMax"]) <= 64
    assert values["LimitCORE"] == "0"


@pytest.fixture
def short_watchdog(lab: Lab) -> Iterator[None]:
    with unit_settings(lab, "isod.service", "WatchdogSec=2s", restart=True):
        yield


def main_pid(lab: Lab) -> str:
    return lab.run("systemctl", "show", "-P", "MainPID", "isod").stdout.strip()


def test_a_stopped_loop_is_started_again_and_apps_live_on(lab: Lab, short_watchdog: None) -> None:
    """R18: the heartbeat comes from the loop, so whatever holds the loop ends in the watchdog."""
    path = run_app(lab, "alice", "blog", "sleep", "4820")
    wait_for_state(lab, "alice", path, "running")
    before = main_pid(lab)
    try:
        lab.run("kill", "-STOP", before)
        lab.wait_for(lambda: main_pid(lab) not in {before, "0"}, 60, "the watchdog did not end it")
        assert apps(lab, "alice")[path]["State"] == "running"
        # Not by NRestarts=: an isod that is ready sets the count back (F10).
        assert "Watchdog timeout" in lab.run("journalctl", "--unit=isod.service", "--lines=100", "--no-pager").stdout
    finally:
        # Tests after this one count apps.
        lab.run("isoctl", "kill", path.rsplit("/", 1)[1], user="alice")
    wait_for_state(lab, "alice", path, "exited")


@pytest.fixture
def without_user_namespaces(lab: Lab) -> Iterator[None]:
    """Carol's systemd and all that it starts may make none, as on a host that forbids them."""
    with unit_settings(lab, "user@1003.service", "RestrictNamespaces=~user", restart=True):
        yield


# her systemd makes its sockets anew
@pytest.mark.breaks("host-files")
def test_the_example_for_hosts_without_user_namespaces_is_all_that_it_takes(
    lab: Lab, without_user_namespaces: None
) -> None:
    restart = ("systemctl", "--user", "restart", "isod-session")
    assert lab.run(*restart, user="carol", check=False).returncode != 0
    example = lab.host_path("/usr/share/doc/isoctl/examples/isod-session-without-user-namespaces.conf")
    drop_in = lab.host_path("/etc/systemd/user/isod-session.service.d/example.conf")
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(example.read_text())
    try:
        lab.run("systemctl", "--user", "daemon-reload", user="carol")
        lab.run("systemctl", "--user", "stop", "isod-session", user="carol")
        lab.run("systemctl", "--user", "reset-failed", user="carol", check=False)
        lab.run(*restart, user="carol")
        call = ("busctl", "--user", "call", "org.isoctl1", "/org/isoctl1", "org.isoctl1.Manager", "ListContainers")
        assert "shared" in lab.run(*call, user="carol").stdout
    finally:
        drop_in.unlink()
        drop_in.parent.rmdir()
