"""Launches while the host is broken on purpose: none may be lost, run twice, or end with another's code.

The rows are those of a reliability table that was made by hand once. An outcome is `ok` (its code, its mark once),
`named` (125, one sentence, and it did not run), `ended` (the container under it was), or lost in one of these ways:
`wrong` (another code, or not its output), `twice`, `ran` (isoctl said 125, and it ran), `unmarked` (said to have run).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.machine import CommandFailed, Lab

Breaking = Callable[[Lab, threading.Event], None]
_WARM = ("blog", "shared", "broker")
_COLD = ("blog", "shared", "broker", "net", "priv", "deb", "plain", "nixlike", "nologind", "evil")
_MIX = ("plain", "piped", "terminal", "detached")
_LOST = ("wrong", "twice", "ran", "unmarked")
_ENDED_CODES = frozenset({129, 137, 143})
_TOLD_MOST = 6


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    breaking: Breaking
    count: int
    width: int = 4
    kinds: Sequence[str] = _MIX
    containers: Sequence[str] = _WARM
    buses: Sequence[str] = ("dbus-daemon", "dbus-broker")
    pause_sec: float = 0.2
    ends_containers: bool = False


def _nothing(_lab: Lab, _enough: threading.Event) -> None:
    """Leave the host alone."""


def _again(pause_sec: tuple[float, float], *argv: str, most: int = 1_000) -> Breaking:
    """Have root run a command over and over, until the launches are over or it ran so often."""

    def breaking(lab: Lab, enough: threading.Event) -> None:
        for _ in range(most):
            if enough.wait(random.uniform(*pause_sec)):
                return
            lab.run(*argv, check=False)

    return breaking


def _stopped(unit: str, seconds: float) -> Breaking:
    """Hold a service for a while, as SIGSTOP does."""

    def breaking(lab: Lab, enough: threading.Event) -> None:
        # Some are started by who asks them, and end again: what does not run can't be held.
        lab.run("systemctl", "start", unit)
        enough.wait(0.5)
        lab.run("systemctl", "kill", "--signal=STOP", unit)
        enough.wait(seconds)
        lab.run("systemctl", "kill", "--signal=CONT", unit, check=False)

    return breaking


def _restarted_bus(lab: Lab, enough: threading.Event) -> None:
    for _ in range(3):
        if enough.wait(2.0):
            return
        lab.run("systemctl", "restart", "dbus.service")


def _leaders_killed(lab: Lab, enough: threading.Event) -> None:
    for number in range(60):
        if enough.wait(random.uniform(0.3, 1.0)):
            return
        try:
            os.kill(lab.leader(_WARM[number % len(_WARM)]), signal.SIGKILL)
        except (LookupError, ProcessLookupError):
            continue


def _powered_off(lab: Lab, enough: threading.Event) -> None:
    for number in range(16):
        if enough.wait(random.uniform(0.8, 2.0)):
            return
        verb = ("poweroff", "reboot")[number % 2]
        lab.run("systemctl", "-M", _WARM[number % len(_WARM)], verb, check=False)


def _inside(pause_sec: float, *argv: str) -> Breaking:
    return _again((pause_sec, pause_sec), "systemctl", "-M", "blog", *argv)


_RESTARTED = tuple(
    Row(f"{unit}: {what}", breaking, 40)
    for unit, kind in (("systemd-machined", 5), ("systemd-logind", 3), ("polkit", 3))
    for what, breaking in (
        (f"restart x {kind}", _again((0.5, 1.5), "systemctl", "restart", unit, most=kind)),
        (f"KILL x {kind}", _again((0.5, 1.5), "systemctl", "kill", "--signal=KILL", unit, most=kind)),
        ("STOP for 15 s", _stopped(unit, 15.0)),
    )
)
ROWS = (
    Row("nothing", _nothing, 60),
    Row("isod: KILL each 0 to 5 s", _again((0.0, 5.0), "systemctl", "kill", "--signal=KILL", "isod"), 300),
    Row("isod: KILL each 0 to 1.6 s", _again((0.0, 1.6), "systemctl", "kill", "--signal=KILL", "isod"), 80, width=8),
    Row("isod: STOP for 20 s", _stopped("isod.service", 20.0), 40),
    Row("bus: restart x 3", _restarted_bus, 60),
    *_RESTARTED,
    Row("udevd: KILL x 2", _again((0.5, 1.5), "systemctl", "kill", "--signal=KILL", "systemd-udevd", most=2), 20),
    Row("journald: stopped", _again((1.0, 1.0), "systemctl", "stop", "systemd-journald", most=1), 40),
    Row("journald: STOP for 20 s", _stopped("systemd-journald.service", 20.0), 120),
    Row("daemon-reload each second", _again((1.0, 1.0), "systemctl", "daemon-reload"), 100),
    Row("daemon-reexec each second", _again((1.0, 1.0), "systemctl", "daemon-reexec"), 100),
    Row("daemon-reexec inside, each second", _inside(1.0, "daemon-reexec"), 60, containers=("blog",)),
    Row("PID 1 of containers: KILL x 60", _leaders_killed, 500, ends_containers=True),
    Row("poweroff and reboot inside, x 16", _powered_off, 160, ends_containers=True),
    Row("200 at once, warm", _nothing, 200, width=200, kinds=("plain",), containers=_COLD, pause_sec=0.0),
    Row("1,000 in a row", _nothing, 1_000, width=1, kinds=("plain",), containers=("blog",), pause_sec=0.0),
)


@contextmanager
def _broken(lab: Lab, breaking: Breaking) -> Iterator[None]:
    """Break the host in a thread for as long as this lasts; what it could not do fails the row."""
    enough = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            breaking(lab, enough)
        except (CommandFailed, OSError, subprocess.SubprocessError) as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
    for error in failed:
        print(f"    the fault was not planted: {error}")


def _marks(lab: Lab, containers: Sequence[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for container in containers:
        said = lab.run(
            "sh", "-c", f"cd /var/lib/machines/{container}/home/alice/marks && wc -l * 2>/dev/null", check=False
        )
        for count, name in (line.split() for line in said.stdout.splitlines()):
            found[name] += int(count)
    return found


def _verdict(row: Row, code: int, wanted: int, marks: int, *, is_right: bool, kind: str) -> str:
    if marks > 1:
        return "twice"
    if code == wanted and is_right:
        return "ok" if marks or (kind == "detached" and row.ends_containers) else "unmarked"
    if row.ends_containers and code in _ENDED_CODES:
        return "ended"
    if code == 125:
        return "ran" if marks and not row.ends_containers else "named"
    return "wrong"


def _measure(lab: Lab, row: Row, number: int) -> None:
    script = (Path(__file__).parent / "fault_launches.py").read_text()
    given = {
        "count": row.count, "width": row.width, "kinds": row.kinds, "containers": row.containers,
        "run": f"row{number}", "pause_sec": row.pause_sec,
    }  # fmt: skip
    began = time.monotonic()
    with _broken(lab, row.breaking):
        done = lab.run("python3", "-c", script, json.dumps(given), user="alice", timeout_sec=1200)
    took_sec = time.monotonic() - began
    results = json.loads(done.stdout)
    _settle(lab)
    marks = _marks(lab, row.containers)
    outcomes: Counter[str] = Counter()
    told: Counter[str] = Counter()
    slowest_sec = 0.0
    for name, kind, container, wanted, code, seconds, said, is_right in results:
        verdict = _verdict(row, code, wanted, marks[name], is_right=is_right, kind=kind)
        outcomes[verdict] += 1
        slowest_sec = max(slowest_sec, seconds)
        if verdict not in ("ok", "ended"):
            told[f"{verdict}, {kind} in {container}, {code} for {wanted}: {said[-300:]}"] += 1
    shown = ", ".join(f"{count} {verdict}" for verdict, count in outcomes.most_common())
    lost = sum(outcomes[verdict] for verdict in _LOST)
    print(
        f"  {row.name:36} {row.count:5} tried: {shown}; lost {lost}; slowest {slowest_sec:.1f} s, all {took_sec:.0f} s",
        flush=True,
    )
    # what was lost first
    for text, count in sorted(told.items(), key=lambda item: (item[0].startswith("named"), -item[1]))[:_TOLD_MOST]:
        print(f"    {count} x {text}", flush=True)
    left = [app for app in json.loads(lab.run("isoctl", "ps", "--json", user="alice").stdout) if app["running"]]
    if left:
        print(f"    left over: {left}", flush=True)


def _settle(lab: Lab) -> None:
    """Wait until what was detached or left behind has ended, and all that was stopped is back."""
    lab.run("systemctl", "start", "systemd-journald", "isod.service")
    lab.run("systemctl", "reset-failed")

    def is_over() -> bool:
        done = lab.run("isoctl", "ps", "--json", user="alice", check=False)
        return done.returncode == 0 and not any(app["running"] for app in json.loads(done.stdout))

    lab.wait_for(is_over, 60)


def measure(bus: str, wanted: str = "") -> None:
    """Print the table for one bus; `wanted` is part of the names of the rows to try."""
    print(f"launches under faults, {bus}")
    with Lab.boot(bus=bus) as lab:
        for container in _COLD:
            lab.run("isoctl", "run", container, "mkdir", "-p", "/home/alice/marks", user="alice")
        for number, row in enumerate(ROWS):
            if bus in row.buses and wanted in row.name:
                _measure(lab, row, number)
