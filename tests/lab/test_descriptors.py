"""Descriptors that callers send to the real isod: none stays, none of a wrong kind enters, an app has its own three."""

import json
import subprocess
from collections.abc import Callable

import pytest

from isod_contract.errors import PREFIX
from lab import isod_process
from lab.machine import Lab

# Sends calls that must be refused, each with four descriptors; prints how often which error came.
REFUSED = """
import collections, json, os, sys
from jeepney import DBusAddress, HeaderFields, new_method_call
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection("SYSTEM", enable_fds=True)
file = os.open("/etc/passwd", os.O_RDONLY)
names = ("stdin", "stdout", "stderr", "lifetime")
def call(member, container, argv, options, signature="sasa{sv}"):
    address = DBusAddress("/org/isoctl1", "org.isoctl1", "org.isoctl1.Manager")
    message = new_method_call(address, member, signature, (container, argv, options)[: 3 if "{" in signature else 2])
    return bus.send_and_get_reply(message, timeout=60).header.fields.get(HeaderFields.error_name, "ok")
def four():
    return {name: ("h", file) for name in names}
seen = collections.Counter()
for number in range(int(sys.argv[1])):
    kind = number % 5
    if kind == 0:
        seen[call("Run", "absent", ["true"], four())] += 1
    elif kind == 1:
        seen[call("Run", "blog", ["true"], four())] += 1
    elif kind == 2:
        seen[call("Run", "blog", ["true"], {**four(), "colour": ("s", "red")})] += 1
    elif kind == 3:
        seen[call("Walk", "blog", ["true"], four())] += 1
    else:
        seen[call("Run", "blog", [], four())] += 1
print(json.dumps(seen))
"""
# Offers isod one descriptor of each kind as stdin, from the terminal that it is started on; prints the errors.
KINDS = """
import fcntl, json, os, select, socket, sys
from jeepney import DBusAddress, HeaderFields, new_method_call
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection("SYSTEM", enable_fds=True)
master, slave = os.openpty()
epoll = select.epoll()
kinds = {
    "terminal": 0, "pty master": master, "pty slave": slave,
    "file": os.open("/etc/passwd", os.O_RDONLY), "directory": os.open("/", os.O_RDONLY),
    "O_PATH": os.open("/", os.O_PATH), "O_PATH file": os.open("/etc/passwd", os.O_PATH),
    "zero": os.open("/dev/zero", os.O_RDONLY), "full": os.open("/dev/full", os.O_RDONLY),
    "memfd": os.memfd_create("m"), "eventfd": os.eventfd(0), "epoll": epoll.fileno(),
    "pidfd": os.pidfd_open(os.getpid()), "namespace": os.open("/proc/self/ns/mnt", os.O_RDONLY),
    "proc": os.open("/proc/self/maps", os.O_RDONLY),
    "cgroup": os.open("/sys/fs/cgroup/cgroup.procs", os.O_RDONLY),
    "datagrams": socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach(),
    "packets": socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).detach(),
    "netlink": socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).detach(),
    "write end": os.pipe()[1],
}
address = DBusAddress("/org/isoctl1", "org.isoctl1", "org.isoctl1.Manager")
errors = {}
for kind, fd in kinds.items():
    message = new_method_call(address, "Run", "sasa{sv}", ("blog", ["true"], {"stdin": ("h", fd)}))
    errors[kind] = bus.send_and_get_reply(message, timeout=60).header.fields.get(HeaderFields.error_name, "ok")
print("RESULT", json.dumps(errors), "END")
"""


@pytest.mark.attack("C12")
def test_a_thousand_refused_messages_with_four_descriptors_each(lab: Lab, attempts: Callable[..., int]) -> None:
    """S12, CVE-2020-12049, CVE-2021-4115: a root daemon without descriptors serves nobody."""
    assert lab.run("isoctl", "run", "blog", "true", user="alice").returncode == 0
    before = isod_process.open_fds(lab)
    done = lab.run("python3", "-c", REFUSED, str(attempts(1000)), user="alice", timeout_sec=110)
    errors = json.loads(done.stdout)
    assert sum(errors.values()) == 1000
    assert errors == {
        f"{PREFIX}NoSuchContainer": 200,
        f"{PREFIX}UnsafeFd": 200,
        f"{PREFIX}InvalidArgument": 400,
        "org.freedesktop.DBus.Error.AccessDenied": 200,  # the bus itself: a method that is not declared
    }
    lab.wait_for(lambda: len(isod_process.open_fds(lab)) <= len(before), 10, "isod keeps what it was sent")


@pytest.mark.attack("C12")
@pytest.mark.timeout(600)
def test_whole_lives_of_apps_and_containers_leave_no_descriptor(lab: Lab, attempts: Callable[..., int]) -> None:
    """S12: as Incus counts, start to stop; CVE-2024-21626 was one descriptor of a directory that stayed open."""

    def live() -> None:
        assert lab.run("isoctl", "run", "net", "--", "sh", "-c", "cat; echo", user="alice").returncode == 0
        assert lab.run("isoctl", "run", "-d", "net", "sleep", "600", user="alice").returncode == 0
        assert lab.run("isoctl", "stop", "net", user="alice").returncode == 0

    live()
    before = isod_process.open_fds(lab)
    for _ in range(attempts(20, 6)):
        lab.run("systemctl", "reset-failed", lab.unit("net"), check=False)
        live()
    lab.wait_for(lambda: len(isod_process.open_fds(lab)) <= len(before) + 2, 10, "isod keeps descriptors")


@pytest.mark.attack("C12", "C11")
def test_every_other_kind_is_refused_by_the_real_isod(lab: Lab, attempts: Callable[..., int]) -> None:
    """S12, CVE-2025-8067, CVE-2017-5226: what a container could reopen, or inject input by."""
    assert lab.run("isoctl", "run", "blog", "true", user="alice").returncode == 0
    before = isod_process.open_fds(lab)
    with lab.pty("python3", "-c", KINDS, user="alice", columns=4000) as terminal:
        shown = terminal.read_until("END", 30).decode()
    errors = json.loads(shown[shown.index("{") : shown.rindex("}") + 1])
    attempts(len(errors))
    assert set(errors.values()) == {f"{PREFIX}UnsafeFd"}, errors
    lab.wait_for(lambda: len(isod_process.open_fds(lab)) <= len(before), 10, "isod keeps what it was sent")


@pytest.mark.attack("C12")
@pytest.mark.parametrize("container", ["evil", "priv"])
def test_an_app_has_its_three_descriptors_and_no_other(lab: Lab, container: str) -> None:
    """CVE-2024-21626, CVE-2016-8649."""
    done = lab.run("isoctl", "run", container, "--", "sh", "-c", "ls /proc/$$/fd; ls -l /proc/$$/fd", user="alice",
                   stdin=subprocess.DEVNULL)  # fmt: skip
    assert done.stdout.split("total")[0].split() == ["0", "1", "2"]
    assert {line.rpartition(" -> ")[2].partition(":")[0] for line in done.stdout.splitlines() if "->" in line} <= {
        "pipe",
        "socket",
        "/dev/null",
    }
