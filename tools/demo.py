"""What a newcomer would type first, typed on the lab host as alice; commands and output are printed."""

import sys

from lab.machine import Lab

COMMANDS = (
    "isoctl list",
    "isoctl run blog uname -n",
    "printf 'b\\na\\n' | isoctl run blog sort",
    "isoctl run blog sh -c 'exit 7'; echo $?",
    "isoctl run priv -- sh -c 'id; ls -A ~'",
    "isoctl history",
)


def main() -> int:
    """Boot, type, print; 1 if a command fails."""
    with Lab.boot() as lab:
        for command in COMMANDS:
            print(f"alice$ {command}", flush=True)
            done = lab.run("sh", "-c", command, user="alice", check=False)
            print(done.stdout + done.stderr, flush=True)
            if done.returncode:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
