"""Refuse a host on which isod could not run, before `make install` copies anything: one line, exit code 1.

It runs on the Python that the installed programs will run on, and like isod's own refusal on Pythons too old for it.
"""

from __future__ import annotations

import os
import subprocess
import sys

# Not added by Python itself under -I.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "daemon"))

from isod.host import floor


def systemd_version() -> str:
    """Give the version of the installed systemd, as `systemctl --version` begins; "" without any."""
    try:
        done = subprocess.run(["systemctl", "--version"], stdout=subprocess.PIPE, text=True, check=False)
    except OSError:
        return ""
    words = done.stdout.split(maxsplit=2)  # "systemd 257 (257.13-1~deb13u1)"
    return words[1] if len(words) > 1 else ""


def main() -> int:
    """Compare this host with the floor."""
    found = {**floor.python_versions(), **floor.kernel_version(), "systemd": systemd_version()}
    try:
        floor.check(found, floor.missing_modules())
    except floor.BelowFloor as refusal:
        sys.stderr.write(f"make install: {refusal}. Nothing was installed.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
