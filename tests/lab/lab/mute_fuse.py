"""Run on the lab host: a FUSE file system that answers everybody but one process, as any user may write one.

    mute_fuse.py MOUNT_POINT PID

It has one file, `file`. Prints a line once it is mounted; ends, and with it all that wait for it, with its input.
"""

import ctypes
import os
import select
import struct
import sys

_INIT, _LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _RELEASE, _FLUSH = 26, 1, 2, 3, 14, 15, 18, 25
_BATCH_FORGET, _INTERRUPT = 42, 36
_ROOT, _FILE = 1, 2
_MODES = {_ROOT: 0o40755, _FILE: 0o100666}
_ENOENT, _ENOSYS = 2, 38
_HEADER = struct.Struct("=IIQQIIII")


def _attributes(node: int) -> bytes:
    return struct.pack("=QQQQQQIIIIIIIIII", node, 0, 0, 0, 0, 0, 0, 0, 0, _MODES[node], 1, 0, 0, 0, 4096, 0)


def _answer(opcode: int, node: int, body: bytes) -> bytes | int:
    """Give a reply's body, or an errno. What is told is valid for no time, so each fstat(2) asks again."""
    if opcode == _INIT:
        return struct.pack("=IIIIHHIIHHIIIIIIII", 7, 31, 0, 0, 8, 8, 65536, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    if opcode == _LOOKUP:
        is_file = body.rstrip(b"\0") == b"file"
        return struct.pack("=QQQQII", _FILE, 1, 3600, 0, 0, 0) + _attributes(_FILE) if is_file else _ENOENT
    if opcode == _GETATTR:
        return struct.pack("=QII", 0, 0, 0) + _attributes(node)
    if opcode == _OPEN:
        return struct.pack("=QII", 1, 0, 0)
    return b"" if opcode in (_READ, _RELEASE, _FLUSH) else _ENOSYS


def main(mount_point: str, mute_to_pid: int) -> None:
    """Serve until standard input ends."""
    if not os.path.exists("/dev/fuse"):
        os.mknod("/dev/fuse", 0o020666, os.makedev(10, 229))
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"mute", mount_point.encode(), b"fuse", 0, options) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    print("mounted", flush=True)
    while True:
        ready, _, _ = select.select([fuse, 0], [], [])
        if 0 in ready:
            break
        request = os.read(fuse, 1 << 18)
        _, opcode, unique, node, _, _, pid, _ = _HEADER.unpack_from(request)
        if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
            continue
        # a request has the number of a thread
        if os.path.exists(f"/proc/{mute_to_pid}/task/{pid}") and opcode in (_GETATTR, _FLUSH):
            print("asked", opcode, flush=True)
            continue
        answer = _answer(opcode, node, request[_HEADER.size :])
        error, data = (-answer, b"") if isinstance(answer, int) else (0, answer)
        os.write(fuse, struct.pack("=IiQ", 16 + len(data), error, unique) + data)
    libc.umount2(mount_point.encode(), 2)  # MNT_DETACH; all that wait are answered when the descriptor is closed


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
