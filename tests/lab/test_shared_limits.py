"""What all users share: at its limit, over it, through a restart of isod there, and back, with a real systemd."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from isod_contract import limits
from lab import crowd
from lab.enter import LabProcess
from lab.machine import Lab

SCRIPT = Path(crowd.__file__).read_text()
# dbus-daemon(1): match rules of one connection
MATCH_RULES_MAX = 512


@contextmanager
def crowded(
    lab: Lab, user: str, kind: str, count: int, *containers: str
) -> Iterator[tuple[LabProcess, dict[str, Any]]]:
    """Launch so many apps; those attached end with the process, which is given with what became of the launches."""
    argv = ("python3", "-c", SCRIPT, kind, str(count), *containers)
    with lab.popen(*argv, user=user, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        told = json.loads(process.stdout.readline())
        yield process, told
        process.stdin.close()
        process.wait(60)


def alive(lab: Lab, *containers: str) -> int:
    """Count the apps whose processes are there, whatever isod knows."""
    counts = [lab.in_container(name, "pgrep", "-c", "-f", "sleep 99999", check=False).stdout for name in containers]
    return sum(map(int, counts))


def wait_until_alive(lab: Lab, count: int, *containers: str) -> None:
    lab.wait_for(lambda: alive(lab, *containers) == count, 120, f"there are not {count} apps")


def wait_until_counted(lab: Lab, count: int) -> None:
    """Wait until isod says that it follows so many apps."""

    def counted() -> int:
        lab.run("systemctl", "kill", "--signal=USR1", "isod")
        told = lab.journal(unit="isod.service", ISOCTL_EVENT="daemon.counters")
        return int(told[-1]["ISOCTL_APPS"]) if told else -1

    lab.wait_for(lambda: counted() == count, 60, f"isod does not follow {count} apps")


@pytest.mark.attack("C45")
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_more_apps_in_a_container_than_a_bus_allows_match_rules(lab: Lab) -> None:
    """F2: with the 511th app of alice's nobody could launch there any more, also not after a restart of isod."""
    count = MATCH_RULES_MAX + 48
    lab.start("shared")
    with crowded(lab, "alice", "detached", count, "shared") as (_, told):
        assert told["ended"] == {"": count}
        wait_until_alive(lab, count, "shared")
        for _ in range(2):
            done = lab.run("isoctl", "run", "shared", "sh", "-c", "exit 7", user="carol", check=False)
            assert (done.returncode, done.stderr) == (7, "")
            lab.run("systemctl", "restart", "isod")
        wait_until_counted(lab, count)
    lab.stop_container("shared")
    wait_until_counted(lab, 0)


@pytest.fixture
def many_apps(lab: Lab) -> Iterator[None]:
    """A policy that lets alice have as many apps as any user may, and starts a few at once: the machine is busy."""
    settings = lab.host_path("/etc/isod/isod.toml")
    before = settings.read_text()
    settings.write_text(f"[limits]\napps = {limits.PER_UID['apps'].most}\nlaunches_starting = 4\n")
    lab.run("isoctl", "reload")
    yield
    settings.write_text(before)
    lab.run("isoctl", "reload")


@pytest.mark.attack("C45")
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.breaks("stall")
def test_isod_starts_again_with_as_many_attached_apps_as_it_takes(lab: Lab, many_apps: None) -> None:
    """F1, B9: the names of 3,100 stored descriptors made isod impossible to execute, for everybody and for good."""
    containers = ("blog", "shared", "net")
    for name in containers:
        lab.start(name)
    most = limits.ATTACHED_APPS_MAX
    with crowded(lab, "alice", "attached", most + 5, *containers) as (_, told):
        assert told["ended"] == {"": most, "LimitExceeded": 5}
        assert f"{most} apps of all users" in told["text"]
        wait_until_alive(lab, most, *containers)
        # What is detached costs no descriptor, and who has few gets in.
        assert lab.run("isoctl", "run", "bobs", "sh", "-c", "exit 3", user="bob", check=False).returncode == 3
        pid = lab.run("systemctl", "show", "-P", "MainPID", "isod").stdout
        lab.run("systemctl", "restart", "isod", timeout_sec=120)
        assert lab.run("systemctl", "show", "-P", "MainPID", "isod").stdout != pid
        assert lab.run("isoctl", "run", "bobs", "sh", "-c", "exit 3", user="bob", check=False).returncode == 3
        assert alive(lab, *containers) == most
        wait_until_counted(lab, most)
        with crowded(lab, "alice", "attached", 2, "blog") as (_, late):
            assert late["ended"] == {"LimitExceeded": 2}
    # Back: their caller has left, so they end, and there is room again.
    wait_until_alive(lab, 0, *containers)
    wait_until_counted(lab, 0)
    with crowded(lab, "alice", "attached", 20, "blog") as (_, told):
        assert told["ended"] == {"": 20}
