"""Command line of the virtual machine: prepare | shell."""

from __future__ import annotations

import argparse
import subprocess
import sys

from lab.needs import LabUnavailable
from lab.tree import host_tree
from vm import disk, needs
from vm.machine import BootFailed, Vm


def main() -> int:
    """Run one verb."""
    parser = argparse.ArgumentParser(prog="python3 -m vm", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("prepare", help="install what it needs here and build its tree")
    verbs.add_parser("shell", help="a root shell on a booted machine")
    verb = parser.parse_args().verb
    try:
        if verb == "prepare":
            needs.install()
            needs.check()
            print(host_tree(disk.TREE))
            return 0
        with Vm.boot() as vm:
            return vm.popen("bash", "-l", stdin=sys.stdin, terminal=True).wait()
    except (LabUnavailable, BootFailed, subprocess.CalledProcessError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
