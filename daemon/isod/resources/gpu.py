"""Render nodes of the host's graphics processors."""

import re

from isod.device_ports import Device, HostDevices
from isod.resources.base import DeviceKind, GrantValue, quoted_choices

_PCI_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_RENDER_NODE = re.compile(r"/dev/dri/renderD[0-9]{1,4}")
# NVIDIA's own driver has, besides render nodes, some that neither sysfs nor udev know.
_NVIDIA_NODE = re.compile(r"/dev/nvidia([0-9]{1,3}|ctl|-uvm|-uvm-tools|-modeset)")


class Gpu(DeviceKind):
    """Hardware rendering."""

    key = "gpu"
    levels = ("none", "render")
    default = "none"
    doc = (
        "Hardware rendering. render: the render nodes (renderD*) of all graphics processors. A list of PCI addresses "
        'such as ["0000:00:02.0"]: those of the named ones. NVIDIA\'s own driver needs its nodes in the list too: '
        "/dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm, /dev/nvidia-modeset. Nodes that set the display mode are never "
        "granted. Programs inside need the host's userspace drivers: /run/opengl-driver on NixOS, Mesa of about the "
        "host's age elsewhere."
    )

    # NixOS, whose driver must fit the host's kernel; then where other distributions have Mesa's.
    needs_inside = (
        "run/opengl-driver",
        "usr/lib/x86_64-linux-gnu/dri",
        "usr/lib/aarch64-linux-gnu/dri",
        "usr/lib64/dri",
        "usr/lib/dri",
    )
    needs_fix = (
        "`{inside} apt-get install -y libgl1-mesa-dri`, or Mesa as it is called there; NixOS: "
        "hardware.graphics.enable = true; in its configuration"
    )

    @classmethod
    def validate(cls, untrusted_value: object) -> GrantValue:
        """Take a level, or a list of PCI addresses as `lspci -D` prints them (with or without `pci-`), or nodes."""
        if not isinstance(untrusted_value, (list, tuple)):
            return super().validate(untrusted_value)
        chosen = tuple(cls._address(item) for item in untrusted_value)
        if not chosen:
            raise ValueError('an empty list grants nothing: write "none"')
        return tuple(dict.fromkeys(chosen))

    @classmethod
    def choices(cls) -> str:
        """Name the levels and the list."""
        return f"{quoted_choices(cls.levels)}, or a list of PCI addresses"

    @classmethod
    def subsystems(cls, value: GrantValue) -> frozenset[str]:
        """Name the kernel's subsystem of graphics."""
        return frozenset() if value == "none" else frozenset({"drm"})

    @classmethod
    def choose(cls, value: GrantValue, host: HostDevices) -> tuple[list[Device], list[str]]:
        """Give render nodes, of all processors or of the named ones, and named nodes of NVIDIA's driver."""
        if value == "none":
            return [], []
        render = [device for device in host.find("drm") if _RENDER_NODE.fullmatch(device.node)]
        if value == "render":
            return render, []
        chosen = [device for device in render if device.pci in value]
        refused = []
        for node in filter(_NVIDIA_NODE.fullmatch, value):
            try:
                device = host.driver_node(node, "nvidia")
            except ValueError as error:
                refused.append(str(error))
                continue
            chosen += [device] if device else []
        return chosen, refused

    @classmethod
    def absent(cls, value: GrantValue, host: HostDevices) -> list[str]:
        """Name PCI addresses at which no graphics processor is, and nodes that the driver has not made."""
        if isinstance(value, str):
            return []
        there = {device.pci for device in host.find("drm") if _RENDER_NODE.fullmatch(device.node)}
        return [item for item in value if item not in there and not cls._is_node(item, host)]

    @staticmethod
    def _is_node(item: str, host: HostDevices) -> bool:
        try:
            return item.startswith("/") and host.driver_node(item, "nvidia") is not None
        except ValueError:
            return True  # another driver's, which is a problem of its own

    @staticmethod
    def _address(untrusted_item: object) -> str:
        if isinstance(untrusted_item, str) and _NVIDIA_NODE.fullmatch(untrusted_item):
            return untrusted_item
        address = untrusted_item.removeprefix("pci-").lower() if isinstance(untrusted_item, str) else ""
        if not _PCI_ADDRESS.fullmatch(address):
            raise ValueError(f"{untrusted_item!r} is not a PCI address such as 0000:00:02.0")
        return address
