"""Runs many launches of each kind and tells how each ended: a program for the lab's host, whoever breaks it meanwhile.

Arguments: JSON with `count`, `width` (at once), `kinds`, `containers`, `run` (a word for this run), `pause_sec`.
Each launch writes its mark inside before it ends with a code of its own, so what ran, how often, and what was said of
it can be compared. Prints JSON: a list of [name, kind, container, code wanted, code, seconds, stderr, is output right].
"""

import json
import os
import pty
import random
import subprocess
import sys
import threading
import time

_BYTES = 200_000
_LAUNCH_SEC = 120


def _plain(command: list[str]) -> tuple[int, str, bool]:
    done = subprocess.run(
        ["isoctl", "run", *command], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_LAUNCH_SEC
    )
    return done.returncode, done.stderr.decode(), not done.stdout


def _piped(command: list[str]) -> tuple[int, str, bool]:
    container, *words = command
    words[-1] = "cat; " + words[-1]
    sent = os.urandom(1) * _BYTES
    done = subprocess.run(
        ["isoctl", "run", container, *words], input=sent, capture_output=True, check=False, timeout=_LAUNCH_SEC
    )
    return done.returncode, done.stderr.decode(), done.stdout == sent or done.returncode == 125


def _on_terminal(command: list[str]) -> tuple[int, str, bool]:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("isoctl", ["isoctl", "run", *command])
    said = b""
    try:
        while piece := os.read(terminal, 65536):
            said += piece
    except OSError:
        pass  # what Linux says at the end of a terminal
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), said.decode(errors="replace"), True


def _detached(command: list[str]) -> tuple[int, str, bool]:
    container, *words = command
    argv = ["isoctl", "run", "--detach", container, *words]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_LAUNCH_SEC)
    return done.returncode, done.stderr.decode(), True


KINDS = {"plain": _plain, "piped": _piped, "terminal": _on_terminal, "detached": _detached}


def main(untrusted_arguments: str) -> None:
    """Run all of them and print what became of each."""
    given = json.loads(untrusted_arguments)
    numbers = iter(range(given["count"]))
    lock = threading.Lock()
    results: list[tuple[str, str, str, int, int, float, str, bool]] = []

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            kind = given["kinds"][number % len(given["kinds"])]
            container = given["containers"][number // len(given["kinds"]) % len(given["containers"])]
            name, code = f"{given['run']}-{number}", 20 + number % 90
            wanted = 0 if kind == "detached" else code
            command = [container, "sh", "-c", f"echo x >> ~/marks/{name}; exit {code}"]
            began = time.monotonic()
            try:
                ended, said, is_right = KINDS[kind](command)
            except subprocess.TimeoutExpired:
                ended, said, is_right = -1, f"did not end within {_LAUNCH_SEC} s", False
            results.append((name, kind, container, wanted, ended, time.monotonic() - began, said.strip(), is_right))
            time.sleep(given["pause_sec"] * random.random())

    threads = [threading.Thread(target=work) for _ in range(given["width"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1])
