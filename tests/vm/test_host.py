"""What a host has that the lab can't: controllers of memory and tasks, and a boot of its own."""

import json

import pytest

from vm.disk import CONTAINERS
from vm.machine import Vm

pytestmark = [pytest.mark.vm, pytest.mark.timeout(7200)]

CGROUP = "/sys/fs/cgroup/system.slice/isod.service"
MIB = 1024 * 1024


def test_memory_and_tasks_of_isod_are_bounded_by_the_kernel(vm: Vm, capsys: pytest.CaptureFixture[str]) -> None:
    """R18: in the lab these settings have no effect."""
    names = ("memory.max", "pids.max", "memory.peak", "pids.peak")
    values = [int(value) for value in vm.run("cat", *(f"{CGROUP}/{name}" for name in names)).stdout.split()]
    memory, tasks, memory_peak, tasks_peak = values
    with capsys.disabled():
        print(f"\nisod: at most {memory_peak / MIB:.0f} of {memory // MIB} MiB, {tasks_peak} of {tasks} tasks")
    assert (memory, tasks) == (256 * MIB, 64)
    assert memory_peak < memory / 2
    assert tasks_peak < tasks / 2


def test_the_exposure_of_isod_on_a_host_with_all_controllers(vm: Vm) -> None:
    shown = vm.run("systemd-analyze", "security", "--no-pager", "isod.service").stdout
    *_, verdict = shown.split("Overall exposure level for ")
    assert float(verdict.split(":")[1].split()[0]) <= 1.5


@pytest.mark.parametrize("user", ["root", "alice"])
def test_a_booted_host_has_no_finding(vm: Vm, user: str) -> None:
    done = vm.run("isoctl", "doctor", "--json", user=user, check=False)
    assert (json.loads(done.stdout)["findings"], done.returncode) == ([], 0)


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_container_on_it_has_no_finding_but_the_true_one(vm: Vm, container: str) -> None:
    """Debian's stock unit gives a network of its own, which networkd serves; here is none."""
    vm.run("isoctl", "run", container, "true", user="alice")
    done = vm.run("isoctl", "doctor", "--json", container, user="alice", check=False)
    codes = [finding["code"] for finding in json.loads(done.stdout)["findings"]]
    assert codes == (["network-no-address"] if container == "deb" else [])
