"""`isod-helper`: serve the one connection for which systemd started this process (sd_listen_fds(3))."""

import os
import signal
import socket
import sys

from isod_helper.serve import APART, DEADLINE_SEC, LASTING, VERBS, serve, serve_all, serve_apart

_FIRST_FD = 3


def main() -> int:
    """Answer what is called on fd 3, of the verbs that the one argument names; gives the exit code."""
    verbs = VERBS.get(sys.argv[1]) if len(sys.argv) == 2 else None
    if verbs is None:
        sys.stderr.write(f"usage: isod-helper {' | '.join(VERBS)}\n")
        return 2
    if os.environ.get("LISTEN_FDS") != "1" or os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.stderr.write("isod-helper: to be started by isod-helper.socket\n")
        return 2
    with socket.socket(fileno=_FIRST_FD) as connection:
        if sys.argv[1] in LASTING:
            return 0 if serve_all(connection, verbs) else 1
        if sys.argv[1] in APART:
            return 0 if serve_apart(connection, verbs) else 1
        # By default the signal ends the process, also one that hangs in connect(2): the caller sees the hang-up.
        signal.alarm(DEADLINE_SEC)
        return 0 if serve(connection, verbs) else 1


if __name__ == "__main__":
    sys.exit(main())
