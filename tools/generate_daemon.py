"""Write what follows from the contract and the policy model: files of D-Bus, polkit and journald, reference, manual.

`--check` writes nothing and fails if a checked-in file differs from what would be written.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "daemon"), str(ROOT / "tools")]

from generated_files import update  # noqa: E402


def files() -> dict[str, Callable[[], str]]:
    """Give, by path in the repository, what makes each file."""
    bus = importlib.import_module("daemon_bus")
    manual = importlib.import_module("daemon_manual")
    return {
        "dbus-policy/org.isoctl1.conf": bus.bus_policy,
        "dbus-policy/org.isoctl1.policy": bus.polkit_policy,
        "dbus-policy/org.isoctl1.xml": importlib.import_module("isod.bus.introspection").contract_xml,
        "systemd-units/isod.catalog": bus.catalog,
        "docs/examples/org.isoctl1-group.conf": bus.group_bus_policy,
        "docs/api.md": importlib.import_module("daemon_reference").reference,
        "docs/man/isod.8": manual.isod_8,
        "docs/man/isod.toml.5": manual.isod_toml_5,
    }


def main(arguments: list[str]) -> int:
    """Generate, or check with `--check`; 1 if a check found a difference."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.stderr.write("usage: generate_daemon.py [--check]\n")
        return 2
    return 0 if update(files(), check=check) or not check else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
