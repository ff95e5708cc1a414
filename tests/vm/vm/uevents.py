"""Run on the host as root: tell when the kernel and when udevd says that a device node comes or goes (netlink(7))."""

import json
import socket
import sys
import time

KERNEL, UDEV = 1, 2  # multicast groups
NETLINK_KOBJECT_UEVENT = 15  # of include/uapi/linux/netlink.h


def main() -> None:
    """A line for each message of the node in the argument."""
    name = sys.argv[1].removeprefix("/dev/")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as uevents:
        uevents.bind((0, KERNEL | UDEV))
        print(json.dumps({"ready": name}), flush=True)
        while True:
            message = uevents.recv(8192)
            fields = message.split(b"\0")
            if f"DEVNAME={name}".encode() in fields or f"DEVNAME=/dev/{name}".encode() in fields:
                action = next(field[7:].decode() for field in fields if field.startswith(b"ACTION="))
                source = "udev" if message.startswith(b"libudev\0") else "kernel"
                print(json.dumps({"at": time.monotonic(), "source": source, "action": action}), flush=True)


if __name__ == "__main__":
    main()
