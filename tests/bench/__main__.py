"""Ratios against peers, measured in one run on one lab; reported, never a gate."""

import json
import sys

from lab.machine import Lab

_RUNS = 20
COMMANDS = {
    "systemd-run": ("systemd-run", "-q", "-M", "blog", "--uid=alice", "--pipe", "--wait", "true"),
    "machinectl shell": ("machinectl", "-q", "shell", "alice@blog", "/bin/true"),
    "isoctl run": ("isoctl", "run", "blog", "true"),
    "isoctl run --no-login-shell": ("isoctl", "run", "--no-login-shell", "blog", "true"),
    "isoctl --version": ("isoctl", "--version"),
}


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


def main() -> int:
    """Measure and print."""
    with Lab.boot() as lab:
        lab.run("isoctl", "run", "blog", "true", user="alice")
        medians = {name: _median_ms(lab, argv) for name, argv in COMMANDS.items()}
        for name, median in medians.items():
            ratios = ", ".join(f"{median / medians[peer]:.2f} x {peer}" for peer in list(COMMANDS)[:2])
            print(f"{name:28} {median:7.1f} ms   {ratios}")
        pid = lab.run("systemctl", "show", "-P", "MainPID", "isod").stdout.strip()
        print(lab.run("sh", "-c", f"grep -E 'VmRSS|voluntary' /proc/{pid}/status").stdout)
        lab.run("sleep", "30")
        print("30 s later:\n" + lab.run("sh", "-c", f"grep voluntary /proc/{pid}/status").stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
