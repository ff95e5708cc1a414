"""What containers and other users reach of isod by other ways than its calls: sockets, signals, settings, disks."""

import statistics
import time
from collections.abc import Callable

import pytest

from lab.machine import Lab

PROGRAMS = ("isod", "isod-session", "isod-helper", "isod-prepare")
GET_BUS_ID = ("busctl", "--user", "call", *("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetId"))
# Prints the inodes of the abstract sockets that programs of ours have, each in its own network namespace.
ABSTRACT = f"""
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{{pid}}/cmdline").read().split("\\0")
        if not any(word.rpartition("/")[2] in {PROGRAMS} for word in words):
            continue
        own = {{os.readlink(f"/proc/{{pid}}/fd/{{fd}}") for fd in os.listdir(f"/proc/{{pid}}/fd")}}
        print("looked at", pid)
        for line in open(f"/proc/{{pid}}/net/unix").read().splitlines()[1:]:
            fields = line.split()
            if len(fields) > 7 and fields[7].startswith("@") and f"socket:[{{fields[6]}}]" in own:
                print("abstract", words, fields[7])
    except OSError:
        continue
"""
# Signals every process of isod's units, as whoever runs it, until its standard input ends.
SIGNALLER = """
import os, select, sys
print("ready", flush=True)
tried = reached = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    for unit in os.listdir("/sys/fs/cgroup/system.slice"):
        if not unit.startswith(("isod", "system-isod")):
            continue
        for directory, _, files in os.walk(f"/sys/fs/cgroup/system.slice/{unit}"):
            try:
                pids = open(directory + "/cgroup.procs").read().split()
            except OSError:
                continue
            for pid in pids:
                tried += 1
                try:
                    os.kill(int(pid), 0)
                    reached += 1
                except (PermissionError, ProcessLookupError):
                    pass
print(tried, reached)
"""


@pytest.mark.attack("C25")
def test_no_socket_of_ours_is_abstract(lab: Lab) -> None:
    """CVE-2020-15257, CVE-2022-41974: all that share the network reach an abstract socket, whatever their files are."""
    lab.run("isoctl", "run", "priv", "true", user="alice")
    lab.run("systemctl", "--user", "start", "isod-session", user="alice")
    found = lab.run("python3", "-c", ABSTRACT).stdout.splitlines()
    assert len([line for line in found if line.startswith("looked")]) >= 2
    assert [line for line in found if line.startswith("abstract")] == []


@pytest.mark.attack("C33")
def test_no_user_can_signal_what_works_for_him(lab: Lab, attempts: Callable[..., int]) -> None:
    """CVE-2020-16126: accountsservice took its caller's uid for a while, and he could stop it in the middle."""
    with lab.popen("python3", "-c", SIGNALLER, user="alice", stdin=-1, stdout=-1) as signaller:
        assert signaller.stdin is not None
        assert signaller.stdout is not None
        assert signaller.stdout.readline() == b"ready\n"
        for turn in range(6):
            # A new isod connects to the container's bus by the helper, which takes the uid of its root.
            if turn % 3 == 0:
                lab.run("systemctl", "restart", "isod")
            assert lab.run("isoctl", "run", "priv", "true", user="alice").returncode == 0
        signaller.stdin.close()
        tried, reached = map(int, signaller.stdout.readline().split())
    attempts(tried)
    assert tried > 100
    assert reached == 0


@pytest.mark.attack("C24")
def test_settings_that_lie_in_a_container_change_nothing_of_it(lab: Lab) -> None:
    """CVE-2026-40226: nspawn takes settings from files; what its container writes must never be among them."""
    settings = b"[Exec]\nCapability=all\n[Files]\nBind=/etc/shadow:/x\nBind=/root:/y\n"
    lab.start("evil")
    places = ("/evil.nspawn", "/etc/systemd/nspawn/evil.nspawn", "/run/systemd/nspawn/evil.nspawn")
    before = lab.in_container("evil", "grep", "Cap", "/proc/1/status").stdout
    for place in places:
        lab.in_container("evil", "sh", "-c", f"mkdir -p $(dirname {place}); cat > {place}", stdin=settings)
    try:
        lab.stop_container("evil")
        assert lab.run("isoctl", "run", "evil", "true", user="alice").returncode == 0
        assert lab.in_container("evil", "grep", "Cap", "/proc/1/status").stdout == before
        assert lab.in_container("evil", "ls", "/x", "/y", check=False).stdout == ""
    finally:
        lab.in_container("evil", "rm", "-f", *places)


@pytest.mark.attack("C31")
def test_what_fills_a_directory_of_garbage_roots_slows_no_launch(lab: Lab, attempts: Callable[..., int]) -> None:
    """The host's garbage collector follows these, and root in the container may write them; isod must not."""

    def launch_sec() -> float:
        started_sec = time.monotonic()
        assert lab.run("isoctl", "run", "evil", "true", user="alice").returncode == 0
        return time.monotonic() - started_sec

    lab.start("evil")
    directory = "/nix/var/nix/gcroots"
    try:
        lab.in_container("evil", "mkdir", "-p", directory)
        launch_sec()
        before_sec = statistics.median(launch_sec() for _ in range(7))
        count = attempts(100_000, 20_000)
        links = f"import os\nfor number in range({count}): os.symlink('/', f'{directory}/per-user/{{number}}')"
        lab.in_container("evil", "python3", "-c", links)
        assert statistics.median(launch_sec() for _ in range(7)) < 2 * before_sec + 0.2
    finally:
        lab.in_container("evil", "rm", "-rf", "/nix")


@pytest.mark.attack("C34")
def test_no_socket_of_the_users_session_is_inside(lab: Lab) -> None:
    """Session bus, sound and portals of the host: who has one of their sockets is the user."""
    listed = "find /run/user -type s -printf '%D:%i %p\\n'"
    hosts = dict(line.split(" ") for line in lab.run("sh", "-c", listed).stdout.splitlines())
    assert "/run/user/1000/bus" in hosts.values()
    for container in ("blog", "priv", "net", "plain"):
        lab.run("isoctl", "run", container, "true", user="alice")
        script = "find / -xdev -type s -printf '%D:%i\\n'; find /run /tmp /dev /var -type s -printf '%D:%i\\n'"
        inside = set(lab.in_container(container, "sh", "-c", f"({script}) 2>/dev/null; true").stdout.split())
        assert inside
        assert not inside & hosts.keys()
        bus_id = lab.run("isoctl", "run", container, *GET_BUS_ID, user="alice").stdout
        assert bus_id.startswith("s ")
        assert bus_id != lab.run(*GET_BUS_ID, user="alice").stdout
