"""A container whose root plants traps where isod walks: it refuses, changes nothing outside and waits for nobody."""

import os
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import isod_process
from lab.machine import Lab

VICTIM = "/srv/victim"
PROFILES, GCROOTS = "/nix/var/nix/profiles", "/nix/var/nix/gcroots"
# How a trap is made at $1, with a name on the host that a wrong step would change.
TRAPS = {
    "link": f'ln -s {VICTIM} "$1"',
    "relative link": f'ln -s ../../../../../../../../..{VICTIM} "$1"',
    "link to itself": 'ln -s "$1" "$1"',
    "link through proc": f'ln -s /proc/1/root{VICTIM} "$1"',
    "fifo": 'mkfifo "$1"',
    "file": 'touch "$1"',
    "device": 'mknod "$1" c 1 3',
    "socket": 'python3 -c "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])" "$1"',
    "proc": 'mkdir "$1" && mount --bind /proc "$1"',
}
# Exchanges a directory and a link without a pause, until its standard input ends.
EXCHANGE = f"""
import ctypes, os, select, sys
libc = ctypes.CDLL(None)
one, other = b"{GCROOTS}/per-user", b"{GCROOTS}/other"
os.symlink("{VICTIM}", other)
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(200):
        libc.renameat2(-100, one, -100, other, 2)
os.system("rm -rf /nix")
"""
# A FUSE file system that never answers, not even to its mount: whoever walks there waits. Its device is open already.
STALL = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
target = b"{PROFILES}/per-user"
os.makedirs(target)
options = f"fd={{sys.argv[1]}},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"stall", target, b"fuse", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
print("ready", flush=True)
sys.stdin.read()
libc.umount2(target, 3)
"""
# Holds a trap in the place of passwd until its standard input ends.
TRAPPED_PASSWD = (
    "mv /etc/passwd /etc/passwd.real; {}; echo ready; cat; rm -rf /etc/passwd; mv /etc/passwd.real /etc/passwd"
)
RUN_TIMES = """
import subprocess, sys
for _ in range(int(sys.argv[1])):
    done = subprocess.run(["isoctl", "run", "evil", "true"], capture_output=True, text=True)
    print(f"{done.returncode} {done.stderr}".strip())
"""


@pytest.fixture
def victim(lab: Lab) -> Iterator[Callable[[], str]]:
    """A directory of the host, the same in evil; gives a function that lists all there is to know of it."""
    script = f"mkdir -p {VICTIM}/alice {VICTIM}/per-user/alice; chmod 750 {VICTIM} {VICTIM}/*; touch {VICTIM}/file"
    lab.run("sh", "-c", script)
    lab.start("evil")
    lab.in_container("evil", "sh", "-c", script)
    yield lambda: lab.run("find", VICTIM, "-printf", "%p %U %G %m %y %i %C@\n").stdout
    lab.run("rm", "-r", VICTIM)
    lab.in_container("evil", "rm", "-r", VICTIM)


def run(lab: Lab, container: str = "evil") -> tuple[float, subprocess.CompletedProcess[str]]:
    started_sec = time.monotonic()
    done = lab.run("isoctl", "run", container, "true", user="alice", check=False)
    return time.monotonic() - started_sec, done


@pytest.mark.attack("C01")
@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("place", [f"{PROFILES}/per-user", f"{GCROOTS}/per-user/alice", PROFILES])
def test_a_trap_ends_in_unsafe_path(lab: Lab, victim: Callable[[], str], place: str, trap: str) -> None:
    """S01a to S01e, S01g: CVE-2021-44731, CVE-2021-30465, GHSA-8688-9x26-hhxj, GHSA-fqx6-vh4p-42cg."""
    prepare = f"mkdir -p {PROFILES} {GCROOTS}; mkdir -p $(dirname $1); rm -rf $1;"
    lab.in_container("evil", "sh", "-c", prepare + TRAPS[trap], "sh", place)
    before = victim()
    try:
        elapsed_sec, done = run(lab)
        assert done.returncode == 125
        assert done.stderr.startswith("isoctl: unsafe path '/nix/var/nix/")
        assert elapsed_sec < 5
        assert victim() == before
    finally:
        lab.in_container("evil", "sh", "-c", 'umount -q "$1"; rm -rf /nix', "sh", place)
    assert run(lab)[1].returncode == 0


@pytest.mark.attack("C01")
def test_a_directory_of_somebody_else_is_not_given_away(lab: Lab) -> None:
    """S01f, CVE-2018-15687: whose it is decides, and isod changes no owner but of what it made."""
    lab.start("evil")
    place = f"{PROFILES}/per-user/alice"
    lab.in_container("evil", "sh", "-c", f"mkdir -p {place} {GCROOTS}; chown 1001:1001 {place}")
    try:
        assert "owned by uid 1001, not 1000" in run(lab)[1].stderr
        assert lab.in_container("evil", "stat", "-c", "%u %a", place).stdout == "1001 755\n"
    finally:
        lab.in_container("evil", "rm", "-rf", "/nix")


@pytest.mark.attack("C01")
@pytest.mark.timeout(1800)
def test_a_directory_and_a_link_that_change_places_all_the_time(
    lab: Lab, victim: Callable[[], str], attempts: Callable[..., int]
) -> None:
    """S01h, CVE-2018-15664: what was checked is no longer there when it is used, unless it is held."""
    lab.in_container("evil", "mkdir", "-p", f"{GCROOTS}/per-user")
    before = victim()
    pipe = subprocess.PIPE
    with lab.container_popen("evil", "python3", "-c", EXCHANGE, stdin=pipe, stdout=pipe) as exchange:
        assert exchange.stdin is not None
        assert exchange.stdout is not None
        assert exchange.stdout.readline() == b"ready\n"
        count = attempts(2000, 160)
        halves = [lab.popen("python3", "-c", RUN_TIMES, str(count // 2), user="alice", stdout=pipe) for _ in range(2)]
        lines = [line for half in halves for line in half.communicate(timeout=1500)[0].decode().splitlines()]
        exchange.stdin.close()
    outcomes = Counter("refused" if line.startswith("125 isoctl: unsafe path '/nix") else line for line in lines)
    assert outcomes.keys() <= {"0", "refused"}
    assert outcomes["refused"]
    assert len(lines) == count // 2 * 2
    assert victim() == before


def _threads(lab: Lab) -> int:
    return len(list(Path(f"/proc/{isod_process.pid(lab)}/task").iterdir()))


@pytest.mark.attack("C01")
@pytest.mark.skipif(not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="needs /dev/fuse")
def test_a_file_system_that_never_answers_costs_its_container_seconds_and_others_nothing(lab: Lab) -> None:
    """S01i: a FUSE mount of the container's root would hold a stat for ever."""
    for container in ("evil", "blog"):
        run(lab, container)
    pipe = subprocess.PIPE
    with (
        open("/dev/fuse", "rb+", buffering=0) as device,
        lab.container_popen(
            "evil", "python3", "-c", STALL, str(device.fileno()), stdin=pipe, stdout=pipe, pass_fds=[device.fileno()]
        ) as stall,
    ):
        assert stall.stdin is not None
        assert stall.stdout is not None
        assert stall.stdout.readline() == b"ready\n"
        with lab.popen("isoctl", "run", "evil", "true", user="alice", stderr=pipe) as attacked:
            started_sec = time.monotonic()
            others = [run(lab, "blog") for _ in range(5)]
            _, stderr = attacked.communicate(timeout=60)
            took_sec = time.monotonic() - started_sec
        assert (attacked.returncode, stderr) == (
            125,
            b"isoctl: unsafe path '/' in container 'evil': no answer within 5 s\n",
        )
        assert took_sec < 10
        assert [done.returncode for _, done in others] == [0] * 5
        assert statistics.median(elapsed_sec for elapsed_sec, _ in others) < 1.0
        # Its thread is still held: nobody waits behind it, and no second one is.
        threads = _threads(lab)
        assert run(lab)[1].returncode == 125
        # One that closes descriptors ends by itself when it has none left.
        lab.wait_for(lambda: _threads(lab) <= threads, 5, "a second thread is held")
        stall.stdin.close()
        stall.wait(20)
    lab.in_container("evil", "rm", "-rf", "/nix")
    lab.wait_for(lambda: run(lab)[1].returncode == 0, 10, "evil is not served again")


@pytest.mark.attack("C02")
@pytest.mark.parametrize(
    "trap",
    ["mkfifo /etc/passwd", "truncate -s 10G /etc/passwd", "ln -s /etc/passwd.real /etc/passwd", "mkdir /etc/passwd"],
)
def test_accounts_are_read_from_a_small_regular_file_or_not_at_all(lab: Lab, trap: str) -> None:
    """S02c: a FIFO would hold isod, a sparse file fill its memory, a link show the host's accounts."""
    run(lab)
    pipe = subprocess.PIPE
    with lab.container_popen("evil", "sh", "-c", TRAPPED_PASSWD.format(trap), stdin=pipe, stdout=pipe) as trapped:
        assert trapped.stdin is not None
        assert trapped.stdout is not None
        assert trapped.stdout.readline() == b"ready\n"
        elapsed_sec, done = run(lab)
        trapped.stdin.close()
    assert done.returncode == 125
    assert done.stderr.startswith("isoctl: unsafe path '/etc/passwd' in container 'evil'")
    assert elapsed_sec < 5
    assert run(lab)[1].returncode == 0


@pytest.mark.attack("C02", "C09")
def test_accounts_with_hostile_lines_give_no_other_uid(lab: Lab) -> None:
    """CVE-2020-13776, CVE-2017-1000082: a user that is no name ran as root."""
    lines = b"alice:x:0x0:0::/root:/bin/sh\nalice:x:-1:0::/:/bin/sh\n\x1b[2J:x:0:0::/:/bin/sh\nalice\n:::::::\n"
    lab.start("evil")
    script = "cp -p /etc/passwd /etc/passwd.real; cat - /etc/passwd.real > /etc/passwd"
    lab.in_container("evil", "sh", "-c", script, stdin=lines)
    try:
        done = lab.run("isoctl", "run", "evil", "id", "-u", user="alice")
        assert done.stdout == "1000\n"
        for account in ("0", "root", "0x0", "0day", "4294967295", "65535", "-1", "\x1b[2J", "no such", "a" * 40):
            refused = lab.run("isoctl", "run", f"--user={account}", "evil", "id", user="alice", check=False)
            assert refused.returncode in (2, 125)
            assert refused.stdout == ""
            assert "\x1b" not in refused.stderr
    finally:
        lab.in_container("evil", "mv", "/etc/passwd.real", "/etc/passwd")


@pytest.mark.attack("C02")
def test_nothing_of_a_container_is_opened_by_a_path_or_executed(lab: Lab) -> None:
    """S02d, CVE-2019-14271, CVE-2022-1227: a daemon that ran the container's programs, or loaded its libraries."""
    run(lab)
    trace = "/run/isod.strace"
    pid = lab.run("systemctl", "show", "-P", "MainPID", "isod").stdout.strip()
    command = ("strace", "-f", "-qq", "-e", "trace=open,openat,execve,execveat", "-o", trace, "-p", pid)
    with lab.popen(*command, stderr=subprocess.DEVNULL) as tracer:
        lab.wait_for(lambda: f"TracerPid:\t{0}\n" not in lab.run("cat", f"/proc/{pid}/status").stdout)
        for _ in range(5):
            assert run(lab)[1].returncode == 0
        tracer.end()
    calls = lab.run("cat", trace).stdout
    lab.run("rm", trace)
    # records of apps are written, so there is something to see
    assert "/run/isod/state" in calls or "openat(" in calls
    assert "exec" not in calls
    assert "/var/lib/machines" not in calls
    assert "/root/" not in calls
