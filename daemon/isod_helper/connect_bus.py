"""Connect to the bus of a user-namespaced container as its root, the only one whom that bus lets start units."""

import os
import socket
import stat

# Below are the host's own accounts and services; systemd-nspawn(1) takes ranges from 524288 on.
UID_MIN = 65536
UID_MAX = 0xFFFF_FFFE


def connect_bus(request: dict[str, object], fds: list[int]) -> int:
    """Become `uid`, for good, and connect to the socket that the one descriptor (O_PATH) is; gives a descriptor.

    `uid` is the host's uid of the container's root. Raises ValueError for a wrong request, OSError from the system.
    """
    uid = request.pop("uid", None)
    if request or type(uid) is not int or not UID_MIN <= uid <= UID_MAX:
        raise ValueError("connect-bus takes a uid, and not one of the host's own")
    if len(fds) != 1 or not stat.S_ISSOCK(os.fstat(fds[0]).st_mode):
        raise ValueError("connect-bus takes one descriptor, of a socket in a file system")
    # Groups first: without CAP_SETGID in the end there is no way to drop them.
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        # By descriptor: a path would be looked up again, in a tree that the container's root can change.
        sock.connect(f"/proc/self/fd/{fds[0]}")
        return sock.detach()
