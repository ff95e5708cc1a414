"""Process ids that come round all the time, while containers restart and apps are launched."""

import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from lab.machine import Lab

# Uses one pid after the other until its standard input ends, so that all of them come round several times a second.
BURN = """
import os, select, sys
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(50):
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
"""
PIDS = 1500
# isod's own refusal, and an app that was ended with its container.
ENDED = (125, *(128 + number for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL)))


@pytest.fixture(scope="module")
def crowded() -> Iterator[Lab]:
    """A host with few process ids, its own: a pid namespace has a number of them of its own."""
    with Lab.boot() as lab:
        for container in ("evil", "blog"):
            lab.run("isoctl", "run", container, "true", user="alice")
        lab.run("sysctl", "-w", f"kernel.pid_max={PIDS}")
        yield lab


@pytest.mark.attack("C03")
@pytest.mark.timeout(1800)
def test_a_launch_is_in_its_container_or_nowhere(crowded: Lab, attempts: Callable[..., int]) -> None:
    """S03, CVE-2019-6133, CVE-2022-31214: who believes a pid believes whoever has it by then."""
    pipe = subprocess.PIPE
    stop = threading.Event()
    restarts = 0

    def restart() -> None:
        nonlocal restarts
        while not stop.is_set():
            for container in ("evil", "blog"):
                crowded.run("systemctl", "reset-failed", crowded.unit(container), check=False)
                crowded.run("systemctl", "restart", crowded.unit(container), check=False)
            restarts += 2

    seen: Counter[str] = Counter()
    with crowded.popen("python3", "-c", BURN, user="mallory", stdin=pipe, stdout=pipe) as burner:
        assert burner.stdin is not None
        assert burner.stdout is not None
        assert burner.stdout.readline() == b"ready\n"
        restarting = threading.Thread(target=restart)
        restarting.start()
        try:
            for turn in range(attempts(1000, 24)):
                container = ("evil", "blog")[turn % 2]
                done = crowded.run("isoctl", "run", container, "uname", "-n", user="alice", check=False)
                if done.returncode == 0:
                    assert done.stdout == f"{container}\n"
                    seen["there"] += 1
                else:
                    assert done.returncode in ENDED
                    assert done.stdout == ""
                    assert container in done.stderr or done.returncode != 125
                    seen["nowhere"] += 1
        finally:
            stop.set()
            restarting.join(120)
            burner.stdin.close()
    assert seen["there"]
    assert restarts
    for container in ("evil", "blog"):
        crowded.run("systemctl", "reset-failed", crowded.unit(container), check=False)
        done = crowded.run("isoctl", "run", container, "uname", "-n", user="alice")
        assert done.stdout == f"{container}\n"
