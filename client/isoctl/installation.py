"""Where this isoctl is installed, and when the files of the isod beside it were put there."""

import os

# As `make install` lays it out: PREFIX/lib/isoctl/isoctl, beside PREFIX/lib/isoctl/isod.
_LIBRARY = "lib/isoctl"
_PREFIXES = ("/usr/local", "/usr")
_OF_ISOD = ("isod", "isod_contract", "isod_kernel", "isod_wire")


def prefix() -> str:
    """Give the prefix of this installation; "" for a checkout, and in a store whose paths never change."""
    library = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return library.removesuffix("/" + _LIBRARY) if library.endswith("/" + _LIBRARY) and _is_mutable(library) else ""


def _is_mutable(library: str) -> bool:
    return not library.startswith("/nix/store/")


def prefixes() -> tuple[str, ...]:
    """Give the prefixes with an installation, in the order in which systemd, D-Bus and shells look there."""
    return tuple(prefix for prefix in _PREFIXES if os.path.exists(f"{prefix}/{_LIBRARY}/isoctl"))


def installed_at_usec() -> int:
    """Give when isod's files beside this isoctl changed last, in microseconds since 1970; 0 where that says nothing.

    That is their ctime (inode(7)): packages set the time of last modification to that of their making.
    """
    if not prefix():
        return 0
    newest = 0
    for package in _OF_ISOD:
        for directory, _, names in os.walk(f"{prefix()}/{_LIBRARY}/{package}"):
            for name in names:
                if name.endswith(".py"):
                    try:
                        newest = max(newest, os.stat(f"{directory}/{name}").st_ctime_ns)
                    except OSError:
                        continue
    return newest // 1000
