"""Listen to the host's udevd, from its network namespace; isod itself lives in an empty one of its own."""

import socket

from isod_helper import fields

_UEVENTS = 15  # NETLINK_KOBJECT_UEVENT, netlink(7)
_UDEV_GROUP = 2  # to which udevd sends what it has done with a device; group 1 is the kernel's own


def watch_devices(request: dict[str, object], fds: list[int]) -> int:
    """Give a socket that receives a message for each device that udevd has dealt with. Raises ValueError, OSError.

    A socket stays in the network namespace in which it was made. Each message comes with its sender's credentials.
    """
    fields.check_rest(request, fds, count=0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _UEVENTS) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.bind((0, _UDEV_GROUP))
        return sock.detach()
