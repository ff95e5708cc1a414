"""What a newcomer would type first, typed on the lab host as alice; commands and output are printed."""

import sys
import time
from pathlib import Path

from lab.compositors import Sway
from lab.desktop import Desktop
from lab.machine import Lab
from lab.screenshot import Picture

COMMANDS = (
    "isoctl list",
    "isoctl run blog cat /etc/hostname",
    "printf 'b\\na\\n' | isoctl run blog sort",
    "isoctl run blog sh -c 'exit 7'; echo $?",
    "isoctl run priv -- sh -c 'id; ls -A ~'",
    "isoctl history",
)
PICTURE = Path("demo.png")
# Each container's window shows its own idea of who and where it is, and that it has no view of the screen.
SCRIPT = (
    "printf 'container %s\\nhost name %s\\n%s\\n' {name} $(uname -n) \"$(id -un), uid $(id -u)\"; "
    "grim 2>&1; exec sleep 60"
)
CONTAINERS = ("blog", "priv")


def type_commands(lab: Lab) -> bool:
    """Run all commands and print what they print; tells whether all succeeded."""
    for command in COMMANDS:
        print(f"alice$ {command}", flush=True)
        done = lab.run("sh", "-c", command, user="alice", check=False)
        print(done.stdout + done.stderr, flush=True)
        if done.returncode:
            return False
    return True


def without_others(lab: Lab) -> None:
    """Leave the containers of the picture alone: those that the tests have would fill a newcomer's list."""
    policies = " ".join(f"{name}.toml" for name in CONTAINERS)
    script = f"cd /etc/isod/containers && mkdir ../aside && mv * ../aside && cd ../aside && mv {policies} ../containers"
    lab.run("sh", "-c", script)
    lab.run("isoctl", "reload")


def take_picture(lab: Lab) -> None:
    """Open a window from each of two containers on alice's compositor, and save her screen."""
    desktop = Sway(lab, "alice")
    with desktop:
        for name in CONTAINERS:
            print(f"alice$ isoctl run {name} foot", flush=True)
            script = SCRIPT.format(name=name)
            desktop.popen("isoctl", "run", name, "foot", "--title", f"foot in {name}", "sh", "-c", script)
            desktop.wait_window(title=f"foot in {name}")
        settle(desktop).save(PICTURE)
    print(f"{PICTURE}: alice's screen, with a window from each of {' and '.join(CONTAINERS)}")


def settle(desktop: Desktop) -> Picture:
    """Give the screen once it stays as it is."""
    before = desktop.screenshot()
    while True:
        time.sleep(0.5)
        now = desktop.screenshot()
        if now == before:
            return now
        before = now


def main() -> int:
    """Boot, type, print, take a picture; 1 if a command fails."""
    with Lab.boot(tree="demo") as lab:
        without_others(lab)
        if not type_commands(lab):
            return 1
        take_picture(lab)
    return 0


if __name__ == "__main__":
    sys.exit(main())
