"""What NixOS says of its containers, in NAME.conf (nixos/modules/virtualisation/nixos-containers.nix)."""

from pathlib import Path

_DIRECTORY = Path("/etc/nixos-containers")
_BYTES_MAX = 64 * 1024


def is_declared(name: str) -> bool:
    """Tell whether NixOS has a container of this name; a stat of a local file."""
    return (_DIRECTORY / f"{name}.conf").exists()


def declared_system(name: str) -> str:
    """Give the system that the container is to run, a path of the store; "" where NixOS fixes none.

    An imperative container (nixos-container(8)) names a profile of its own here, which it follows by itself.
    """
    try:
        with (_DIRECTORY / f"{name}.conf").open(encoding="utf-8", errors="replace") as file:
            text = file.read(_BYTES_MAX)
    except OSError:
        return ""
    values = (line.partition("=") for line in text.splitlines())
    system = next((value.strip("\"' ") for key, _, value in values if key == "SYSTEM_PATH"), "")
    return system if system.startswith("/nix/store/") else ""
