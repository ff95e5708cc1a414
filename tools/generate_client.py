"""Write what follows from the contract and from isoctl's table of verbs: flags, completion, manual page.

`--check` writes nothing and fails if a checked-in file differs from what would be written.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "daemon"), str(ROOT / "client"), str(ROOT / "tools")]

CONTRACT = ROOT / "client/isoctl/contract_generated.py"


def write_or_compare(path: Path, text: str, *, check: bool) -> bool:
    """Write `text` to `path`, or with `check` only compare; true if the file was as it must be."""
    old = path.read_text() if path.exists() else None
    if old == text:
        return True
    if not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return False


def later_files() -> dict[Path, Callable[[], str]]:
    """Give the files that are made from isoctl's own table, which itself reads the generated contract."""
    completion = importlib.import_module("client_completion")
    manual = importlib.import_module("client_manual")
    return {
        ROOT / "client/completion/isoctl.bash": completion.bash,
        ROOT / "client/completion/_isoctl": completion.zsh,
        ROOT / "client/completion/isoctl.fish": completion.fish,
        ROOT / "docs/man/isoctl.1": manual.isoctl_1,
    }


def main(arguments: list[str]) -> int:
    """Generate, or check with `--check`; 1 if a check found a difference."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.stderr.write("usage: generate_client.py [--check]\n")
        return 2
    contract = importlib.import_module("client_contract")
    right = {CONTRACT: write_or_compare(CONTRACT, contract.module_text(), check=check)}
    right |= {path: write_or_compare(path, make(), check=check) for path, make in later_files().items()}
    wrong = [path.relative_to(ROOT) for path, is_right in right.items() if not is_right]
    for path in wrong:
        sys.stderr.write(f"{path}: {'differs, run `make generate`' if check else 'written'}\n")
    return 1 if check and wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
