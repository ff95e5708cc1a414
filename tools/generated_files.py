"""Files that are made from declarations and checked in: written anew, or compared with `--check`."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def update(files: Mapping[str, Callable[[], str]], *, check: bool) -> bool:
    """Write each file, by its path in the repository, unless it is right; with `check` only say so. True: all right."""
    wrong = []
    for name, make in files.items():
        path, text = ROOT / name, make()
        if path.exists() and path.read_text() == text:
            continue
        wrong.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for name in wrong:
        sys.stderr.write(f"{name}: {'differs, run `make generate`' if check else 'written'}\n")
    return not wrong
