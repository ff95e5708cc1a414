"""Entry point of isod: `--check [DIR]` validates the policy files, without it the daemon runs."""

import asyncio
import sys
from pathlib import Path

from isod_contract import VERSION


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon or the check on sys.argv; gives the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["--version"]:
        sys.stdout.write(f"isod {VERSION}\n")
        return 0
    if arguments[:1] == ["--check"] and len(arguments) <= 2:
        from isod.policy_loader import DIRECTORY, check

        return check(Path(arguments[1]) if len(arguments) == 2 else DIRECTORY)
    if arguments:
        sys.stderr.write("isod: usage: isod [--check [DIRECTORY] | --version]\n")
        return 2
    from isod.app import run

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
