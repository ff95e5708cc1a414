"""Run inside the lab's own mount and pid namespace: put the host's root together, then become systemd-nspawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.cgroups import remove_stale
from lab.containers import CONTAINERS, Container
from lab.guestroots import make_all
from lab.hostfiles import write_containers, write_host
from lab.product import enable, install

# where a bare host has the tree for a container
GUEST = "srv/guest"
CGROUP_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Plan:
    """What one lab is made of; travels from boot to the stage as JSON."""

    name: str
    tree: str
    run_dir: str
    bus: str
    repository: str | None
    # a tree to make a container of; then the host has no containers and no product yet
    guest: str | None = None

    def to_json(self) -> str:
        """The form that goes into argv."""
        return json.dumps(asdict(self))


def mount(*argv: str) -> None:
    """Run mount(8)."""
    subprocess.run(["mount", *argv], check=True)


def _own_cgroup(plan: Plan) -> None:
    subprocess.run(["umount", "-R", str(CGROUP_ROOT)], check=False, stderr=subprocess.DEVNULL)
    mount("-t", "cgroup2", "none", str(CGROUP_ROOT))
    remove_stale(CGROUP_ROOT, Path(plan.run_dir).parent)
    own = CGROUP_ROOT / plan.name
    own.mkdir(exist_ok=True)
    (own / "cgroup.procs").write_text("0")


def _overlay(plan: Plan) -> Path:
    # in memory and in this mount namespace: a killed lab leaves nothing behind
    base = Path(plan.run_dir) / "memory"
    base.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755", "lab", str(base))
    root = base / "root"
    root.mkdir()
    mount_copy(Path(plan.tree), base, root)
    # not on the overlay: containers' roots shall allow id-mapped mounts, as usual file systems do
    mount("-t", "tmpfs", "-o", "mode=755", "lab-machines", str(root / "var/lib/machines"))
    return root


def mount_copy(tree: Path, memory: Path, target: Path) -> None:
    """Mount the tree at the target so that what is written goes to `memory`, a directory."""
    for name in ("upper", "work"):
        (memory / name).mkdir(parents=True)
    options = f"lowerdir={tree},upperdir={memory}/upper,workdir={memory}/work"
    mount("-t", "overlay", "-o", options, "lab", str(target))


def _own_nspawn_state() -> None:
    # systemd-nspawn's propagation directories and locks of a killed lab would stop the next one
    state = Path("/run/systemd/nspawn")
    state.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755", "lab-nspawn", str(state))


def furnish(root: Path, repository: Path | None, containers: Collection[Container] = CONTAINERS) -> None:
    """Have containers on the host whose root this is, and the product as `make install` of the repository leaves it."""
    write_containers(root, containers)
    if repository and install(repository, root):
        enable(root)
    make_all(root, containers)


def main() -> None:
    """Prepare everything that the plan names and boot it."""
    plan = Plan(**json.loads(sys.argv[1]))
    mount("--make-rprivate", "/")
    _own_cgroup(plan)
    _own_nspawn_state()
    root = _overlay(plan)
    write_host(root, plan.name, plan.bus)
    if plan.guest:
        (root / GUEST).mkdir()
        mount_copy(Path(plan.guest), Path(plan.run_dir) / "memory/guest", root / GUEST)
    else:
        furnish(root, Path(plan.repository) if plan.repository else None)
    env = {
        **os.environ,
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        # a writable /sys lets systemd-udevd start
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes",
    }
    argv = (
        f"systemd-nspawn -D {root} --machine={plan.name} --register=no --keep-unit -b --capability=all "
        # without this PIDs 1 inside can't load device programs and DeviceAllow is silently not enforced
        "--system-call-filter=bpf --private-network --console=read-only --kill-signal=SIGRTMIN+3 "
        "--notify-ready=yes --resolv-conf=off --timezone=off --link-journal=no"
    ).split()
    os.execvpe(argv[0], argv, env)


if __name__ == "__main__":
    main()
