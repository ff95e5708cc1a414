"""Any character devices of the host, chosen by what udev knows of them: cameras, security keys, controllers."""

import re
from collections.abc import Mapping

from isod.device_ports import Device, HostDevices
from isod.resources.base import DeviceKind, GrantValue

_PROPERTY = re.compile(r"([A-Z][A-Z0-9_]{0,63})=([^\s=,]{1,128})")
_NODE = re.compile(r"/dev/[A-Za-z0-9][A-Za-z0-9_.:+-]{0,63}(/[A-Za-z0-9][A-Za-z0-9_.:+-]{0,63}){0,2}")
# Their devices have no node, or one that `_NODE` leaves out.
_NODELESS = {
    "usb": "nodes in /dev/bus/usb are not given; name the SUBSYSTEM of what the kernel makes of the device",
    "hid": "has no nodes; SUBSYSTEM=hidraw has",
    "net": "has no nodes; a network is the container's own or the host's",
    "pci": "has no nodes; name the SUBSYSTEM of what the kernel makes of the device",
    "bluetooth": "has no nodes",
}
# `mem` is the host's memory; a block device is the file systems on it; graphics cards have a kind of their own.
_NEVER = {"mem": "is the host's memory", "block": "has no character devices", "drm": "is what `gpu` grants"}


class Devices(DeviceKind):
    """Other devices."""

    key = "devices"
    levels = ("none", "listed")
    default = "none"
    doc = (
        "Other character devices, by a list of matches. Each is properties as `udevadm info` prints them, with the "
        'SUBSYSTEM first, and chooses the devices that have all of them: ["SUBSYSTEM=hidraw ID_VENDOR_ID=1050", '
        '"SUBSYSTEM=video4linux ID_SERIAL_SHORT=A1B2"]. They appear under the same path as on the host.'
    )

    @classmethod
    def validate(cls, untrusted_value: object) -> GrantValue:
        """Take "none", or a list of matches; raises ValueError."""
        if untrusted_value == "none":
            return "none"
        if not isinstance(untrusted_value, (list, tuple)):
            return super().validate(None)
        if not untrusted_value:
            raise ValueError('an empty list grants nothing: write "none"')
        return tuple(dict.fromkeys(cls._match(item) for item in untrusted_value))

    @classmethod
    def choices(cls) -> str:
        """Name what `validate` takes."""
        return '"none", or a list of matches such as "SUBSYSTEM=hidraw ID_VENDOR_ID=1050"'

    @classmethod
    def subsystems(cls, value: GrantValue) -> frozenset[str]:
        """Name those of the matches."""
        return frozenset() if isinstance(value, str) else frozenset(_properties(item)["SUBSYSTEM"] for item in value)

    @classmethod
    def choose(cls, value: GrantValue, host: HostDevices) -> tuple[list[Device], list[str]]:
        """Give the devices that have all properties of a match."""
        chosen: dict[str, Device] = {}
        for match in () if isinstance(value, str) else value:
            wanted = _properties(match)
            for device in host.find(wanted["SUBSYSTEM"]):
                if _NODE.fullmatch(device.node) and wanted.items() <= device.properties.items():
                    chosen[device.node] = device
        return list(chosen.values()), []

    @classmethod
    def never(cls, value: GrantValue, host: HostDevices) -> list[str]:
        """Say of matches that they can choose nothing: no node at all, or none at a place that is given."""
        found = []
        for match in () if isinstance(value, str) else value:
            wanted = _properties(match)
            subsystem = wanted["SUBSYSTEM"]
            nodes = [item.node for item in host.find(subsystem) if wanted.items() <= item.properties.items()]
            if subsystem in _NODELESS:
                found.append(f"{match!r}: {_NODELESS[subsystem]}")
            elif nodes and not any(map(_NODE.fullmatch, nodes)):
                found.append(f"{match!r}: {nodes[0]} is at no place that `devices` gives")
        return found

    @staticmethod
    def _match(untrusted_item: object) -> str:
        words = untrusted_item.split() if isinstance(untrusted_item, str) else []
        if not words or not all(map(_PROPERTY.fullmatch, words)) or not words[0].startswith("SUBSYSTEM="):
            raise ValueError(f"{untrusted_item!r} is not a match such as SUBSYSTEM=hidraw ID_VENDOR_ID=1050")
        subsystem = words[0].partition("=")[2]
        if subsystem in _NEVER:
            raise ValueError(f"subsystem {subsystem} {_NEVER[subsystem]}, and can't be matched")
        return " ".join(words)


def _properties(match: str) -> Mapping[str, str]:
    return dict(word.split("=", 1) for word in match.split())
