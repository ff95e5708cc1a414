"""The host's time zone for a container that shows another one, since it was started before the host's was changed.

Sources: localtime(5) for the link, tzset(3) for TZ; NixOS has its zones in /etc/zoneinfo. The container's files are
read through its root descriptor; blocking, so called through the offload.
"""

import os
import re

from isod.host import rootfs

_LOCALTIME = "etc/localtime"
_ZONES = ("usr/share/zoneinfo", "etc/zoneinfo")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*(?:/[A-Za-z0-9][A-Za-z0-9_+-]*){0,3}")


def host_zone(link: str = f"/{_LOCALTIME}") -> str:
    """Give the name of the host's time zone, as in Europe/Berlin; "" where /etc/localtime is no link to one."""
    try:
        return _zone_of(os.readlink(link))
    except OSError:
        return ""


def zone_to_tell(root_fd: int, zone: str) -> str:
    """Give a zone that programs of a container should be told by TZ; "" if they have it, or do not know it."""
    if not zone or _zone_of(rootfs.read_link(root_fd, _LOCALTIME)) == zone:
        return ""
    return zone if any(rootfs.is_there(root_fd, f"{zones}/{zone}") for zones in _ZONES) else ""


def _zone_of(untrusted_target: str) -> str:
    _, found, name = untrusted_target.rpartition("zoneinfo/")
    return name if found and _NAME.fullmatch(name) else ""
