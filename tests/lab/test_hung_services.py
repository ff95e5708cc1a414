"""Services that all of the host shares, while root in a container holds whoever opens something there."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.machine import Lab

# A write lease holds every open(2) for lease-break-time, 45 seconds; a new file every 0.3 s begins that anew. Until its
# standard input ends.
LEASES = """
import fcntl, os, select, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
place, how = sys.argv[1:]
if how == "rename":
    os.rename(place, place + ".real")
keep = []
for number in range(3000):
    path = f"/dev/shm/leased{number}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    fcntl.fcntl(fd, 1024, fcntl.F_WRLCK)
    keep.append(fd)
    if how == "rename":
        os.symlink(path, place + ".new")
        os.rename(place + ".new", place)
    else:
        os.system(f"umount {place} 2>/dev/null; mount --bind {path} {place}")
    if not number:
        print("ready", flush=True)
    if select.select([sys.stdin], [], [], 0.3)[0]:
        break
if how == "rename":
    os.rename(place + ".real", place)
else:
    os.system(f"umount {place}")
os.system("rm -f /dev/shm/leased*")
"""


@contextmanager
def held(lab: Lab, container: str, script: str, *arguments: str) -> Iterator[None]:
    """Have a program of root's at work in a container."""
    pipe = subprocess.PIPE
    with lab.container_popen(container, "python3", "-c", script, *arguments, stdin=pipe, stdout=pipe) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        yield
        program.stdin.close()
        program.wait(20)


def others_are_served(lab: Lab) -> None:
    """What A2 stopped: machined's answers, and a container of bob's that has nothing to do with it."""
    for _ in range(3):
        lab.run("machinectl", "list", timeout_sec=5)
    lab.stop_container("bobs")
    began = time.monotonic()
    done = lab.run("isoctl", "run", "bobs", "id", "-un", user="bob", check=False)
    assert (done.returncode, done.stdout) == (0, "bob\n"), done.stderr
    assert time.monotonic() - began < 15


@pytest.mark.attack("C50")
@pytest.mark.parametrize("container", ["priv", "evil"])
@pytest.mark.parametrize(("place", "how"), [("/dev/ptmx", "rename"), ("/dev/pts/ptmx", "mount")])
def test_what_root_inside_leases_holds_no_service_of_the_hosts(lab: Lab, container: str, place: str, how: str) -> None:
    """A2: four terminals stopped machined for three minutes, and no container of anybody's started."""
    lab.run("isoctl", "run", container, "true", user="alice")
    codes: list[int] = []

    def open_terminal() -> None:
        script = f"isoctl run {container} tty; echo code=$?; echo DONE"
        with lab.pty("bash", "--norc", "-c", script, user="alice") as terminal:
            output = terminal.read_until("DONE", 40)
        codes.append(0 if b"code=0" in output else 1)
        assert b"/dev/pts/" in output or b"a terminal is not possible here" in output, output

    with held(lab, container, LEASES, place, how):
        terminals = [threading.Thread(target=open_terminal) for _ in range(4)]
        for thread in terminals:
            thread.start()
        time.sleep(0.5)
        others_are_served(lab)
        for thread in terminals:
            thread.join()
    # /dev/ptmx is only a link to what is used. Who comes just as the lease of the other is broken has a terminal, too.
    assert codes == [0] * 4 if place == "/dev/ptmx" else 1 in codes
    with lab.pty("bash", "--norc", "-c", f"isoctl run {container} tty; echo DONE", user="alice") as terminal:
        assert b"/dev/pts/" in terminal.read_until("DONE", 20)
