"""What a hostile client could make of an X server that it took over: run in its place, in its unit, with its fds.

Usage: as isod-xserver; what is to be tried against is in /usr/share/lab/targets.json. Prints one JSON object to the
journal: what was tried and how it ended; "no" is what is hoped for, anything else is a hole.
"""

import array
import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
TARGETS = json.loads(pathlib.Path("/usr/share/lab/targets.json").read_text())
FOUND = {}
with socket.socket(fileno=os.dup(0)) as report:
    report.send(b"ready")  # it would say so too


def tried(name):
    def run(function):
        try:
            result = function()
            FOUND[name] = "no" if result in (None, False, [], "") else f"YES: {result!r}"
        except (OSError, ValueError) as error:
            FOUND[name] = "no"
            FOUND.setdefault("errors", {})[name] = str(error)
        return function

    return run


def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


PID = TARGETS["pid"]


@tried("kill")
def _():
    os.kill(PID, 0)
    return "signalled"


@tried("kill everything")
def _():
    with contextlib.suppress(OSError):
        os.kill(-1, signal.SIGCONT)
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (os.getpid(), os.getppid(), 1)]


@tried("signal by a file's owner")
def _():
    if not TARGETS["has_pid_namespace"]:
        return False  # SECURITY.md says what is left there
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, PID)
    fcntl.fcntl(reader, 10, signal.SIGUSR1)  # F_SETSIG
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(writer, b"x")
    return False  # whether the victim lives is looked at outside


@tried("ptrace")
def _():
    return checked(LIBC.ptrace(16, PID, 0, 0)) == 0  # PTRACE_ATTACH


@tried("process_vm_readv")
def _():
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    return checked(LIBC.process_vm_readv(PID, vector, 1, vector, 1, 0)) >= 0


@tried("limits of another process")
def _():
    return resource.prlimit(PID, resource.RLIMIT_CORE, (0, 0)) is not None


@tried("pidfd")
def _():
    return os.pidfd_open(PID)


@tried("files by another process")
def _():
    return [name for name in ("environ", "root", "cwd", "maps", "fd") if os.access(f"/proc/{PID}/{name}", os.R_OK)]


for place in TARGETS["files"]:
    tried(f"read {place}")(lambda place=place: pathlib.Path(place).read_text())
for place in TARGETS["sockets"]:

    @tried(f"connect {place}")
    def _(place=place):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect("\0" + place[1:] if place.startswith("@") else place)
        return "connected"


@tried("other directories")
def _():
    seen = []
    for place in TARGETS["directories"]:
        with contextlib.suppress(OSError):
            seen += [f"{place}/{name}" for name in os.listdir(place)]
    return seen


@tried("SysV shared memory")
def _():
    LIBC.shmat.restype = ctypes.c_long
    return checked(LIBC.shmat(TARGETS["shmid"], None, 0o10000)) and "attached"


@tried("SysV shared memory of a key")
def _():
    return checked(LIBC.shmget(TARGETS["shmkey"], 0, 0)) >= 0


for family, number in (("inet", 2), ("inet6", 10), ("netlink", 16), ("packet", 17), ("vsock", 40)):
    tried(f"socket {family}")(lambda number=number: bool(socket.socket(number, socket.SOCK_DGRAM)))


@tried("devices")
def _():
    usual = {
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "ptmx",
        "pts",
        "shm",
        "mqueue",
        "hugepages",
        "log",
        "core",
        "fd",
        "stdin",
        "stdout",
        "stderr",
        "char",
    }
    return sorted(set(os.listdir("/dev")) - usual)


@tried("make a device")
def _():
    os.mknod("/tmp/node", 0o20666, os.makedev(1, 1))
    return "made"


for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("pid", 0x20000000), ("network", 0x40000000)):
    tried(f"unshare {name}")(lambda flag=flag: checked(LIBC.unshare(flag)) == 0)


@tried("mount")
def _():
    return checked(LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None)) == 0


for place in ("/usr/x", "/etc/x", "/home/x", "/run/x", "/var/x", "/x", "/sys/fs/cgroup/x"):
    tried(f"write {place}")(lambda place=place: pathlib.Path(place).write_text("x"))


@tried("keyring")
def _():
    return checked(LIBC.syscall(250, 0, -3, 0)) >= 0  # KEYCTL_GET_KEYRING_ID of the session


@tried("bpf, perf, io_uring")
def _():
    return [number for number in (321, 298, 425) if LIBC.syscall(number, 0, 0, 0) >= 0]


@tried("two gigabytes of memory")
def _():
    return len(mmap.mmap(-1, 2 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)) and "had"


@tried("core dumps")
def _():
    return resource.getrlimit(resource.RLIMIT_CORE)[1]


@tried("capabilities")
def _():
    return [line for line in open("/proc/self/status") if re.match(r"Cap(Eff|Prm|Inh|Amb|Bnd):.*[1-9a-f]", line)]


@tried("the compositor, beyond windows")
def _():
    with socket.socket(fileno=os.dup(0)) as control:
        _, ancillary, _, _ = control.recvmsg(4096, socket.CMSG_LEN(12))
    fds = array.array("i", ancillary[0][2])
    request = struct.pack("=IHHI", 1, 1, 12, 2) + struct.pack("=IHHI", 1, 0, 12, 3)
    with socket.socket(fileno=fds[1]) as wayland:
        wayland.sendall(request)
        wayland.settimeout(1)
        answer = b""
        with contextlib.suppress(OSError):
            while True:
                answer += wayland.recv(65536)
    FOUND["interfaces"] = sorted({name.decode() for name in re.findall(rb"[a-z][a-z0-9_]{4,}", answer)})
    return "" if answer else "no answer"


sys.stderr.write("HOSTILE " + json.dumps(FOUND) + "\n")
sys.stderr.flush()
time.sleep(3)
