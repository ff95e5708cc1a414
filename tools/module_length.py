"""Fail if a module is longer than can be held in the head: the limit is 400 lines."""

import sys
from pathlib import Path

LINES_MAX = 400


def main(directories: list[str]) -> int:
    """Check all modules below the directories; 1 if one is too long."""
    too_long = [
        (path, lines)
        for directory in directories
        for path in sorted(Path(directory).rglob("*.py"))
        if "generated" not in path.name and (lines := len(path.read_text().splitlines())) > LINES_MAX
    ]
    for path, lines in too_long:
        sys.stderr.write(f"{path}: {lines} lines, the limit is {LINES_MAX}\n")
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
