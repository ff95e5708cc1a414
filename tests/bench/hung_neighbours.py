"""What containers that hang cost the others: the same things timed without them, with them, and without them again."""

import json
import os
import signal
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

from lab.machine import Lab

_LAUNCHES = 300
_TIMES = 10
_SCRIPT = """
import json, subprocess, sys, time
times = []
for _ in range(int(sys.argv[1])):
    began = time.monotonic(); subprocess.run(sys.argv[2:], capture_output=True)
    times.append((time.monotonic() - began) * 1000)
print(json.dumps(times))
"""
_OPERATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "list": ("alice", ("isoctl", "list")),
    "ps": ("alice", ("isoctl", "ps")),
    "top": ("alice", ("isoctl", "top", "--once")),
    "status": ("alice", ("isoctl", "status", "blog")),
    "doctor": ("alice", ("isoctl", "doctor", "blog")),
    "history": ("alice", ("isoctl", "history")),
    "reload": ("root", ("isoctl", "reload")),
    "restart": ("bob", ("isoctl", "restart", "bobs")),
}
# Each may be slower by a fifth; both halves of the comparison are single runs of a busy machine.
AIM = 1.2


@contextmanager
def _hanging(lab: Lab) -> Iterator[None]:
    """A bus that reads nothing, and a frozen systemd, each with launches that wait in it."""
    lab.in_container("evil", "pkill", "-STOP", "-x", "dbus-daemon")
    leader = lab.leader("net")
    os.kill(leader, signal.SIGSTOP)
    loop = "while :; do isoctl run evil true; isoctl run net true; isoctl doctor evil; sleep 1; done >/dev/null 2>&1"
    asking = lab.popen("sh", "-c", loop, user="alice")
    try:
        for container in ("evil", "net"):
            lab.run("isoctl", "run", container, "true", user="alice", check=False)
        yield
    finally:
        asking.signal_inner(signal.SIGKILL)
        asking.kill()
        asking.wait()
        os.kill(leader, signal.SIGCONT)
        lab.in_container("evil", "pkill", "-CONT", "-x", "dbus-daemon")


def _times(lab: Lab, count: int, user: str, argv: tuple[str, ...]) -> list[float]:
    done = lab.run("python3", "-c", _SCRIPT, str(count), *argv, user=user, timeout_sec=600)
    return list(json.loads(done.stdout))


def _all_times(lab: Lab) -> dict[str, list[float]]:
    launches = {"run": _times(lab, _LAUNCHES, "alice", ("isoctl", "run", "blog", "true"))}
    return launches | {name: _times(lab, _TIMES, user, argv) for name, (user, argv) in _OPERATIONS.items()}


def measure(lab: Lab) -> None:
    """Print medians and their ratio; of launches the slowest hundredth too."""
    for user, container in (("alice", "evil"), ("alice", "net"), ("alice", "blog"), ("bob", "bobs")):
        lab.run("isoctl", "run", container, "true", user=user)
    before = _all_times(lab)
    with _hanging(lab):
        during = _all_times(lab)
    after = _all_times(lab)
    print(f"with two hung containers, {_LAUNCHES} launches elsewhere and {_TIMES} of each operation; aim: {AIM} x")
    for name, times in during.items():
        alone = [*before[name], *after[name]]
        ratio = statistics.median(times) / statistics.median(alone)
        print(f"  {name:28} {statistics.median(times):7.1f} ms   {ratio:.2f} x of {statistics.median(alone):.1f} ms")
    slow, slow_alone = (sorted(times)[-len(times) // 100] for times in (during["run"], before["run"] + after["run"]))
    print(f"  {'slowest hundredth of run':28} {slow:7.1f} ms   {slow / slow_alone:.2f} x of {slow_alone:.1f} ms")
