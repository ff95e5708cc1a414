"""Terminals from a container's own devpts, with real namespaces; what else stands there is not opened."""

import os

import pytest

from host_steps import SHIFTS, Run, run

__all__ = ["run"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")

STEPS = """
import fcntl, struct, time
from isod_helper import terminal
VERBS['open_terminal'] = lambda request, fds: told(terminal.open_terminal(request, fds))
MOUNT_DEVPTS = "checked(libc.mount(b'devpts', b'/dev/pts', b'devpts', 10, b'newinstance,ptmxmode=0666,mode=620'))"

def with_devpts(container):
    for name in ('/dev', '/dev/pts'):
        os.mkdir(container.root + name)
        os.chown(container.root + name, container.shift, container.shift)
    print(container.do(MOUNT_DEVPTS))
    return container

told_as = lambda text: os.write(1, text.encode() + b'\\n')

def told(master):
    # What isod does with it: the slave without a path; a file of no wait is only how it was opened.
    slave = fcntl.ioctl(master, 0x5441, os.O_RDWR | os.O_NOCTTY)
    os.write(slave, b'hello')
    told_as(f'{os.read(master, 5).decode()} {os.get_blocking(master)} {os.fstat(slave).st_uid}')

def terminal_of(container, **more):
    root = os.open(f'/proc/{container.pid}/root', os.O_PATH | os.O_DIRECTORY)
    began = time.monotonic()
    sys.stderr.flush()
    said = act('open_terminal', {'uid_shift': container.shift, **more}, [root])
    return said + ('' if time.monotonic() - began < 2 else ' LATE')
"""


@SHIFTS
def test_a_terminal_is_the_containers_own_and_its_roots(run: Run, shift: int) -> None:
    said = run(
        STEPS,
        "sys.stdout.reconfigure(line_buffering=True)",
        f"c = with_devpts(Container({shift}))",
        "print(terminal_of(c))",
    )
    assert said == ["None", f"hello True {shift}", "done"]


# A write lease holds every open(2) for 45 seconds, a FIFO for ever.
LEASE = (
    "fcntl = __import__('fcntl'); signal = __import__('signal'); signal.signal(signal.SIGIO, signal.SIG_IGN); "
    "held = os.open('/run/leased', os.O_RDWR | os.O_CREAT, 0o666); fcntl.fcntl(held, 1024, fcntl.F_WRLCK)"
)


@pytest.mark.attack("C50")
@SHIFTS
@pytest.mark.parametrize(
    ("trap", "words"),
    [
        (f"exec({LEASE!r}); mount_over(b'/run/leased', b'/dev/pts/ptmx')", "not that of a devpts"),
        ("os.mkfifo('/run/fifo'); mount_over(b'/run/fifo', b'/dev/pts/ptmx')", "not that of a devpts"),
        ("checked(libc.umount2(b'/dev/pts', 0)); os.symlink('/run/fifo', '/dev/pts/ptmx')", "not that of a devpts"),
        ("checked(libc.umount2(b'/dev/pts', 0)); os.mkdir('/dev/pts/ptmx')", "not that of a devpts"),
        ("checked(libc.umount2(b'/dev/pts', 0))", "No such file"),
        ("os.rename('/dev', '/run/dev'); os.symlink('/run/dev', '/dev')", "symbolic links"),
    ],
    ids=["lease", "fifo", "link", "directory", "nothing", "linked dev"],
)
def test_what_else_stands_there_is_not_opened_and_not_waited_for(run: Run, shift: int, trap: str, words: str) -> None:
    """A2, as a kind: whatever holds an open(2) stands in the place of the terminals of a container."""
    said = run(
        STEPS,
        f"c = with_devpts(Container({shift}))",
        f"print(c.do({'exec(' + repr(trap) + ')'!r}))",
        "print(terminal_of(c))",
    )
    assert said[:2] == ["None", "None"], said
    assert words in said[2]
    assert "LATE" not in said[2]


@pytest.mark.attack("C50")
def test_a_node_of_that_number_elsewhere_is_no_terminal(run: Run) -> None:
    """A2: root without a user namespace can make the node, and the devpts beside it would be another one."""
    said = run(
        STEPS,
        "c = with_devpts(Container())",
        "print(c.do(\"checked(libc.umount2(b'/dev/pts', 0))\"))",
        "os.mknod(c.root + '/dev/pts/ptmx', 0o020666, os.makedev(5, 2))",
        "print(c.do(\"os.stat('/dev/pts/ptmx').st_rdev == os.makedev(5, 2)\"))",
        "print(terminal_of(c))",
    )
    assert said[-1] == "ValueError: /dev/pts/ptmx in it is not that of a devpts"


@pytest.mark.parametrize("more", ["colour='red'", "uid_shift=-1", "uid_shift='0'"])
def test_a_request_that_names_anything_else_is_refused(run: Run, more: str) -> None:
    said = run(STEPS, "c = with_devpts(Container())", f"print(terminal_of(c, **dict({more})))")
    assert said[-1].startswith("ValueError")
