"""Write what follows from the contract and from isoctl's table of verbs: flags, completion, manual page.

`--check` writes nothing and fails if a checked-in file differs from what would be written.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "daemon"), str(ROOT / "client"), str(ROOT / "tools")]

from generated_files import update  # noqa: E402 - the path comes first


def contract_file() -> dict[str, Callable[[], str]]:
    """Give the module that isoctl itself imports."""
    return {"client/isoctl/contract_generated.py": importlib.import_module("client_contract").module_text}


def later_files() -> dict[str, Callable[[], str]]:
    """Give the files that are made from isoctl's own table, which itself reads the generated contract."""
    completion = importlib.import_module("client_completion")
    return {
        "client/completion/isoctl.bash": completion.bash,
        "client/completion/_isoctl": completion.zsh,
        "client/completion/isoctl.fish": completion.fish,
        "docs/man/isoctl.1": importlib.import_module("client_manual").isoctl_1,
    }


def main(arguments: list[str]) -> int:
    """Generate, or check with `--check`; 1 if a check found a difference."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.stderr.write("usage: generate_client.py [--check]\n")
        return 2
    right = [update(contract_file(), check=check), update(later_files(), check=check)]
    return 0 if all(right) or not check else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
