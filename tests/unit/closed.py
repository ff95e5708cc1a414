"""Descriptors that a thread closes (isod_kernel.untrusted_fds): tests wait for it."""

import os
import time

SOON_SEC = 5.0


def until_closed(fd: int) -> None:
    """Wait until a descriptor is closed."""
    deadline = time.monotonic() + SOON_SEC
    while os.path.exists(f"/proc/self/fd/{fd}"):
        assert time.monotonic() < deadline, f"descriptor {fd} stays open"
        time.sleep(0.005)


def until_open_are(count: int) -> None:
    """Wait until no more descriptors are open than these."""
    deadline = time.monotonic() + SOON_SEC
    while (now := len(os.listdir("/proc/self/fd"))) > count:
        assert time.monotonic() < deadline, f"{now} descriptors are open, not {count}"
        time.sleep(0.005)
