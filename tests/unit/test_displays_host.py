"""The users' directories below /run/isoctl of a container, on a real tmpfs that a hostile root shares with us."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")

Run = Callable[..., list[str]]
DAEMON = Path(__file__).resolve().parents[2] / "daemon"

PRELUDE = """
import os, socket, stat, subprocess, sys
sys.path.insert(0, DAEMON)
from isod.host.displays import ContainerDirectories
from isod.ports import Directory
from isod_contract.errors import IsodError
base = ROOT + '/container'
host = ROOT + '/host'
for path in (base, base + '/blog', host):
    os.mkdir(path)
subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1M,nr_inodes=64,mode=755', 'none', base + '/blog'], check=True)
run = base + '/blog/run'
os.mkdir(run)
secret = host + '/secret'
open(secret, 'w').write('secret')
os.chmod(secret, 0o600)
here = ContainerDirectories(__import__('pathlib').Path(base))
ALICE = Directory('blog', 1000, (701000, 701000))
NAME = 'wayland-0'
begun = len(os.listdir('/proc/self/fd'))
def attempt(act, *arguments):
    try:
        return act(*arguments)
    except IsodError as error:
        print(type(error).__name__, error.text)
def opened():
    return here.ensure_directory(run_fd, ALICE)
def see(path):
    s = os.lstat(path)
    return f'{stat.filemode(s.st_mode)} {s.st_uid} {s.st_gid}'
"""
EPILOGUE = """
# Whatever was done: nothing of the host was touched, and nothing is left open.
s = os.stat(secret)
assert (open(secret).read(), s.st_uid, stat.S_IMODE(s.st_mode)) == ('secret', 0, 0o600), s
assert sorted(os.listdir(host)) == ['secret'] and (os.stat(host).st_uid, os.stat('/etc').st_uid) == (0, 0)
for name in ('run_fd', 'fd', 'listener'):
    if globals().get(name) is not None:
        os.close(globals()[name])
assert len(os.listdir('/proc/self/fd')) == begun, os.listdir('/proc/self/fd')
"""
OPEN = "run_fd = here.open_shown('blog', 'run')"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Give a function that runs steps of Python in a mount namespace of their own, and gives what they print."""

    def run_steps(*steps: str) -> list[str]:
        program = "\n".join([f"DAEMON = {os.fspath(DAEMON)!r}", f"ROOT = {os.fspath(tmp_path)!r}", PRELUDE, *steps])
        done = subprocess.run(
            ["unshare", "-m", "--propagation", "private", sys.executable, "-c", program + EPILOGUE],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run_steps


def test_a_users_directory_is_his_alone(run: Run) -> None:
    assert run(OPEN, "fd = opened()", "print(see(run + '/1000'))") == ["drwx------ 701000 701000"]


def test_after_another_range_of_uids_it_is_the_new_accounts(run: Run) -> None:
    said = run(
        OPEN,
        "os.mkdir(run + '/1000', 0o777)",
        "os.chown(run + '/1000', 5, 6)",
        "fd = opened()",
        "print(see(run + '/1000'))",
    )
    assert said == ["drwx------ 701000 701000"]


def test_a_socket_is_the_accounts_and_takes_clients(run: Run) -> None:
    said = run(
        OPEN,
        "fd = opened()",
        "listener, identity = here.listen(fd, NAME, ALICE)",
        "print(see(run + '/1000/wayland-0'))",
        "s = os.stat(run + '/1000/wayland-0')",
        "print(identity == (s.st_dev, s.st_ino) == here.identity(fd, NAME, ALICE))",
        "with socket.socket(socket.AF_UNIX) as client: client.connect(run + '/1000/wayland-0')",
    )
    assert said == ["srwxr-xr-x 701000 701000", "True"]


TRAPS = {
    "link to a file": "os.symlink(secret, place)",
    "link to nothing": "os.symlink(host + '/made', place)",
    "link to a directory": "os.symlink(host, place)",
    "relative link": "os.symlink('../../../../host/secret', place)",
    "FIFO": "os.mkfifo(place)",
    "regular file": "open(place, 'w').write('x' * 1000)",
    "device": "os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 3))",
    "foreign socket": "socket.socket(socket.AF_UNIX).bind(place); os.chown(place, 5, 5)",
    "hard link": "open(place + '.other', 'w'); os.link(place + '.other', place)",
}
STUCK = {
    "directory": "os.mkdir(place)",
    "full directory": "os.mkdir(place); os.mkdir(place + '/x')",
    "immutable file": "open(place, 'w'); subprocess.run(['chattr', '+i', place], check=True)",
}


@pytest.mark.attack("C20")
@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
def test_what_stands_in_the_place_of_a_socket_is_replaced_and_not_followed(run: Run, trap: str) -> None:
    said = run(
        OPEN,
        "fd = opened()",
        "place = run + '/1000/wayland-0'",
        trap,
        "print(here.identity(fd, NAME, ALICE))",
        "listener, identity = here.listen(fd, NAME, ALICE)",
        "print(see(place), here.identity(fd, NAME, ALICE) == identity)",
    )
    assert said == ["None", "srwxr-xr-x 701000 701000 True"]


@pytest.mark.attack("C20")
@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
def test_what_stands_in_the_place_of_a_mount_is_replaced_and_not_followed(run: Run, trap: str) -> None:
    said = run(
        OPEN,
        "fd = opened()",
        "place = run + '/1000/wayland-0'",
        trap,
        "here.ensure_place(fd, NAME, ALICE)",
        "print(see(place)[0])",
    )
    assert said == ["-"]


@pytest.mark.parametrize("trap", STUCK.values(), ids=STUCK)
@pytest.mark.parametrize("act", ["here.listen", "here.ensure_place"])
def test_what_cannot_be_replaced_is_told_and_withdrawing_goes_on(run: Run, trap: str, act: str) -> None:
    if act == "here.ensure_place" and "chattr" in trap:
        pytest.skip("a file is what a mount needs")
    said = run(
        OPEN,
        "fd = opened()",
        "place = run + '/1000/wayland-0'",
        trap,
        f"attempt({act}, fd, NAME, ALICE)",
        "here.remove(fd, NAME)",
        "here.remove_directory(run_fd, 1000)",
        "subprocess.run(['chattr', '-i', place], stderr=subprocess.DEVNULL)",
    )
    assert len(said) == 1
    assert said[0].startswith("UnsafePath")
    assert "/run/isoctl/1000/wayland-0" in said[0]


@pytest.mark.attack("C20")
@pytest.mark.parametrize("trap", [trap for name, trap in TRAPS.items() if name != "hard link"])
def test_what_stands_in_the_place_of_a_users_directory_is_refused(run: Run, trap: str) -> None:
    said = run(
        OPEN, "place = run + '/1000'", trap, "before = see(place)", "attempt(opened)", "print(see(place) == before)"
    )
    assert said[0].startswith("UnsafePath")
    assert "/run/isoctl/1000" in said[0]
    assert said[1] == "True"


@pytest.mark.attack("C20")
@pytest.mark.parametrize("trap", [trap for name, trap in TRAPS.items() if name != "hard link"])
def test_what_stands_in_the_place_of_all_directories_is_refused(run: Run, trap: str) -> None:
    said = run("os.rmdir(run)", "place = run", trap, "attempt(here.open_shown, 'blog', 'run')")
    assert len(said) == 1
    assert said[0].startswith("UnsafePath")


def test_a_container_without_a_file_system_of_its_own_is_not_written_to(run: Run) -> None:
    """What is bound only by the host's /run could be filled by the container's root."""
    assert run(
        "os.makedirs(base + '/db/run')", "print(*(here.open_shown(name, 'run') for name in ('db', 'nosuch')))"
    ) == ["None None"]


def test_before_anything_was_made_there_is_nothing(run: Run) -> None:
    said = run(
        "there = ContainerDirectories(__import__('pathlib').Path(base + '/nosuch'))",
        "print(there.open_shown('blog', 'run'))",
    )
    assert said == ["None"]


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_full_file_system_is_told_as_such(run: Run, what: str) -> None:
    fill = {
        "bytes": "open(run + '/fill', 'wb').write(bytes(4 << 20))",
        "inodes": "[open(run + f'/{n}', 'w').close() for n in range(1000)]",
    }
    said = run(
        OPEN,
        "fd = opened()",
        "try:",
        f"    {fill[what]}",
        "except OSError: pass",
        "attempt(here.ensure_directory, run_fd, Directory('blog', 1001, (1, 1))) if 'inodes' == "
        + repr(what)
        + " else print('NoSpace')",
        "attempt(here.ensure_place, fd, NAME, ALICE) if 'inodes' == " + repr(what) + " else print('NoSpace')",
    )
    assert [line.split()[0] for line in said] == ["NoSpace", "NoSpace"]


def test_a_directory_that_is_full_is_left_with_what_is_in_it(run: Run) -> None:
    said = run(
        OPEN,
        "fd = opened()",
        "open(run + '/1000/theirs', 'w')",
        "here.remove_directory(run_fd, 1000)",
        "print(os.listdir(run + '/1000'))",
        "os.unlink(run + '/1000/theirs')",
        "here.remove_directory(run_fd, 1000)",
        "here.remove_directory(run_fd, 1000)",
        "print(os.listdir(run))",
    )
    assert said == ["['theirs']", "[]"]


def test_what_the_container_sees_is_told_by_its_own_root(run: Run) -> None:
    said = run(
        OPEN,
        "fd = opened()",
        "listener, identity = here.listen(fd, NAME, ALICE)",
        "root = ROOT + '/root'",
        "os.makedirs(root + '/run/isoctl')",
        "root_fd = os.open(root, os.O_PATH)",
        "print(here.is_seen(run_fd, root_fd, 'blog', 'run'), here.identity_inside(root_fd, 1000, NAME))",
        "subprocess.run(['mount', '--bind', run, root + '/run/isoctl'], check=True)",
        "print(here.is_seen(run_fd, root_fd, 'blog', 'run'), here.identity_inside(root_fd, 1000, NAME) == identity)",
        "subprocess.run(['umount', root + '/run/isoctl'], check=True)",
        "os.rmdir(root + '/run/isoctl')",
        "print(here.is_seen(run_fd, root_fd, 'blog', 'run'))",
        "os.symlink(run, root + '/run/isoctl')",
        "print(here.identity_inside(root_fd, 1000, NAME))",
        "attempt(here.is_seen, run_fd, root_fd, 'blog', 'run')",
        "os.close(root_fd)",
    )
    assert said[:-1] == ["False None", "True True", "False", "None"]
    assert said[-1].startswith("UnsafePath")
