"""Write the options of the NixOS module that follow from isod's policy, and the reference of all its options.

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
    return {
        "nix/policy-options.nix": importlib.import_module("nix_options").policy_options,
        "docs/nixos-options.md": importlib.import_module("nix_reference").reference,
    }


def main(arguments: list[str]) -> int:
    """Generate, or check with `--check`; 1 if a check found a difference."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.stderr.write("usage: generate_nix.py [--check]\n")
        return 2
    try:
        return 0 if update(files(), check=check) or not check else 1
    except importlib.import_module("nix_reference").NixMissing as error:
        sys.stderr.write(f"generate_nix.py: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
