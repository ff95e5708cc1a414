"""A machine that somebody registers under a container's name, and names that are none."""

import json
import subprocess
from collections.abc import Callable

import pytest

from isod_contract.errors import PREFIX
from lab.caller import BusCaller
from lab.machine import Lab

# Each would be another unit, another path or another container for somebody along the way.
ODD_NAMES = (
    "", ".", "..", ".host", "alice@blog", "alice@.host", "blog.", ".blog", "BLOG", "blog\n", "blog ", " blog",
    "../blog", "blog/../evil", "blog\t", "x" * 65, "%i", "%u", "a@b", "a\\x2db", "-a", "a-", "blog.service",
    "container@blog.service", "blog\x1b[2J", "blog\u202e", "\u0431log", "blog;id", "$(id)", "--help",
)  # fmt: skip
MACHINED = ("busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
            "org.freedesktop.machine1.Manager")  # fmt: skip
REGISTER = (*MACHINED, "RegisterMachine", "sayssus")
UNREGISTER = (*MACHINED, "UnregisterMachine", "s")


def register(lab: Lab, name: str, pid: int, user: str = "root") -> subprocess.CompletedProcess[str]:
    """Register a process as the machine of that name."""
    return lab.run(*REGISTER, name, "0", "", "container", str(pid), "", user=user, check=False)


def mounts(lab: Lab, pid: int) -> list[str]:
    """What a process sees mounted, but for the directories that isod makes for all containers on the host."""
    lines = lab.run("cat", f"/proc/{pid}/mountinfo").stdout.splitlines()
    return [line for line in lines if " /run/isod/container/" not in line]


@pytest.mark.attack("C04")
def test_mallory_as_a_machine_of_that_name_gets_nothing(lab: Lab) -> None:
    """S04, CVE-2016-6349, systemd#38911: from systemd 259 on, users register machines without being asked."""
    lab.stop_container("evil")
    with lab.popen("sh", "-c", "echo $$; exec sleep 600", user="mallory", stdout=subprocess.PIPE) as sleeper:
        try:
            assert sleeper.stdout is not None
            pid = int(sleeper.stdout.readline())
            before = mounts(lab, pid)
            if register(lab, "evil", pid, user="mallory").returncode:
                # An older machined asks root first; he does not look.
                assert register(lab, "evil", pid).returncode == 0
            assert lab.run("machinectl", "show", "evil", "-P", "Unit").stdout.startswith("user@1002")
            done = lab.run("isoctl", "run", "evil", "id", user="alice", check=False)
            assert (done.returncode, done.stdout) == (125, "")
            assert done.stderr.startswith("isoctl: container 'evil'")
            assert mounts(lab, pid) == before
            assert sleeper.poll() is None
            children = lab.run("pgrep", "-u", "mallory", "-a", check=False).stdout
            assert "isoctl" not in children
            assert lab.run("isoctl", "run", "blog", "true", user="alice").returncode == 0
        finally:
            sleeper.end()
            # What runs as evil by now is nspawn's own; mallory's stays registered as long as her session lasts.
            lab.run(*UNREGISTER, "evil", check=False)
    lab.run("systemctl", "reset-failed", lab.unit("evil"), check=False)
    assert lab.run("isoctl", "run", "evil", "true", user="alice").returncode == 0


@pytest.mark.attack("C04", "C10")
def test_what_is_no_name_is_no_container(lab: Lab, attempts: Callable[..., int]) -> None:
    """S04, S10, CVE-2021-33910: a name that is another's after unescaping, or no unit's at all."""
    with BusCaller(lab, "alice") as alice:
        for name in ODD_NAMES:
            for answer in (
                alice.manager("GetContainer", "s", name),
                alice.manager("Run", "sasa{sv}", name, ["true"], {}),
                alice.manager("Explain", "ssa{sv}", name, "run", {}),
            ):
                assert answer.error == PREFIX + "NoSuchContainer", (name, answer)
                assert answer.body[0].isprintable()
    attempts(3 * len(ODD_NAMES))
    units = lab.run("systemctl", "list-units", "--all", "--plain", "--output=json").stdout
    known = {unit["unit"] for unit in json.loads(units)}
    assert not [unit for unit in known if unit.startswith("container@") and "\\x" in unit]
