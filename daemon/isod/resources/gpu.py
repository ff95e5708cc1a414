"""Render nodes of the host's graphics processors."""

import re

from isod.resources.base import GrantValue, Resource, quoted_choices

_PCI_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


class Gpu(Resource):
    """Hardware rendering."""

    key = "gpu"
    levels = ("none", "render")
    default = "none"
    doc = (
        "Hardware rendering. render: the render nodes (renderD*) of all graphics processors; a list of PCI addresses "
        'such as ["0000:00:02.0"]: those of the named ones. Nodes that set the display mode are never granted.'
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
        """Take a level, or a list of PCI addresses as `lspci -D` prints them (with or without `pci-`)."""
        if not isinstance(untrusted_value, (list, tuple)):
            return super().validate(untrusted_value)
        addresses = tuple(cls._address(item) for item in untrusted_value)
        if not addresses:
            raise ValueError('an empty list grants nothing: write "none"')
        return tuple(dict.fromkeys(addresses))

    @classmethod
    def choices(cls) -> str:
        """Name the levels and the list."""
        return f"{quoted_choices(cls.levels)}, or a list of PCI addresses"

    @staticmethod
    def _address(untrusted_item: object) -> str:
        address = untrusted_item.removeprefix("pci-").lower() if isinstance(untrusted_item, str) else ""
        if not _PCI_ADDRESS.fullmatch(address):
            raise ValueError(f"{untrusted_item!r} is not a PCI address such as 0000:00:02.0")
        return address
