"""Python run on a host of its own, with containers in real mount and user namespaces: for tests of the helper."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., list[str]]
DAEMON = Path(__file__).resolve().parents[2] / "daemon"

PRELUDE = """
import ctypes, os, socket, stat, subprocess, sys
sys.path.insert(0, DAEMON)
from isod_helper import attach, attach_node, nodes
from isod_helper.prepare import prepare
VERBS = {**vars(attach), **vars(attach_node), **vars(nodes)}
libc = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUSER, DETACH, BIND, PRIVATE = 0x20000, 0x10000000, 2, 4096, 1 << 18

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

class Container:
    # A process in namespaces of its own that does what it is told; its root is a tmpfs.
    def __init__(self, shift=0):
        self.shift = shift
        self.root = f'/run/root{shift}'
        for name in ('', '/run', '/run/isoctl', '/old', '/proc'):
            os.mkdir(self.root + name)
            os.chown(self.root + name, shift, shift)
        (ours, theirs), (self.read, self.write) = os.pipe(), os.pipe()
        ready, go = os.pipe()
        told, tell = os.pipe()
        self.orders = tell
        self.pid = os.fork()
        if not self.pid:
            try:
                checked(libc.unshare(NEWNS | (NEWUSER if shift else 0)))
                os.write(go, b'x')
                os.read(ours, 1)
                if shift:
                    os.setresgid(0, 0, 0), os.setresuid(0, 0, 0)
                checked(libc.mount(b'none', b'/', None, (1 << 14) | PRIVATE, None))
                root = self.root.encode()
                checked(libc.mount(root, root, None, BIND, None))
                os.chdir(root)
                checked(libc.pivot_root(b'.', b'old'))
                os.chdir('/')
                checked(libc.umount2(b'/old', DETACH))
                answer(self.write, 'ready')
                while order := os.read(told, 65536):
                    try:
                        answer(self.write, eval(order.decode(), globals()))
                    except OSError as error:
                        answer(self.write, error.strerror)
            except BaseException as error:
                answer(self.write, repr(error))
            finally:
                os._exit(0)
        os.close(told), os.close(self.write)
        os.read(ready, 1)
        if shift:
            for kind in ('uid', 'gid'):
                with open(f'/proc/{self.pid}/{kind}_map', 'w') as file:
                    file.write(f'0 {shift} 65536')
        os.write(theirs, b'x')
        assert os.read(self.read, 65536) == b'ready', 'the container does not start'
        self.pidfd = os.pidfd_open(self.pid)

    def do(self, order):
        os.write(self.orders, order.encode())
        return os.read(self.read, 65536).decode()

def answer(fd, what):
    os.write(fd, str(what).encode())

def see(path):
    s = os.lstat(path)
    return f'{stat.filemode(s.st_mode)} {s.st_uid} {s.st_gid}'

def connect(path, uid=None):
    with socket.socket(socket.AF_UNIX) as client:
        if uid is not None:
            os.seteuid(uid)
        try:
            client.connect(path)
            return 'connected'
        finally:
            if uid is not None:
                os.seteuid(0)

def mount_over(source, target):
    checked(libc.mount(source, target, None, BIND, None))

def listen(path, uid):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    os.chown(path, uid, uid)
    return sock

def act(verb, request, fds):
    # In a process of its own, as systemd starts one: it goes into the container for good.
    reader, writer = os.pipe()
    if not os.fork():
        try:
            VERBS[verb](dict(request), list(fds))
            answer(writer, 'done')
        except (ValueError, OSError) as error:
            answer(writer, f'{type(error).__name__}: {error}')
        except BaseException as error:
            answer(writer, 'BUG ' + repr(error))
        finally:
            os._exit(0)
    os.close(writer)
    said = os.read(reader, 65536).decode()
    os.close(reader)
    return said

prepare('blog')
os.makedirs('/run/user/1000')
os.chmod('/run/user', 0o755)
os.chown('/run/user/1000', 1000, 1000)
compositor = listen('/run/user/1000/wayland-1', 1000)
os.makedirs('/tmp/.X11-unix', exist_ok=True)
checked(libc.mount(b'none', b'/tmp/.X11-unix', b'tmpfs', 0, None))
x_server = listen('/tmp/.X11-unix/X0', 1000)
open('/run/secret', 'w').write('secret')

def directory(container, machine='blog', **more):
    request = {'machine': machine, 'directory': 'run', 'uid_shift': container.shift, **more}
    return act('attach_directory', request, [container.pidfd])

def place(container, uid=1000):
    os.mkdir(f'/run/isod/container/blog/run/{uid}')
    os.chown(f'/run/isod/container/blog/run/{uid}', container.shift + uid, container.shift + uid)
    open(f'/run/isod/container/blog/run/{uid}/wayland-0', 'w').close()

def sock(container, path='/run/user/1000/wayland-1', pidfd=None, **more):
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    request = {'uid': 1000, 'uid_shift': container.shift, 'name': 'wayland-0', 'socket': 'wayland-1', **more}
    return act('attach_socket', request, [container.pidfd if pidfd is None else pidfd, fd])

def mounts(container, part='isoctl'):
    # What lies on top at each place.
    with open(f'/proc/{container.pid}/mountinfo') as lines:
        return list({line[4]: line for line in map(str.split, lines) if part in line[4]}.values())
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Give what runs steps of Python on a host of its own: /run is a shared tmpfs, as systemd makes it."""

    def run_steps(*steps: str) -> list[str]:
        program = "\n".join([f"DAEMON = {os.fspath(DAEMON)!r}", PRELUDE, *steps])
        script = 'mount -t tmpfs none /run && mount --make-shared /run && exec "$0" -c "$1"'
        done = subprocess.run(
            ["unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child", "sh", "-c", script, sys.executable, program],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert "BUG" not in done.stdout, done.stdout
        return done.stdout.splitlines()

    return run_steps


SHIFTS = pytest.mark.parametrize("shift", [0, 100_000], ids=["no user namespace", "user namespace"])
