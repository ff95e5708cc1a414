"""Descriptors whose close(2) or fstat(2) never ends, sent to isod by any user: isod's one thread must not do either."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import mute_fuse
from lab.enter import LabProcess
from lab.machine import Lab

SERVER = Path(mute_fuse.__file__).read_text()
PLACE = "/tmp/mute"
# Each gives a descriptor in another place of a message, or where no method takes one.
SENDER = """
import sys
from jeepney import DBusAddress, new_method_call
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection("SYSTEM", enable_fds=True)
root = DBusAddress("/org/isoctl1", "org.isoctl1", "org.isoctl1.Manager")

calls = {
    "stdin": lambda fd: ("Run", "sasa{sv}", ("blog", ["true"], {"stdin": ("h", fd)})),
    "lifetime": lambda fd: ("Run", "sasa{sv}", ("blog", ["true"], {"lifetime": ("h", fd)})),
    "session": lambda fd: ("RegisterSession", "a{sv}", ({"socket": ("h", fd), "socket-name": ("s", "wayland-0")},)),
    "no option": lambda fd: ("Run", "sasa{sv}", ("blog", ["true"], {"mallory": ("h", fd)})),
    "no method": lambda fd: ("Mallory", "h", (fd,)),
}
for number in range(int(sys.argv[1])):
    for name, call in calls.items():
        with open("/tmp/mute/file", "rb", buffering=0) as file:
            try:
                reply = bus.send_and_get_reply(new_method_call(root, *call(file)), timeout=10)
            except TimeoutError:
                sys.exit(f"no answer: {name}")
            print(name, reply.header.fields.get(4, ""), flush=True)
"""


@pytest.fixture
def mute(lab: Lab) -> Iterator[LabProcess]:
    pid = lab.run("systemctl", "show", "-P", "MainPID", "isod").stdout.strip()
    lab.run("mkdir", "-p", PLACE)
    argv = ("python3", "-c", SERVER, PLACE, pid)
    with lab.popen(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        assert server.stdout.readline() == b"mounted\n"
        yield server
        server.stdin.close()
        server.wait(20)


def answers(lab: Lab) -> None:
    """See that another user is answered at once, and may launch."""
    done = lab.run("isoctl", "run", "bobs", "sh", "-c", "exit 3", user="bob", check=False, timeout_sec=20)
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.attack("C57")
@pytest.mark.breaks("fds", "tasks")
def test_a_file_whose_close_never_ends_stops_nobody(lab: Lab, mute: LabProcess) -> None:
    """Second attack, 1: FUSE_FLUSH was answered for others' closes only, and isod stood for good."""
    lab.start("bobs")
    done = lab.run("python3", "-c", SENDER, "6", user="alice", check=False, timeout_sec=100)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 30
    assert all(line.split()[-1].startswith("org.") for line in lines), done.stdout
    answers(lab)
    before = lab.run("systemctl", "show", "-P", "NRestarts", "isod").stdout
    assert mute.stdin is not None
    assert mute.stdout is not None
    mute.stdin.close()
    told = mute.stdout.read()
    assert b"asked 25" in told  # so it did wait for it
    assert b"asked 3" not in told
    answers(lab)
    assert lab.run("systemctl", "show", "-P", "NRestarts", "isod").stdout == before
