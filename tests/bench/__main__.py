"""Ratios against peers, start-up, memory and wake-ups, measured in one run on one lab; reported, never a gate."""

import json
import math
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import faults
import hung_neighbours

from lab import flood
from lab.devices import Card, Graphics, graphics
from lab.enter import LabProcess
from lab.machine import Lab
from lab.policies import added_policy

_RUNS = 20
_IDLE_SEC = 30
_FLOOD_SEC = 30
PEERS = {
    "systemd-run": ("systemd-run", "-q", "-M", "blog", "--uid=alice", "--pipe", "--wait", "true"),
    "machinectl shell": ("machinectl", "-q", "shell", "alice@blog", "/bin/true"),
}
OURS = {
    "isoctl run": ("isoctl", "run", "blog", "true"),
    "isoctl run --no-login-shell": ("isoctl", "run", "--no-login-shell", "blog", "true"),
    "isoctl --version": ("isoctl", "--version"),
}
WINDOWS = {"foot": ("foot",), "isoctl run blog foot": ("isoctl", "run", "blog", "foot")}
_WINDOW_RUNS = 10
_PLUGGED = ("blog", "priv", "net", "plain", "shared")
_LAUNCH_SCRIPT = """
import statistics, subprocess, sys, time
times = []
for _ in range(int(sys.argv[1])):
    began = time.monotonic(); subprocess.run(sys.argv[2:], check=True); times.append((time.monotonic() - began) * 1000)
print(statistics.median(times))
"""
# most that --no-login-shell may take, as a multiple
AIMS = {"systemd-run": 2.0, "machinectl shell": 1.2}


def _median_ms(lab: Lab, argv: tuple[str, ...]) -> float:
    """Time whole processes with hyperfine on the lab host; the peers need root."""
    user = "alice" if argv[0] == "isoctl" else "root"
    report = f"/tmp/bench-{user}.json"
    lab.run(
        *("hyperfine", "-N", "--warmup", "3", "--runs", str(_RUNS), "--export-json", report, " ".join(argv)),
        user=user,
        timeout_sec=120,
    )
    return float(json.loads(lab.run("cat", report).stdout)["results"][0]["median"]) * 1000


def _first_byte_ms(lab: Lab) -> float:
    """From fork to the first byte that isoctl writes to the bus, taken from where its bus would be."""
    script = (Path(__file__).parent / "first_byte.py").read_text()
    done = lab.run("python3", "-c", script, str(_RUNS), *OURS["isoctl run"], user="alice", timeout_sec=120)
    return statistics.median(json.loads(done.stdout))


def _wake_ups(lab: Lab, pid: str) -> int:
    """Count how often any thread of a process has gone to sleep."""
    text = lab.run("sh", "-c", f"cat /proc/{pid}/task/*/status").stdout
    return sum(int(number) for number in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE))


def _rss_mib(lab: Lab, pid: str) -> float:
    (kib,) = re.findall(r"^VmRSS:\s+(\d+) kB", lab.run("cat", f"/proc/{pid}/status").stdout, re.MULTILINE)
    return int(kib) / 1024


def _services(lab: Lab) -> dict[str, str]:
    """Give the pids of isod and of a session service that serves."""
    lab.run("busctl", "--user", "call", "org.isoctl1", "/org/isoctl1", "org.isoctl1.Manager", "ListApps", user="alice")
    show = ("show", "-P", "MainPID")
    return {
        "isod": lab.run("systemctl", *show, "isod").stdout.strip(),
        "isod-session": lab.run("systemctl", "--user", *show, "isod-session", user="alice").stdout.strip(),
    }


def _times(lab: Lab) -> None:
    medians = {name: _median_ms(lab, argv) for name, argv in (PEERS | OURS).items()}
    print(f"medians of {_RUNS}, warm, whole processes")
    for name, median in medians.items():
        ratios = ", ".join(f"{median / medians[peer]:.2f} x {peer}" for peer in PEERS)
        print(f"  {name:28} {median:7.1f} ms   {ratios}")
    wanted = ", ".join(f"{aim} x {peer}" for peer, aim in AIMS.items())
    print(f"  aim of --no-login-shell: at most {wanted}")
    print(f"  {'isoctl to its first byte':28} {_first_byte_ms(lab):7.1f} ms   from fork; aim: 40")


def _idling(lab: Lab) -> None:
    pids = _services(lab)
    # what was started just now settles first
    lab.run("sleep", "5")
    before = {name: _wake_ups(lab, pid) for name, pid in pids.items()}
    lab.run("sleep", str(_IDLE_SEC))
    print(f"memory, and wake-ups in {_IDLE_SEC} s with nothing to do; aim: none but isod's watchdog, which is two")
    for name, pid in pids.items():
        print(f"  {name:28} {_rss_mib(lab, pid):7.1f} MiB  {_wake_ups(lab, pid) - before[name]} wake-ups")


def _flood(bus: str) -> None:
    """One user calls isod 50 times a second on each of many connections, another times his own calls meanwhile."""
    script = Path(flood.__file__).read_text()
    print(f"a flood of calls for {_FLOOD_SEC} s on {bus}; p99 in ms of ListContainers and of the bus's own GetId")
    for connections, only_group in ((20, False), (0, False), (0, True)):
        with Lab.boot(bus=bus) as lab:
            if only_group:
                example = lab.host_path("/usr/share/doc/isoctl/examples/org.isoctl1-group.conf")
                lab.host_path(f"/etc/dbus-1/system.d/{example.name}").write_text(example.read_text())
                lab.run("gpasswd", "--add", "alice", "isoctl")
                lab.run("systemctl", "reload", "dbus")
            counts, times = _flooded(lab, script, connections)
            isod, driver = (_p99(times[name]) for name in ("isod", "bus"))
            pid = lab.run("systemctl", "show", "-P", "MainPID", "isod").stdout.strip()
            name = f"{counts['connections']} connections{', bus policy by group' if only_group else ''}"
            print(f"  {name:44} {isod:8.1f} ms {driver:8.1f} ms  {isod / driver:5.2f} x  {_rss_mib(lab, pid):6.1f} MiB")
            shown = ", ".join(f"{key} {counts[key]}" for key in ("sent", "answered", "limit", "denied"))
            print(f"    {len(times['isod'])} of alice's calls; the flood: {shown}")


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] if values else math.nan


def _flooded(lab: Lab, script: str, connections: int) -> tuple[dict[str, int], dict[str, list[float]]]:
    pipe = subprocess.PIPE
    with lab.popen("python3", "-c", script, "time", str(_FLOOD_SEC), user="alice", stdin=pipe, stdout=pipe) as timing:
        timing.stdout.readline()
        argv = ("python3", "-c", script, "flood", str(connections), "50", str(_FLOOD_SEC + 2))
        with lab.popen(*argv, user="mallory", stdout=pipe) as flooding:
            flooding.stdout.readline()
            times, _ = timing.communicate(b"\n", 600)
            counts, _ = flooding.communicate(None, 600)
    return json.loads(counts), json.loads(times)


def _windows(lab: Lab) -> None:
    """From a key binding's command to the window, on the host and out of a container."""
    script = (Path(__file__).parent / "window_time.py").read_text()
    medians = {}
    with lab.desktop("alice", compositor="sway") as desktop:
        for name, argv in WINDOWS.items():
            done = desktop.run("python3", "-c", script, str(_WINDOW_RUNS), *argv, timeout_sec=120)
            medians[name] = statistics.median(json.loads(done.stdout))
        launch = desktop.run("python3", "-c", _LAUNCH_SCRIPT, str(_WINDOW_RUNS), *OURS["isoctl run"], timeout_sec=120)
    print(f"medians of {_WINDOW_RUNS}, from start to window on sway")
    for name, median in medians.items():
        print(f"  {name:28} {median:7.1f} ms")
    own, host = medians["isoctl run blog foot"], medians["foot"]
    print(f"  difference {own - host:.1f} ms; `isoctl run blog true` takes {float(launch.stdout):.1f} ms there")


def _plugging(lab: Lab) -> None:
    """From the uevent of a new render node until containers can open it."""
    script = (Path(__file__).parent / "plug_time.py").read_text()
    card = Card()
    with ExitStack() as stack:
        gpus = stack.enter_context(graphics(lab))
        for name in _PLUGGED:
            stack.enter_context(added_policy(lab, name, "[grants]", 'gpu = "render"'))
        lab.run("isoctl", "start", *_PLUGGED, user="alice")
        for names in (_PLUGGED[:1], _PLUGGED):
            argv = ("python3", "-c", script, card.node, str(_RUNS))
            with ExitStack() as watching:
                watchers = [
                    watching.enter_context(lab.container_popen(name, *argv, user="alice", stdout=subprocess.PIPE))
                    for name in names
                ]
                times = list(_plug_times(gpus, card, watchers))
            print(f"median and greatest of {_RUNS}, from a uevent until {len(names)} containers can open the device")
            print(f"  {statistics.median(times) * 1000:7.1f} ms {max(times) * 1000:7.1f} ms   aim: 100")


def _plug_times(gpus: Graphics, card: Card, watchers: list[LabProcess]) -> Iterator[float]:
    def told() -> list[str]:
        return [watcher.stdout.readline().decode().strip() for watcher in watchers if watcher.stdout]

    told()
    for _ in range(_RUNS):
        gpus.place(card)
        began = gpus.tell("add", card)
        yield max(map(float, told())) - began
        gpus.remove(card.name)
        told()


def _on_a_host() -> None:
    with Lab.boot() as lab:
        lab.run("isoctl", "run", "blog", "true", user="alice")
        _times(lab)
        _idling(lab)
        _plugging(lab)


def _neighbours() -> None:
    with Lab.boot() as lab:
        hung_neighbours.measure(lab)


def _faults() -> None:
    for bus in ("dbus-daemon", "dbus-broker"):
        faults.measure(bus)


def _floods() -> None:
    for bus in ("dbus-daemon", "dbus-broker"):
        _flood(bus)


def _desktop() -> None:
    with Lab.boot(tree="desktop") as lab:
        _windows(lab)


PARTS = {"host": _on_a_host, "neighbours": _neighbours, "faults": _faults, "floods": _floods, "desktop": _desktop}


def main(chosen: list[str]) -> int:
    """Measure and print the parts that are named, or all."""
    for name in chosen or PARTS:
        PARTS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
