"""Command line of the lab: prepare | shell | run -- CMD | boot."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

from lab import needs
from lab.boot import BootFailed
from lab.enter import PATH
from lab.machine import Lab
from lab.tree import TREES, host_tree


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    prepare = verbs.add_parser("prepare", help="install what the lab needs here and build the host's trees")
    prepare.add_argument("--tree", nargs="+", choices=TREES, default=["plain"])
    for verb, text in (
        ("shell", "a root shell on a booted lab"),
        ("run", "run one command on a booted lab"),
        ("boot", "boot a lab and keep it until interrupted"),
    ):
        sub = verbs.add_parser(verb, help=text)
        sub.add_argument("--bus", choices=("dbus-daemon", "dbus-broker"), default="dbus-daemon")
        sub.add_argument("--tree", choices=TREES, default="plain")
        sub.add_argument("--name")
        sub.add_argument("--user", default="root")
        if verb == "run":
            sub.add_argument("argv", nargs="+", metavar="CMD")
    return parser.parse_args()


def _prepare(trees: list[str]) -> int:
    needs.install()
    needs.check()
    for tree in trees:
        print(host_tree(tree))
    return 0


def _attached(lab: Lab, user: str, argv: list[str]) -> int:
    env = {"TERM": os.environ.get("TERM", "dumb")}
    # Ctrl-C belongs to the command, which shares our terminal
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = lab.popen(*argv, user=user, stdin=sys.stdin, env=env)
        code = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code


def _shell(lab: Lab, user: str) -> int:
    if not sys.stdin.isatty():
        return _attached(lab, user, ["bash", "-l"])
    # script(1) inside gives the shell a terminal of the lab's own, so job control and tty(1) work
    return _attached(lab, user, ["script", "-q", "-e", "-c", "bash -l", "/dev/null"])


def _boot(lab: Lab) -> int:
    print(f"{lab.name} is up after {lab.running.boot_sec:.1f} s; PID 1 is {lab.pid}; enter it with")
    print(f"  nsenter -t {lab.pid} -a env -i PATH={PATH} HOME=/root TERM=xterm bash -l", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    return 0


def main() -> int:
    """Run one verb."""
    arguments = _arguments()
    try:
        if arguments.verb == "prepare":
            return _prepare(arguments.tree)
        if arguments.verb == "boot":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        with Lab.boot(arguments.name, arguments.bus, arguments.tree) as lab:
            if arguments.verb == "boot":
                return _boot(lab)
            if arguments.verb == "shell":
                return _shell(lab, arguments.user)
            return _attached(lab, arguments.user, arguments.argv)
    except (needs.LabUnavailable, BootFailed, subprocess.CalledProcessError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
