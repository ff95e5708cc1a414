"""Run inside a container: open a render node, and ask its driver for its name, as a graphics library begins (drm(7)).

`open NODE` tells what comes of it; `follow NODE TIMES` when it can be used and when it is gone, so many times.
"""

import ctypes
import errno
import fcntl
import json
import os
import sys
import time


class Version(ctypes.Structure):
    """struct drm_version of the kernel's include/uapi/drm/drm.h."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("major", "minor", "patch")),
        *((f"{name}_{part}", ctypes.c_size_t) for name in ("name", "date", "text") for part in ("size", "address")),
    )


class Resources(ctypes.Structure):
    """struct drm_mode_card_res; all nought asks for nothing but the numbers."""

    _fields_ = (
        *((f"{name}_address", ctypes.c_uint64) for name in ("buffers", "crtcs", "connectors", "encoders")),
        *((f"{name}_count", ctypes.c_uint32) for name in ("buffers", "crtcs", "connectors", "encoders")),
        *((name, ctypes.c_uint32) for name in ("width_min", "width_max", "height_min", "height_max")),
    )


def call(fd: int, number: int, argument: ctypes.Structure) -> None:
    """DRM_IOWR: an ioctl that reads and writes its argument."""
    fcntl.ioctl(fd, 3 << 30 | ctypes.sizeof(argument) << 16 | ord("d") << 8 | number, argument)


def driver(fd: int) -> str:
    """DRM_IOCTL_VERSION."""
    name = ctypes.create_string_buffer(64)
    call(fd, 0x00, Version(name_size=len(name) - 1, name_address=ctypes.addressof(name)))
    return name.value.decode()


def modes(fd: int) -> str:
    """DRM_IOCTL_MODE_GETRESOURCES: of the screen's outputs, which is nothing for a render node; why it fails."""
    try:
        call(fd, 0xA0, Resources())
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def opened(node: str) -> dict[str, str]:
    """Open it, and ask."""
    try:
        fd = os.open(node, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return {"error": errno.errorcode[error.errno or 0]}
    try:
        return {"driver": driver(fd), "modes": modes(fd)}
    finally:
        os.close(fd)


def wait_for(condition: object) -> float:
    """When a condition, looked at every millisecond, holds."""
    assert callable(condition)
    while not condition():
        time.sleep(0.001)
    return time.monotonic()


def main() -> None:
    """Do what the arguments say, an answer a line."""
    verb, node, *rest = sys.argv[1:]
    if verb == "open":
        directory = os.path.dirname(node)
        beside = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
        print(json.dumps({"uid": os.getuid(), "dri": beside, **opened(node)}))
        return
    print(json.dumps({"ready": node}), flush=True)
    for _ in range(int(rest[0])):
        usable = wait_for(lambda: "driver" in opened(node))
        print(json.dumps({"usable": usable}), flush=True)
        gone = wait_for(lambda: not os.path.exists(node))
        print(json.dumps({"gone": gone}), flush=True)


if __name__ == "__main__":
    main()
